//! `application/vnd.amazon.eventstream`: messages in binary frames, each with headers, a payload and two checksums.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use llm_core::{Error, ErrorKind};

use crate::wire::json::Writer;

/// Length, length of the headers, checksum of both.
const PRELUDE: usize = 12;

/// What a message has beside headers and payload.
const AROUND: usize = PRELUDE + 4;

/// The most bytes of headers, as AWS has it.
const MOST_HEADERS: usize = 128 << 10;

/// Cuts the bytes of a stream into messages.
///
/// Each is given as the JSON object that the stream's decoder reads, with one member: an event's under its name
/// (`{"contentBlockDelta": …}`), what went wrong under `exception` (`{"exception": {"throttlingException": …}}`).
#[derive(Debug)]
pub struct EventStream {
    limit: usize,
    pending: BytesMut,
}

impl EventStream {
    /// A stream at its beginning, of messages that are at most `limit` bytes long.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, pending: BytesMut::new() }
    }

    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// `BadAnswer` when the bytes are none, at each call from then on.
    pub fn next_event(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(mut prelude) = self.pending.get(..PRELUDE) else { return Ok(None) };
        let (length, headers) = (prelude.get_u32() as usize, prelude.get_u32() as usize);
        if prelude.get_u32() != crc32fast::hash(&self.pending[..PRELUDE - 4]) {
            return Err(damaged("a message's beginning has another checksum"));
        }
        if length < AROUND || headers > MOST_HEADERS || headers > length - AROUND {
            return Err(damaged("a message's lengths do not fit together"));
        }
        if length > self.limit {
            return Err(damaged(&format!("a message is longer than {} bytes", self.limit)));
        }
        if self.pending.len() < length {
            return Ok(None);
        }
        let (checked, mut sum) = self.pending[..length].split_at(length - 4);
        if sum.get_u32() != crc32fast::hash(checked) {
            return Err(damaged("a message has another checksum"));
        }
        let message = self.pending.split_to(length).freeze();
        let named = Named::read(&message[PRELUDE..PRELUDE + headers])?;
        Ok(Some(named.event(&message[PRELUDE + headers..length - 4])))
    }
}

/// Writes a message to the end of `out`.
pub(super) fn write(kind: Kind, name: &str, payload: &[u8], out: &mut BytesMut) {
    let (message_type, name_header) = match kind {
        Kind::Event => ("event", ":event-type"),
        Kind::Exception => ("exception", ":exception-type"),
    };
    let mut headers = BytesMut::new();
    for (header, value) in [(name_header, name), (":content-type", "application/json"), (":message-type", message_type)]
    {
        headers.put_u8(u8::try_from(header.len()).expect("the names are short"));
        headers.put_slice(header.as_bytes());
        headers.put_u8(TEXT);
        headers.put_u16(u16::try_from(value.len()).expect("the names of events are short"));
        headers.put_slice(value.as_bytes());
    }
    let start = out.len();
    let length = |bytes: usize| u32::try_from(bytes).expect("what is written here is far smaller");
    out.put_u32(length(AROUND + headers.len() + payload.len()));
    out.put_u32(length(headers.len()));
    out.put_u32(crc32fast::hash(&out[start..]));
    out.put_slice(&headers);
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out[start..]));
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    Exception,
}

/// The type of a header that is a text.
const TEXT: u8 = 7;

/// What the headers of a message say.
#[derive(Debug, Default)]
struct Named<'a> {
    message: &'a str,
    /// The name of the event, the exception or the error.
    name: &'a str,
    /// What an error says, which has no payload.
    text: &'a str,
}

impl<'a> Named<'a> {
    fn read(mut headers: &'a [u8]) -> Result<Self, Error> {
        let mut named = Self::default();
        while !headers.is_empty() {
            let (name, value) = header(&mut headers).ok_or_else(|| damaged("a message's headers are cut off"))?;
            let place = match name {
                b":message-type" => &mut named.message,
                b":event-type" | b":exception-type" | b":error-code" => &mut named.name,
                b":error-message" => &mut named.text,
                _ => continue,
            };
            *place = value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
        }
        Ok(named)
    }

