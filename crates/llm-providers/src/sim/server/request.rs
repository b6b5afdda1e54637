//! A request as it came, and what it asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::head::Head;
use crate::sim::simulator::Target;

/// A request, read whole.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    /// The head's bytes.
    pub(super) raw: Bytes,
    pub(super) body: Bytes,
}

impl Request {
    /// The path and what follows its question mark.
    pub(super) fn path(&self) -> (&str, &str) {
        let path = std::str::from_utf8(&self.raw[self.head.path.clone()]).unwrap_or_default();
        path.split_once('?').unwrap_or((path, ""))
    }

    /// The request's own script.
    pub(super) fn script(&self) -> Option<&[u8]> {
        self.head.script.clone().map(|range| &self.raw[range])
    }

    /// The value of a header, the first of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = std::str::from_utf8(&self.raw).ok()?.split("\r\n");
        let mut named = lines.filter_map(|line| line.split_once(':'));
        named.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The key, in whichever header it came.
    pub(super) fn key(&self) -> Option<&[u8]> {
        if let Some(key) = self.head.api_key.clone() {
            return Some(self.raw[key].trim_ascii());
        }
        let value = &self.raw[self.head.authorization.clone()?];
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    }
}

/// A target and what it was asked for by.
#[derive(Debug)]
pub(super) struct LastTarget {
    pub(super) model: String,
    pub(super) script: Option<Vec<u8>>,
    pub(super) target: Arc<Target>,
}
