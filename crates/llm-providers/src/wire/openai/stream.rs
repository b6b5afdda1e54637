//! A streamed chat completion that passes through, and what is read from it on the way.

use bytes::{Buf, Bytes, BytesMut};
use llm_core::{Error, ErrorKind, Frame, Usage};

use super::answer::not_json;
use super::error::error_within;
use super::glance::{Choices, Glance, Memo};
use super::usage::read_usage;
use crate::wire::json::Raw;
use crate::wire::sse::{Boundary, Fields, append, join};

/// Watches the bytes of a stream that passes through.
///
/// [`push`](Self::push) what was received and take all frames; when the upstream has no more, [`end`](Self::end),
/// take the last frames, and [`finish`](Self::finish). The frames' bytes, joined, are the stream but for: the
/// usage chunk, if it is to be swallowed; a leading byte order mark and events without data, both of which break
/// clients; and the line ends that the last event lacked.
#[derive(Debug)]
pub struct ChatStream {
    swallow_usage: bool,
    limit: usize,
    boundary: Boundary,
    /// The beginning of an event whose end has not come.
    pending: BytesMut,
    chunk: Bytes,
    /// The bytes of a byte order mark that were met at the stream's beginning; more than 3 once it is over.
    mark: usize,
    memo: Memo,
    choices: Choices,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    /// The upstream has no more.
    Ended,
    /// An error that waits for the frame before it to be taken.
    Failing(Error),
    Failed,
    /// The terminal marker was read.
    Done,
}

/// What an event is.
enum Verdict {
    Pass {
        content: bool,
        usage: Option<Usage>,
    },
    /// A usage chunk.
    Usage(Option<Usage>),
    /// Fields without data.
    Drop,
    Done,
    Fail(Error),
}

impl ChatStream {
    /// A stream whose usage chunk is left out if `swallow_usage`, and whose events are at most `limit` bytes long.
    #[must_use]
    pub fn new(swallow_usage: bool, limit: usize) -> Self {
        Self {
            swallow_usage,
            limit,
            boundary: Boundary::default(),
            pending: BytesMut::new(),
            chunk: Bytes::new(),
            mark: 0,
            memo: Memo::default(),
            choices: Choices::default(),
            state: State::Open,
        }
    }

    /// Adds what was received. Take all frames before adding more: what is left is copied.
    pub fn push(&mut self, mut chunk: Bytes) {
        if self.mark < MARK.len() {
            self.skip_mark(&mut chunk);
        }
        append(&mut self.chunk, chunk);
    }