    fn event(&self, payload: &[u8]) -> Bytes {
        let mut writer = Writer::default();
        writer.object(|writer| match self.message {
            "event" => writer.key(self.name).raw(payload),
            "error" => writer.key("exception").object(|writer| {
                writer.key(self.name).object(|writer| writer.key("message").string(self.text));
            }),
            _ => writer.key("exception").object(|writer| writer.key(self.name).raw(payload)),
        });
        // As the data of an event it may have to stand on one line.
        writer.unbreak();
        writer.into_bytes()
    }
}

/// Takes a header off the beginning of `headers`: its name, and its value if that is a text.
fn header<'a>(headers: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let name = take(headers, 1).and_then(|length| take(headers, length[0].into()))?;
    let kind = take(headers, 1)?[0];
    let length = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        6 | TEXT => take(headers, 2).map(|mut length| length.get_u16())?.into(),
        9 => 16,
        _ => return None,
    };
    let value = take(headers, length)?;
    Some((name, (kind == TEXT).then_some(value)))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::BadAnswer, format!("the provider's stream cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(stream: &mut EventStream) -> Result<Vec<Bytes>, Error> {
        std::iter::from_fn(|| stream.next_event().transpose()).collect()
    }

    /// Two messages as AWS publishes them: an empty one, and one with a header and a payload.
    #[test]
    fn published_messages_are_read() {
        let mut stream = EventStream::new(1 << 20);
        stream.push(b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff");
        stream.push(b"\0\0\0\x3d\0\0\0\x20\x07\xfd\x83\x96\x0ccontent-type\x07\0\x10application/json");
        stream.push(b"{'foo':'bar'}\x8d\x9c\x08\xb1\0");
        assert_eq!(all(&mut stream).unwrap(), [r#"{"exception":{"":}}"#, r#"{"exception":{"":{'foo':'bar'}}}"#]);
    }

    #[test]
    fn what_is_damaged_is_an_error_and_stays_one() {
        let mut whole = BytesMut::new();
        write(Kind::Event, "messageStop", br#"{"stopReason":"end_turn"}"#, &mut whole);
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x10;
            let mut stream = EventStream::new(1 << 20);
            stream.push(&bytes);
            assert!(stream.next_event().is_err() && stream.next_event().is_err(), "{at}");
        }
        let mut stream = EventStream::new(whole.len() - 1);
        stream.push(&whole);
        assert!(stream.next_event().is_err());
    }

    #[test]
    fn errors_and_exceptions_are_told_apart_from_events() {
        let mut out = BytesMut::new();
        write(Kind::Exception, "throttlingException", b"{\"message\":\n\"slow\"}", &mut out);
        let mut stream = EventStream::new(1 << 20);
        stream.push(&out);
        assert_eq!(all(&mut stream).unwrap(), [r#"{"exception":{"throttlingException":{"message": "slow"}}}"#]);
        let named = Named { message: "error", name: "Internal", text: "no \"luck\"" };
        assert_eq!(named.event(b""), r#"{"exception":{"Internal":{"message":"no \"luck\""}}}"#);
    }

    proptest! {
        #[test]
        fn messages_are_the_same_in_whatever_pieces_they_come(
            payloads in prop::collection::vec("[a-z]{0,40}", 0..6), cuts in prop::collection::vec(1_usize..50, 0..20),
        ) {
            let mut bytes = BytesMut::new();
            for payload in &payloads {
                write(Kind::Event, "e", format!("\"{payload}\"").as_bytes(), &mut bytes);
            }
            let (mut stream, mut found, mut rest) = (EventStream::new(1 << 20), Vec::new(), &bytes[..]);
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                stream.push(piece);
                found.extend(all(&mut stream).unwrap());
                rest = left;
            }
            stream.push(rest);
            found.extend(all(&mut stream).unwrap());
            let told: Vec<_> = payloads.iter().map(|payload| format!("{{\"e\":\"{payload}\"}}")).collect();
            prop_assert_eq!(found, told);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut stream = EventStream::new(1 << 20);
            stream.push(&bytes);
            let _ = all(&mut stream);
        }
    }
}
