//! A streamed answer on its way from one dialect into another.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use llm_core::{Error, ErrorKind, Frame, StreamEvent, Usage};

use super::json::Raw;
use super::sse::{Framer, TooLong};
use super::{StreamDecoder, StreamEncoder};

/// Turns the bytes of a provider's stream into frames of its caller's dialect.
///
/// [`push`](Self::push) what was received and take all frames; when the upstream has no more, [`end`](Self::end) and
/// take the last ones. The frames' bytes, joined, depend on the stream's bytes alone, not on the pieces they came in.
pub struct Translator {
    framer: Framer,
    decoder: Box<dyn StreamDecoder>,
    encoder: Box<dyn StreamEncoder>,
    out: BytesMut,
    /// Frames that were read together with one that was taken, the next one last.
    ready: Vec<Frame>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    /// The upstream has no more.
    Ended,
    /// An error that waits for the frame before it to be taken.
    Failing(Error),
    Done,
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translator").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Translator {
    /// A translation at its beginning, of events that are at most `limit` bytes long.
    #[must_use]
    pub fn new(decoder: Box<dyn StreamDecoder>, encoder: Box<dyn StreamEncoder>, limit: usize) -> Self {
        Self {
            framer: Framer::new(limit),
            decoder,
            encoder,
            out: BytesMut::new(),
            ready: Vec::new(),
            state: State::Open,
        }
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

    /// What the events received say, as one frame, or as several where the usage has one of its own. Comments and pings
    /// give frames without bytes. An error is the last item: the caller is told of it by [`fail`](Self::fail).
    pub fn next_frame(&mut self) -> Option<Result<Frame, Error>> {
        if let Some(frame) = self.ready.pop() {
            return Some(Ok(frame));
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Failing(error) => return Some(Err(error)),
            state => self.state = state,
        }
        let mut read = Read::default();
        while matches!(self.state, State::Open | State::Ended) {
            match self.step(&mut read) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.state = State::Failing(error),
            }
        }
        if matches!(self.state, State::Ended) {
            let finished = self.decoder.finish(&mut read.sink(&mut *self.encoder, &mut self.out));
            self.state = match finished {
                Ok(()) => self.done(),
                Err(error) => State::Failing(error),
            };
        }
        let last = matches!(self.state, State::Done) && !self.out.is_empty();
        if read.events == 0 && self.out.is_empty() {
            return match std::mem::replace(&mut self.state, State::Done) {
                State::Failing(error) => Some(Err(error)),
                state => {
                    self.state = state;
                    None
                }
            };
        }
        let Read { content, usage, apart, .. } = read;
        let usage = usage.map(Box::new);
        let Some(Range { start, end }) = apart.filter(|apart| !apart.is_empty()) else {
            return Some(Ok(Frame { bytes: self.out.split().freeze(), content, usage, usage_only: false, last }));
        };
        let before = self.out.split_to(start).freeze();
        let apart =
            Frame { bytes: self.out.split_to(end - start).freeze(), usage, usage_only: true, ..Frame::default() };
        if !self.out.is_empty() {
            self.ready.push(Frame { bytes: self.out.split().freeze(), last, ..Frame::default() });
        }
        if before.is_empty() {
            return Some(Ok(apart));
        }
        self.ready.push(apart);
        Some(Ok(Frame { bytes: before, content, ..Frame::default() }))
    }

    /// The frame that tells the caller of `error`, which broke the stream off.
    pub fn fail(&mut self, error: &Error) -> Bytes {
        self.state = State::Done;
        self.out.clear();
        self.ready.clear();
        self.encoder.fail(error, &mut self.out);
        self.out.split().freeze()
    }

    /// The usage told so far, also by a stream that broke off.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.decoder.usage()
    }

    /// Whether the answer came to its end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Reads one event, if there is a whole one.
    fn step(&mut self, read: &mut Read) -> Result<bool, Error> {
        let Some(event) = self.framer.next_event().map_err(too_long)? else { return Ok(false) };
        // The blank lines that are added at the end are no event of the upstream's.
        read.events += usize::from(matches!(self.state, State::Open));
        if let Some(data) = event.fields().data.filter(|data| !data.is_empty()) {
            // What was cut off in the middle says nothing; that the stream was cut off, its decoder tells.
            if matches!(self.state, State::Ended) && !is_whole(&data) {
                return Ok(true);
            }
            if self.out.capacity() < LITTLE {
                self.out.reserve(BLOCK);
            }
            self.decoder.decode(&data, &mut read.sink(&mut *self.encoder, &mut self.out))?;
            if self.decoder.is_done() {
                self.state = self.done();
            }
        }
        Ok(true)
    }

    fn done(&mut self) -> State {
        self.encoder.finish(&mut self.out);
        State::Done
    }
}

/// Frames are cut from blocks of this size, so that few of them need one of their own.
const BLOCK: usize = 2048;
const LITTLE: usize = 256;

/// What was read for one frame.
#[derive(Default)]
struct Read {
    events: usize,
    content: bool,
    usage: Option<Usage>,
    /// Where the frame that tells the usage alone stands in what was written.
    apart: Option<Range<usize>>,
}

impl Read {
    fn sink<'a>(
        &'a mut self,
        encoder: &'a mut dyn StreamEncoder,
        out: &'a mut BytesMut,
    ) -> impl FnMut(StreamEvent<super::Text<'_>>) + 'a {
        move |event| {
            self.content |= event.is_content();
            let start = out.len();
            let usage = match event {
                StreamEvent::Usage(usage) => Some(usage),
                _ => None,
            };
            encoder.encode(event, out);
            if usage.is_some() {
                self.usage = usage;
                self.apart = encoder.tells_usage_apart().then_some(start..out.len());
            }
        }
    }
}

/// Whether data that no blank line follows was sent to its end.
fn is_whole(data: &[u8]) -> bool {
    data.starts_with(b"[DONE]") || Raw::parse(data).is_ok()
}

fn too_long(error: TooLong) -> Error {
    Error::new(ErrorKind::BadAnswer, error.to_string())
}