    /// The whole events of what was received, as one frame where they lie side by side. After an error or the
    /// terminal marker there is nothing more.
    pub fn next_frame(&mut self) -> Option<Result<Frame, Error>> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Failing(error) => return Some(Err(error)),
            state => self.state = state,
        }
        while matches!(self.state, State::Open | State::Ended) {
            let frame = if self.chunk.is_empty() {
                matches!(self.state, State::Ended).then(|| self.last()).flatten()?
            } else if self.pending.is_empty() {
                self.run()
            } else {
                self.carried()
            };
            if let Some(frame) = frame {
                return Some(frame);
            }
        }
        None
    }

    /// Says that nothing more will be received: an event without its blank line is given one, if it is whole.
    pub fn end(&mut self) {
        if matches!(self.state, State::Open) {
            self.state = State::Ended;
        }
    }

    /// Whether the stream came to its end: to the terminal marker or, of a server that sends none, to the end of
    /// every choice.
    ///
    /// # Errors
    /// `StreamInterrupted` when it did not.
    pub fn finish(self) -> Result<(), Error> {
        match self.state {
            State::Done => Ok(()),
            State::Open | State::Ended if self.choices.all_finished() => Ok(()),
            _ => Err(interrupted()),
        }
    }

    /// The events at the beginning of the chunk, up to one that is not to be passed on.
    fn run(&mut self) -> Option<Result<Frame, Error>> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut frame = Frame::default();
        let mut end = 0;
        while let Some(length) = self.boundary.find(&chunk[end..]) {
            let next = end + length;
            if length > self.limit {
                return self.fail(frame, chunk.split_to(end), self.too_long());
            }
            match self.read(&chunk[end..next]) {
                Verdict::Pass { content, usage } => {
                    frame.content |= content;
                    frame.usage = usage.map(Box::new).or(frame.usage);
                    end = next;
                }
                Verdict::Usage(_) if !self.swallow_usage && end > 0 => {
                    // A frame of its own: the next.
                    frame.bytes = chunk.split_to(end);
                    self.chunk = chunk;
                    return Some(Ok(frame));
                }
                Verdict::Usage(usage) => {
                    frame.usage = usage.map(Box::new).or(frame.usage);
                    frame.bytes = chunk.split_to(if self.swallow_usage { end } else { length });
                    frame.usage_only = !self.swallow_usage;
                    chunk.advance(next - frame.bytes.len());
                    self.chunk = chunk;
                    return Some(Ok(frame));
                }
                Verdict::Drop => {
                    frame.bytes = chunk.split_to(end);
                    chunk.advance(length);
                    self.chunk = chunk;
                    return (end > 0).then_some(Ok(frame));
                }
                Verdict::Done => {
                    self.state = State::Done;
                    frame.bytes = chunk.split_to(next);
                    frame.last = true;
                    return Some(Ok(frame));
                }
                Verdict::Fail(error) => return self.fail(frame, chunk.split_to(end), error),
            }
        }
        frame.bytes = chunk.split_to(end);
        if chunk.len() > self.limit {
            let bytes = std::mem::take(&mut frame.bytes);
            return self.fail(frame, bytes, self.too_long());
        }
        self.pending.extend_from_slice(&chunk);
        (end > 0).then_some(Ok(frame))
    }

    /// The event that began in an earlier chunk.
    fn carried(&mut self) -> Option<Result<Frame, Error>> {
        let end = self.boundary.find(&self.chunk);
        let head = self.chunk.split_to(end.unwrap_or(self.chunk.len()));
        if self.pending.len() + head.len() > self.limit {
            self.state = State::Failed;
            return Some(Err(self.too_long()));
        }
        if end.is_none() {
            self.pending.extend_from_slice(&head);
            return None;
        }
        let event = join(&mut self.pending, head);
        self.alone(event)
    }

    /// What stands after the last event when the stream has ended. The outer `None` says that there is nothing.
    fn last(&mut self) -> Option<Option<Result<Frame, Error>>> {
        if self.pending.is_empty() {
            return None;
        }
        let lacks = Bytes::from_static(self.boundary.lacks());
        let whole = Fields::read(&self.pending).data.is_some_and(|data| is_whole(&data));
        let event = join(&mut self.pending, lacks);
        self.boundary = Boundary::default();
        // What was cut off in the middle says nothing; that the stream was cut off, `finish` tells.
        if whole { Some(self.alone(event)) } else { None }
    }

    fn alone(&mut self, event: Bytes) -> Option<Result<Frame, Error>> {
        let frame = |bytes, content, usage: Option<Usage>, last| {
            Some(Ok(Frame { bytes, content, usage: usage.map(Box::new), usage_only: false, last }))
        };
        match self.read(&event) {
            Verdict::Pass { content, usage } => frame(event, content, usage, false),
            Verdict::Usage(usage) => {
                let bytes = if self.swallow_usage { Bytes::new() } else { event };
                Some(Ok(Frame { bytes, usage: usage.map(Box::new), usage_only: true, ..Frame::default() }))
            }
            Verdict::Drop => None,
            Verdict::Done => {
                self.state = State::Done;
                frame(event, false, None, true)
            }
            Verdict::Fail(error) => {
                self.state = State::Failed;
                Some(Err(error))
            }
        }
    }

    fn read(&mut self, event: &[u8]) -> Verdict {
        const PREFIX: &[u8] = b"data: ";
        if self.boundary.single() && event.starts_with(PREFIX) && event.len() > PREFIX.len() + 2 {
            return self.read_data(&event[PREFIX.len()..event.len() - 2]);
        }
        let fields = Fields::read(event);
        match &fields.data {
            Some(data) if !data.is_empty() => self.read_data(data),
            Some(_) => Verdict::Drop,
            None if fields.others => Verdict::Drop,
            None => Verdict::Pass { content: false, usage: None },
        }
    }

    fn read_data(&mut self, data: &[u8]) -> Verdict {
        if let Some(content) = self.memo.recall(data) {
            return Verdict::Pass { content, usage: None };
        }
        if data.starts_with(b"[DONE]") {
            return Verdict::Done;
        }
        let glance = match Glance::at(data, &mut self.choices) {
            Ok(glance) => glance,
            Err(syntax) => return Verdict::Fail(not_json(syntax, data)),
        };
        if glance.may_be_error {
            match Raw::parse(data).map(error_within) {
                Ok(None) => {}
                Ok(Some(error)) => return Verdict::Fail(error),
                Err(syntax) => return Verdict::Fail(not_json(syntax, data)),
            }
        }
        self.memo.keep(data, &glance);
        let usage = glance.usage.map(|usage| &data[usage]);
        let usage = usage.and_then(|usage| read_usage(Raw::parse(usage).ok()?));
        if glance.usage_only {
            return Verdict::Usage(usage);
        }
        Verdict::Pass { content: glance.content, usage }
    }

    /// Fails, after the frame of what came before, if there is any.
    fn fail(&mut self, mut frame: Frame, before: Bytes, error: Error) -> Option<Result<Frame, Error>> {
        if before.is_empty() {
            self.state = State::Failed;
            return Some(Err(error));
        }
        self.state = State::Failing(error);
        frame.bytes = before;
        Some(Ok(frame))
    }

    fn too_long(&self) -> Error {
        Error::new(ErrorKind::BadAnswer, format!("an event of the stream is longer than {} bytes", self.limit))
    }

    fn skip_mark(&mut self, chunk: &mut Bytes) {
        while let Some(&byte) = chunk.first() {
            if MARK.get(self.mark) == Some(&byte) {
                self.mark += 1;
                chunk.advance(1);
                continue;
            }
            if (1..MARK.len()).contains(&self.mark) {
                *chunk = [&MARK[..self.mark], &chunk[..]].concat().into();
            }
            self.mark = usize::MAX;
            return;
        }
    }
}

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// The error of a stream that stopped before its end.
pub(super) fn interrupted() -> Error {
    Error::new(ErrorKind::StreamInterrupted, "the provider's stream broke off before its end")
}

/// Whether data that no blank line follows was sent to its end.
fn is_whole(data: &[u8]) -> bool {
    data.starts_with(b"[DONE]") || Raw::parse(data).is_ok()
}
