//! Server-sent events, framed without changing a byte.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The largest event that is accepted unless told otherwise: 32 MiB.
pub const DEFAULT_LIMIT: usize = 32 << 20;

/// Cuts a stream of bytes into events. The events' bytes, joined, are the stream, whatever chunks it came in.
///
/// Lines end with CR, LF or CRLF and with nothing else. An event whose blank line ends with a CR at the end of a
/// chunk waits for what follows, which may be the LF that belongs to it.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    boundary: Boundary,
    /// The beginning of an event whose end has not come.
    pending: BytesMut,
    chunk: Bytes,
}

impl Framer {
    /// A framer that refuses events longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, boundary: Boundary::default(), pending: BytesMut::new(), chunk: Bytes::new() }
    }

    /// Adds what was received. Take all events before adding more: what is left is copied.
    pub fn push(&mut self, chunk: Bytes) {
        append(&mut self.chunk, chunk);
    }

    /// The next whole event.
    ///
    /// # Errors
    /// [`TooLong`] once an event exceeds the limit, and at each call from then on.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLong> {
        let too_long = TooLong { limit: self.limit };
        if self.pending.len() > self.limit {
            return Err(too_long);
        }
        match self.boundary.find(&self.chunk) {
            Some(end) if self.pending.len() + end > self.limit => {
                self.pending.extend_from_slice(&self.chunk.split_to(end));
                Err(too_long)
            }
            Some(end) => {
                let head = self.chunk.split_to(end);
                Ok(Some(Event { raw: join(&mut self.pending, head) }))
            }
            None => {
                self.pending.extend_from_slice(&std::mem::take(&mut self.chunk));
                if self.pending.len() > self.limit { Err(too_long) } else { Ok(None) }
            }
        }
    }

    /// The bytes after the last event taken: an event without its blank line, or nothing.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        join(&mut self.pending, self.chunk)
    }
}

/// An event is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {limit} bytes")]
pub struct TooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

/// One event, or comments up to a blank line, as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's bytes, its blank line included; a slice of the chunk when it came in one.
    pub raw: Bytes,
}

impl Event {
    /// What the event says.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields::read(&self.raw)
    }
}

/// The fields of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The `data` lines, joined by line feeds; copied only when there are several. Absent when there is none.
    pub data: Option<Cow<'a, [u8]>>,
    /// The last `event` line.
    pub name: Option<&'a [u8]>,
    /// The last `id` line.
    pub id: Option<&'a [u8]>,
    /// Whether there is a line other than `data`, comments and blank ones.
    pub others: bool,
}

impl<'a> Fields<'a> {
    /// Reads the lines of an event. A byte order mark before the first is left out.
    #[must_use]
    pub fn read(raw: &'a [u8]) -> Self {
        let mut fields = Self::default();
        let mut rest = raw.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(raw);
        while !rest.is_empty() {
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            fields.line(&rest[..end]);
            let terminator = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
            rest = rest.get(end + terminator..).unwrap_or_default();
        }
        fields
    }

    /// Whether this is the end marker of OpenAI's streams.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.data.as_deref().is_some_and(|data| data.starts_with(b"[DONE]"))
    }

    fn line(&mut self, line: &'a [u8]) {
        let colon = memchr::memchr(b':', line);
        let name = &line[..colon.unwrap_or(line.len())];
        let value = colon.map_or(&[][..], |colon| &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => match &mut self.data {
                None => self.data = Some(Cow::Borrowed(value)),
                Some(data) => {
                    let data = data.to_mut();
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
            },
            b"event" => self.name = Some(value),
            b"id" => self.id = Some(value),
            _ => {}
        }
        self.others |= !matches!(name, b"data" | b"");
    }
}

/// Where the reader stands between two bytes; the only state that outlives a chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Boundary {
    at: At,
    /// The event's lines so far that are not blank.
    lines: u32,
    /// Whether one of them ended with a CR.
    returns: bool,
    /// As it was when the last event ended: one line, and no CR.
    single: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// At the beginning of a line.
    #[default]
    Start,
    /// In a line.
    Within,
    /// After the CR of a line with text: an LF belongs to it.
    Return,
    /// After the CR of a blank line: an LF belongs to the event.
    BlankReturn,
}

