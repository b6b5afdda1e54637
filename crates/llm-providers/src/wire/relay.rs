//! A streamed answer that passes through in its own dialect, and what is read from it on the way.

use bytes::Bytes;
use llm_core::{Error, ErrorKind, Frame, StreamEvent};

use super::StreamDecoder;
use super::json::Raw;
use super::sse::{Framer, TooLong};

/// Watches the bytes of a stream that passes through.
///
/// [`push`](Self::push) what was received and take all frames; when the upstream has no more, [`end`](Self::end), take the
/// last frames, and [`finish`](Self::finish). The frames' bytes, joined, are the stream's.
pub struct Relay {
    framer: Framer,
    decoder: Box<dyn StreamDecoder>,
    /// What becomes of a frame that tells the usage alone, in dialects that have such.
    usage: Apart,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apart {
    /// The dialect has no such frames.
    Never,
    Shown,
    Swallowed,
}

#[derive(Debug)]
enum State {
    Open,
    /// The upstream has no more.
    Ended,
    /// All was read, to the dialect's end.
    Done,
    Failed,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Relay {
    /// A stream at its beginning that `decoder` understands, of events that are at most `limit` bytes long.
    #[must_use]
    pub fn new(decoder: Box<dyn StreamDecoder>, limit: usize) -> Self {
        Self { framer: Framer::new(limit), decoder, usage: Apart::Never, state: State::Open }
    }

    /// The same of a dialect in which the usage has a frame of its own, which is left out if `swallow`.
    #[must_use]
    pub fn with_usage_apart(mut self, swallow: bool) -> Self {
        self.usage = if swallow { Apart::Swallowed } else { Apart::Shown };
        self
    }

    /// Adds what was received. Take all frames before adding more: what is left is copied.
    pub fn push(&mut self, chunk: Bytes) {
        self.framer.push(chunk);
    }

    /// Says that nothing more will be received: an event without its blank line is given one.
    pub fn end(&mut self) {
        if matches!(self.state, State::Open) {
            self.state = State::Ended;
            self.framer.push(Bytes::from_static(b"\n\n"));
        }
    }

    /// The next event. After an error or the terminal marker there is nothing more.
    pub fn next_frame(&mut self) -> Option<Result<Frame, Error>> {
        if !matches!(self.state, State::Open | State::Ended) {
            return None;
        }
        let event = match self.framer.next_event() {
            Ok(event) => event?,
            Err(error) => return self.fail(too_long(error)),
        };
        let mut frame = Frame::default();
        let untold = self.usage != Apart::Never && self.decoder.usage().is_none();
        if let Some(data) = event.fields().data.filter(|data| !data.is_empty()) {
            let mut sink = |event: StreamEvent<super::Text<'_>>| {
                frame.content |= event.is_content();
                if let StreamEvent::Usage(usage) = event {
                    frame.usage = Some(Box::new(usage));
                }
            };
            if let Err(error) = self.decoder.decode(&data, &mut sink) {
                return self.fail(error);
            }
            frame.last = self.decoder.is_done();
            if untold && !frame.last && is_without_choices(&data) {
                frame.usage = self.decoder.usage().map(Box::new);
                frame.usage_only = frame.usage.is_some();
            }
            if frame.last {
                self.state = State::Done;
            }
        }
        // The blank lines that are added at the end are no event of the upstream's.
        if event.raw.iter().all(|byte| matches!(byte, b'\n' | b'\r')) && matches!(self.state, State::Ended) {
            return None;
        }
        if !(frame.usage_only && self.usage == Apart::Swallowed) {
            frame.bytes = event.raw;
        }
        Some(Ok(frame))
    }

    /// Whether the stream came to its end, and the usage that its end told.
    ///
    /// # Errors
    /// `StreamInterrupted` when it did not.
    pub fn finish(mut self) -> Result<Option<Frame>, Error> {
        match self.state {
            State::Done => Ok(None),
            State::Failed => Err(Error::new(ErrorKind::StreamInterrupted, "the stream has failed")),
            State::Open | State::Ended => {
                let mut frame = Frame { last: true, ..Frame::default() };
                self.decoder.finish(&mut |event| {
                    if let StreamEvent::Usage(usage) = event {
                        frame.usage = Some(Box::new(usage));
                    }
                })?;
                Ok(Some(frame))
            }
        }
    }

    fn fail(&mut self, error: Error) -> Option<Result<Frame, Error>> {
        self.state = State::Failed;
        Some(Err(error))
    }
}

/// Whether a chunk has no choice, as the one that tells the usage.
fn is_without_choices(data: &[u8]) -> bool {
    let choices = Raw::parse(data).ok().and_then(|chunk| chunk.member("choices"));
    choices.is_none_or(|choices| choices.items().next().is_none())
}

fn too_long(error: TooLong) -> Error {
    Error::new(ErrorKind::BadAnswer, error.to_string())
}
