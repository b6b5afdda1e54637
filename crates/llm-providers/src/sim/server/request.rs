//! A request as it came, and what it asked for.

use std::sync::Arc;

use bytes::Bytes;

use super::head::Head;
#[cfg(feature = "bedrock")]
use crate::signature::{ALGORITHM, Signed, sha256};
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

#[cfg(feature = "bedrock")]
impl Request {
    /// Whether it is signed by `secret` of the name `key_id`, whatever the region.
    pub(super) fn is_signed_by(&self, key_id: &str, secret: &str) -> bool {
        self.claim().is_some_and(|claim| claim.holds(self, key_id, secret))
    }

    /// What its header `authorization` says of a signature.
    fn claim(&self) -> Option<Claim<'_>> {
        let text = std::str::from_utf8(&self.raw[self.head.authorization.clone()?]).ok()?;
        let rest = text.trim().strip_prefix(ALGORITHM)?;
        let field = |name: &str| rest.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        let mut scope = field("Credential")?.split('/');
        let (key_id, _, region, service) = (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        Some(Claim { key_id, region, service, names: field("SignedHeaders")?, signature: field("Signature")? })
    }
}

/// What a request says of its signature.
#[cfg(feature = "bedrock")]
struct Claim<'a> {
    key_id: &'a str,
    region: &'a str,
    service: &'a str,
    /// The headers that are signed.
    names: &'a str,
    signature: &'a str,
}

#[cfg(feature = "bedrock")]
impl Claim<'_> {
    fn holds(&self, request: &Request, key_id: &str, secret: &str) -> bool {
        let header = |name| Some((name, request.header(name)?));
        let Some(headers) = self.names.split(';').map(header).collect::<Option<Vec<_>>>() else { return false };
        let Some(at) = request.header("x-amz-date") else { return false };
        let whole = ["host", "x-amz-date"].iter().all(|name| headers.iter().any(|(signed, _)| signed == name));
        let signed = Signed {
            method: "POST",
            path: request.path().0,
            headers: &headers,
            payload: &sha256(&[&request.body]),
            at,
            region: self.region,
            service: self.service,
        };
        whole && self.key_id == key_id && self.service == "bedrock" && self.signature == signed.signature(secret)
    }
}

/// A target and what it was asked for by.
#[derive(Debug)]
pub(super) struct LastTarget {
    pub(super) model: String,
    pub(super) script: Option<Vec<u8>>,
    pub(super) target: Arc<Target>,
}
