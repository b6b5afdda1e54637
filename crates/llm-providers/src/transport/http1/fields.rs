//! Header fields as both ends of HTTP/1.1 read them.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The fields that were parsed in `head`. Their values are parts of `text`, which begins as `head` does: what a head
/// was read into is used again. None where one of them is no header.
pub fn header_map(text: &Bytes, head: &[u8], fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let at = field.value.as_ptr().addr() - head.as_ptr().addr();
        let value = if field.value.is_empty() { Bytes::new() } else { text.slice(at..at + field.value.len()) };
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(headers)
}

/// What is given as a length is none, or two are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

/// The one length of a body that the head gives, however often.
///
/// # Errors
/// [`BadLength`] where it is no number, or where there are several.
pub fn length(headers: &HeaderMap) -> Result<Option<u64>, BadLength> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for text in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(text).ok().filter(|_| is_number);
            let length = text.and_then(|text| text.parse().ok()).ok_or(BadLength)?;
            if found.is_some_and(|found: u64| found != length) {
                return Err(BadLength);
            }
            found = Some(length);
        }
    }
    Ok(found)
}

/// The words of a header that is a list.
pub fn names<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}
