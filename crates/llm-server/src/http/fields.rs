//! The fields of an answer's head that are said here.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields as HTTP/1.1 has them, each a line. Most heads are made of these alone: a table of headers is looked up and
/// allocated for, and nobody looks anything up in it.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<u8>);

/// Room for what most answers say.
const ROOM: usize = 512;

impl Fields {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Says `value`.
    pub(super) fn put(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name, |text| text.extend_from_slice(value.as_bytes()));
    }

    /// Says `value`, unless a header can't.
    pub(super) fn text(&mut self, name: &HeaderName, value: &str) {
        if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            self.line(name, |text| text.extend_from_slice(value.as_bytes()));
        }
    }

    /// Says `number`.
    pub(super) fn number(&mut self, name: &HeaderName, number: u64) {
        self.line(name, |text| digits(text, number));
    }

    /// Says what `value` writes, in visible characters.
    pub(super) fn line(&mut self, name: &HeaderName, value: impl FnOnce(&mut Vec<u8>)) {
        if self.0.is_empty() {
            self.0.reserve(ROOM);
        }
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
        value(&mut self.0);
        self.0.extend_from_slice(b"\r\n");
    }

    /// All of them, each with its line's end.
    pub(super) fn lines(&self) -> &[u8] {
        &self.0
    }

    /// Says them in `headers` instead, beside what is there.
    pub(super) fn move_to(self, headers: &mut HeaderMap) {
        let mut rest = &self.0[..];
        while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
            let (line, next) = (&rest[..end], &rest[end + 2..]);
            rest = next;
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let value = HeaderValue::from_bytes(&line[colon + 2..]);
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
                headers.append(name, value);
            }
        }
    }
}

/// Writes `number`. What the standard library has for it is several times as much code, which a request that comes alone
/// finds in no cache.
pub(super) fn digits(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_header_can_say_is_left_out() {
        let mut fields = Fields::default();
        for text in ["a\r\nx-b: c", "é", "\0", "a b~"] {
            fields.text(&HeaderName::from_static("x-a"), text);
        }
        assert_eq!(fields.lines(), b"x-a: a b~\r\n");
    }

    proptest! {
        #[test]
        fn a_table_of_them_says_the_same(said in prop::collection::vec(("x-[a-z]{1,3}", "[ -~]{0,9}"), 0..9)) {
            let (mut fields, mut expected) = (Fields::default(), HeaderMap::new());
            for (number, (name, value)) in said.iter().enumerate() {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                let value = HeaderValue::from_str(value).unwrap();
                match number % 3 {
                    0 => fields.put(&name, &value),
                    1 => fields.text(&name, value.to_str().unwrap()),
                    _ => fields.line(&name, |text| text.extend_from_slice(value.as_bytes())),
                }
                expected.append(name, value);
            }
            let mut headers = HeaderMap::new();
            fields.move_to(&mut headers);
            prop_assert_eq!(headers, expected);
        }
    }
}
