//! Writes JSON text, compact, in the order told.

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;
use llm_core::Json;

/// JSON text in the making; commas are put where they belong.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// A writer that begins with `prefix`, which is no JSON.
    pub(crate) fn after(prefix: &[u8]) -> Self {
        Self(prefix.to_vec())
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0.into()
    }

    /// Writes text that is no JSON.
    pub(crate) fn raw(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    /// Puts all on one line: breaks stand only between tokens.
    pub(crate) fn unbreak(&mut self) {
        self.0.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }

    pub(crate) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.bracketed(b'{', b'}', fill);
    }

    pub(crate) fn array(&mut self, fill: impl FnOnce(&mut Self)) {
        self.bracketed(b'[', b']', fill);
    }

    /// The key of the member that is written next.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.string(key);
        self.0.push(b':');
        self
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.separate();
        serde_json::to_writer(&mut self.0, text).expect("a string can be written to memory");
    }

    pub(crate) fn optional_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    pub(crate) fn json(&mut self, value: &Json) {
        self.text(value.as_str());
    }

    /// A value by its text.
    pub(crate) fn text(&mut self, json: &str) {
        self.separate();
        self.raw(json.as_bytes());
    }

    pub(crate) fn integer(&mut self, number: impl fmt::Display) {
        self.separate();
        write!(self.0, "{number}").expect("memory can be written to");
    }

    /// The shortest spelling that reads as the same number; `null` if it is not finite.
    pub(crate) fn f64(&mut self, number: f64) {
        self.separate();
        serde_json::to_writer(&mut self.0, &number).expect("a number can be written to memory");
    }

    /// As [`f64`](Self::f64).
    pub(crate) fn f32(&mut self, number: f32) {
        self.separate();
        serde_json::to_writer(&mut self.0, &number).expect("a number can be written to memory");
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.separate();
        self.raw(if value { b"true" } else { b"false" });
    }

    pub(crate) fn null(&mut self) {
        self.separate();
        self.raw(b"null");
    }

    fn bracketed(&mut self, open: u8, close: u8, fill: impl FnOnce(&mut Self)) {
        self.separate();
        self.0.push(open);
        fill(self);
        self.0.push(close);
    }

    /// A value is preceded by a comma unless it is the first. A string ends with a quote, so what the last byte
    /// is tells where we are.
    fn separate(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':' | b' ')) {
            self.0.push(b',');
        }
    }
}
