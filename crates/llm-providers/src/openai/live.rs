//! Answers frame by frame: the caller's polls drive the connection, there is no task and no queue between.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use llm_core::{BoxStream, Error, ErrorKind, Frame, StreamEvent};

use super::clocks::Clocks;
use crate::wire::openai::{ChatStream, ChunkDecoder};
use crate::wire::sse::Framer;

/// What the connection gave.
enum Piece {
    Data(Bytes),
    End,
    Broken(Error),
}

/// A body whose silence is timed.
struct Timed {
    body: BoxStream<Result<Bytes, Error>>,
    clocks: Clocks,
}

impl Timed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        match self.body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(data))) => Poll::Ready(Piece::Data(data)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Piece::Broken(interrupted(error))),
            Poll::Ready(None) => Poll::Ready(Piece::End),
            Poll::Pending => self.clocks.poll_expired(cx).map(Piece::Broken),
        }
    }
}

fn interrupted(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Connection => Error::new(ErrorKind::StreamInterrupted, error.message().to_owned()),
        _ => error,
    }
}

/// Frames as received.
pub(crate) struct LiveFrames {
    timed: Timed,
    /// None once the stream has ended.
    chat: Option<ChatStream>,
    drained: bool,
}

impl LiveFrames {
    pub(crate) const fn new(body: BoxStream<Result<Bytes, Error>>, clocks: Clocks, chat: ChatStream) -> Self {
        Self { timed: Timed { body, clocks }, chat: Some(chat), drained: false }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame, Error>>> {
        self.chat = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for LiveFrames {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Some(chat) = &mut this.chat else { return Poll::Ready(None) };
            match chat.next_frame() {
                Some(Ok(frame)) => {
                    if frame.content {
                        this.timed.clocks.content();
                    } else {
                        this.timed.clocks.comment();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Some(Err(error)) => return this.fail(error),
                None => {}
            }
            if this.drained {
                let ended = this.chat.take().map_or(Ok(()), ChatStream::finish);
                return Poll::Ready(ended.err().map(Err));
            }
            match std::task::ready!(this.timed.poll(cx)) {
                Piece::Data(data) => chat.push(data),
                Piece::End => {
                    chat.end();
                    this.drained = true;
                }
                Piece::Broken(error) => {
                    // What was whole before the break was given out; a marker among it makes the break harmless.
                    let ended = this.chat.take().map_or(Ok(()), ChatStream::finish);
                    return Poll::Ready(ended.err().map(|_| Err(error)));
                }
            }
        }
    }
}

/// Neutral events.
pub(crate) struct LiveEvents {
    timed: Timed,
    framer: Framer,
    decoder: ChunkDecoder,
    /// Events that were read together, the next one last.
    ready: Vec<StreamEvent>,
    ended: bool,
}

impl LiveEvents {
    pub(crate) fn new(body: BoxStream<Result<Bytes, Error>>, clocks: Clocks, limit: usize) -> Self {
        Self {
            timed: Timed { body, clocks },
            framer: Framer::new(limit),
            decoder: ChunkDecoder::new(),
            ready: Vec::new(),
            ended: false,
        }
    }

    /// Reads the events that have come whole.
    fn read(&mut self) -> Result<(), Error> {
        while let Some(event) = self.framer.next_event().map_err(too_long)? {
            match event.fields().data {
                Some(data) => self.decoder.decode(&data, &mut self.ready)?,
                None => self.timed.clocks.comment(),
            }
        }
        Ok(())
    }
}

pub(crate) fn too_long(error: crate::wire::sse::TooLong) -> Error {
    Error::new(ErrorKind::StreamInterrupted, error.to_string())
}

impl Stream for LiveEvents {
    type Item = Result<StreamEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(event) = this.ready.pop() {
                return Poll::Ready(Some(Ok(event)));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            let step = match std::task::ready!(this.timed.poll(cx)) {
                Piece::Data(data) => {
                    this.framer.push(data);
                    this.read()
                }
                Piece::End => {
                    this.ended = true;
                    // The blank line that the last event may lack.
                    this.framer.push(Bytes::from_static(b"\n\n"));
                    this.read().and_then(|()| this.decoder.finish(&mut this.ready))
                }
                Piece::Broken(error) => Err(error),
            };
            if let Err(error) = step {
                this.ended = true;
                this.ready.clear();
                if !this.decoder.is_done() {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if !this.ready.is_empty() {
                this.timed.clocks.content();
                this.ready.reverse();
            }
        }
    }
}