impl Boundary {
    /// The end of the first event that ends in `bytes`, which follow what was looked at before. `None` when all
    /// of them were looked at.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            match self.at {
                At::Within => {
                    at += memchr2(b'\n', b'\r', &bytes[at..])? + 1;
                    self.lines += 1;
                    self.at = if bytes[at - 1] == b'\n' { At::Start } else { At::Return };
                }
                At::Start => match bytes[at] {
                    b'\n' => return Some(self.event(at + 1)),
                    b'\r' => {
                        self.at = At::BlankReturn;
                        at += 1;
                    }
                    _ => self.at = At::Within,
                },
                At::Return => {
                    self.returns = true;
                    self.at = At::Start;
                    at += usize::from(bytes[at] == b'\n');
                }
                At::BlankReturn => {
                    self.returns = true;
                    let end = at + usize::from(bytes[at] == b'\n');
                    return Some(self.event(end));
                }
            }
        }
        None
    }

    /// Whether the last event was one line and a blank one, both ended with LF.
    pub(super) const fn single(&self) -> bool {
        self.single
    }

    /// The line ends that an event lacks whose bytes end here.
    pub(super) const fn lacks(&self) -> &'static [u8] {
        match self.at {
            At::BlankReturn => b"",
            At::Start => b"\n",
            At::Within | At::Return => b"\n\n",
        }
    }

    fn event(&mut self, end: usize) -> usize {
        *self = Self { single: self.lines == 1 && !self.returns, ..Self::default() };
        end
    }
}

/// `pending` and `last` as one; copied only when there are both.
pub(super) fn join(pending: &mut BytesMut, last: Bytes) -> Bytes {
    if pending.is_empty() {
        return last;
    }
    let mut pending = std::mem::take(pending);
    pending.extend_from_slice(&last);
    pending.freeze()
}

/// Adds `more` to `chunk`; copied only when there is something in both.
pub(super) fn append(chunk: &mut Bytes, more: Bytes) {
    if chunk.is_empty() {
        *chunk = more;
    } else if !more.is_empty() {
        *chunk = [&chunk[..], &more[..]].concat().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        let mut framer = Framer::new(DEFAULT_LIMIT);
        framer.push(Bytes::copy_from_slice(text.as_bytes()));
        std::iter::from_fn(|| framer.next_event().unwrap()).collect()
    }

    fn data(text: &str) -> Vec<Option<String>> {
        let read = |event: Event| event.fields().data.map(|data| String::from_utf8(data.into_owned()).unwrap());
        events(text).into_iter().map(read).collect()
    }

    fn some(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[test]
    fn lines_end_with_cr_lf_or_crlf() {
        assert_eq!(
            data("data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\n\r\ndata: e\r\n\n"),
            some(&["a", "b", "c", "d", "e"])
        );
    }

    #[test]
    fn unicode_line_ends_do_not_end_lines() {
        assert_eq!(data("data: a\u{2028}b\u{2029}c\u{85}d\u{b}e\n\n"), some(&["a\u{2028}b\u{2029}c\u{85}d\u{b}e"]));
    }

    #[test]
    fn data_lines_are_joined_by_line_feeds() {
        assert_eq!(data("data:a\ndata:  b\ndata\ndata:\n\n"), some(&["a\n b\n\n"]));
    }

    #[test]
    fn comments_and_other_fields_are_told_from_data() {
        let all = events(": ping\n\nid: 7\nretry: 5\n\nevent: e\ndata: x\n\n\n");
        let read: Vec<_> = all.iter().map(Event::fields).collect();
        assert_eq!(read[0], Fields::default());
        assert_eq!(read[1], Fields { id: Some(b"7"), others: true, ..Fields::default() });
        let named = Fields { data: Some(Cow::Borrowed(b"x")), name: Some(b"e"), others: true, id: None };
        assert_eq!(read[2], named);
        assert_eq!((read[3].clone(), &all[3].raw[..]), (Fields::default(), &b"\n"[..]));
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_field() {
        assert_eq!(data("\u{feff}data: a\n\n"), some(&["a"]));
    }

    #[test]
    fn an_event_in_one_chunk_is_a_slice_of_it() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\n");
        let mut framer = Framer::new(DEFAULT_LIMIT);
        framer.push(chunk.clone());
        for place in [0, 9] {
            let event = framer.next_event().unwrap().unwrap();
            assert_eq!(event.raw.as_ptr(), chunk[place..].as_ptr());
        }
    }

    #[test]
    fn an_event_longer_than_the_limit_is_refused_however_it_comes() {
        let event = b"data: 0123456789\n\n";
        for (limit, fits) in [(event.len(), true), (event.len() - 1, false)] {
            for cut in 0..event.len() {
                let mut framer = Framer::new(limit);
                let mut last = Ok(None);
                for part in [&event[..cut], &event[cut..]] {
                    framer.push(Bytes::copy_from_slice(part));
                    last = framer.next_event();
                }
                assert_eq!(last.is_ok(), fits, "{cut}");
            }
        }
    }

    #[test]
    fn what_follows_the_last_event_is_handed_back() {
        let mut framer = Framer::new(DEFAULT_LIMIT);
        for part in ["data: a\n\nda", "ta: b"] {
            framer.push(Bytes::copy_from_slice(part.as_bytes()));
            while framer.next_event().unwrap().is_some() {}
        }
        assert_eq!(framer.finish(), "data: b");
    }
}
