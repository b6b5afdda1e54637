//! The last requests, as they came.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

/// The most requests that are kept.
const MOST: usize = 64;

/// The most bytes of requests that are kept, the last request aside.
const MOST_BYTES: usize = 64 << 20;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The request's line and headers.
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

/// The last requests, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    seen: u64,
}

impl Log {
    /// Keeps a request, and gives its number: the first is 1.
    pub(crate) fn push(&mut self, entry: Entry) -> u64 {
        self.seen += 1;
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while self.entries.len() > MOST || (self.bytes > MOST_BYTES && self.entries.len() > 1) {
            let oldest = self.entries.pop_front().expect("the log has more than one entry");
            self.bytes -= oldest.size();
        }
        self.seen
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The request as JSON; its body as base64 and, when it is UTF-8, as text.
    pub(crate) fn show(&self) -> Value {
        let mut lines =
            self.head.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line.trim_ascii_end()));
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (method, path) = (words.next(), words.next());
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some(json!([name, value.trim()]))
        });
        json!({
            "method": method,
            "path": path,
            "headers": headers.collect::<Vec<_>>(),
            "body": std::str::from_utf8(&self.body).ok(),
            "body_base64": STANDARD.encode(&self.body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(body: usize) -> Entry {
        Entry { head: Bytes::new(), body: vec![b'x'; body].into() }
    }

    #[test]
    fn the_log_is_bounded_in_requests_and_bytes() {
        let mut log = Log::default();
        (0..100).for_each(|size| assert_eq!(log.push(entry(size)), size as u64 + 1));
        assert_eq!(log.entries().map(Entry::size).collect::<Vec<_>>(), (36..100).collect::<Vec<_>>());
        log.push(entry(MOST_BYTES + 1));
        assert_eq!(log.entries().count(), 1);
        log.push(entry(1));
        assert_eq!(log.entries().map(Entry::size).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_request_is_shown_as_it_came() {
        let head = "POST /v1/x?a=b HTTP/1.1\r\nHost: h\r\nX-Two:  a: b \r\n\r\n";
        let shown = Entry { head: head.into(), body: Bytes::from_static(b"\xff") }.show();
        let expected = json!({
            "method": "POST", "path": "/v1/x?a=b", "headers": [["Host", "h"], ["X-Two", "a: b"]],
            "body": null, "body_base64": "/w==",
        });
        assert_eq!(shown, expected);
    }
}
