//! A streamed response that passes through, and what is read from it on the way.

use bytes::Bytes;
use llm_core::{Error, ErrorKind, Frame, Usage};

use super::response::failure;
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw, Scanner, Syntax, Token, skip_bom};
use crate::wire::openai::{error_object, error_within, not_json};
use crate::wire::sse::Framer;

/// Watches the bytes of a stream that passes through.
///
/// [`push`](Self::push) what was received and take all frames; when the upstream has no more, [`finish`](Self::finish).
/// The frames' bytes, joined, are the stream up to its terminal event.
#[derive(Debug)]
pub struct ResponseStream {
    framer: Framer,
    /// Whether nothing more is told.
    over: bool,
    done: bool,
}

impl ResponseStream {
    /// A stream whose events are at most `limit` bytes long.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { framer: Framer::new(limit), over: false, done: false }
    }

    /// Adds what was received. Take all frames before adding more: what is left is copied.
    pub fn push(&mut self, chunk: Bytes) {
        self.framer.push(chunk);
    }

    /// The next event, as a frame. After an error or the terminal event there is nothing more.
    pub fn next_frame(&mut self) -> Option<Result<Frame, Error>> {
        if self.over {
            return None;
        }
        let frame = match self.framer.next_event() {
            Ok(None) => return None,
            Ok(Some(event)) => {
                let read = match event.fields().data.filter(|data| !data.is_empty()) {
                    Some(data) => read(&data),
                    None => Ok(Frame::default()),
                };
                read.map(|frame| Frame { bytes: event.raw.clone(), ..frame })
            }
            Err(too_long) => Err(Error::new(ErrorKind::BadAnswer, too_long.to_string())),
        };
        self.done = frame.as_ref().is_ok_and(|frame| frame.last);
        self.over = self.done || frame.is_err();
        Some(frame)
    }

    /// Whether the stream came to its terminal event.
    ///
    /// # Errors
    /// `StreamInterrupted` when it did not.
    pub fn finish(self) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        Err(Error::new(ErrorKind::StreamInterrupted, "the provider's stream broke off before its end"))
    }
}

/// What an event says, as a frame without bytes.
fn read(data: &[u8]) -> Result<Frame, Error> {
    if data.starts_with(b"[DONE]") {
        return Ok(Frame::default());
    }
    let glance = Glance::at(data).map_err(|syntax| not_json(syntax, data))?;
    let whole = || Raw::parse(data).map_err(|syntax| not_json(syntax, data));
    match glance.kind {
        b"error" => {
            let raw = whole()?;
            Err(raw.member("error").map_or_else(|| error_object(raw), error_object))
        }
        b"response.failed" => {
            let failed = || Error::new(ErrorKind::Upstream, "the provider's answer failed");
            Err(whole()?.member("response").and_then(failure).unwrap_or_else(failed))
        }
        b"response.completed" | b"response.incomplete" => {
            // Once a stream.
            let usage = whole()?.member("response").and_then(|response| response.member("usage")).and_then(read_usage);
            Ok(Frame { usage: usage.map(Box::new), last: true, ..Frame::default() })
        }
        b"" => match error_within(whole()?) {
            Some(error) => Err(error),
            None => Ok(Frame::default()),
        },
        kind => Ok(Frame { content: glance.said && kind.ends_with(b".delta"), ..Frame::default() }),
    }
}

/// The few facts that one scan over an event finds.
struct Glance<'a> {
    kind: &'a [u8],
    /// Whether there is a delta that is not empty.
    said: bool,
}

impl<'a> Glance<'a> {
    fn at(data: &'a [u8]) -> Result<Self, Syntax> {
        let mut scan = Scanner::new(data, skip_bom(data));
        let mut glance = Self { kind: b"", said: false };
        if scan.peek()? != Kind::Object {
            return Err(Syntax { at: scan.position(), what: "expected an object" });
        }
        scan.enter()?;
        let mut first = true;
        while let Some(key) = scan.key(&mut first)? {
            let value = scan.value()?;
            let text = |token: &Token| (token.kind == Kind::String).then(|| token.inner(data));
            match key.inner(data) {
                b"type" => glance.kind = text(&value).unwrap_or_default(),
                b"delta" => glance.said = text(&value).is_some_and(|text| !text.is_empty()),
                _ => {}
            }
        }
        scan.end_of_value()?;
        Ok(glance)
    }
}

/// Checks that `bytes` is a whole answer and reads its usage.
///
/// # Errors
/// `BadAnswer` when it is something else; what its `error` says when it failed.
pub fn read_answer(bytes: &[u8]) -> Result<Option<Usage>, Error> {
    let raw = Raw::parse(bytes).map_err(|syntax| not_json(syntax, bytes))?;
    let (mut has_output, mut usage) = (false, None);
    for (key, value) in raw.members() {
        match key.as_ref() {
            "output" => has_output = value.kind() == Kind::Array,
            "usage" => usage = read_usage(value),
            _ => {}
        }
    }
    match failure(raw) {
        Some(error) => Err(error),
        None if has_output => Ok(usage),
        None => Err(Error::new(ErrorKind::BadAnswer, "the provider's answer has no 'output'")),
    }
}
