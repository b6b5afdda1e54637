//! Answers frame by frame: the caller's polls drive the connection, there is no task and no queue between.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use llm_core::{BoxStream, Error, ErrorKind, Frame, StreamEvent};

use super::clocks::Clocks;
use crate::wire::openai::ChatStream;
use crate::wire::responses::ResponseStream;
use crate::wire::sse::Framer;
use crate::wire::{Relay, StreamDecoder, Translator};

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

/// What becomes of the bytes of a stream.
pub(crate) enum Reading {
    /// A chat passes through.
    Chat(ChatStream),
    /// A stream of another dialect passes through.
    Relay(Relay),
    /// A response passes through.
    Response(ResponseStream),
    Translated(Box<Translator>),
}

impl Reading {
    fn push(&mut self, data: Bytes) {
        match self {
            Self::Chat(chat) => chat.push(data),
            Self::Relay(relay) => relay.push(data),
            Self::Response(response) => response.push(data),
            Self::Translated(translator) => translator.push(data),
        }
    }

    fn next_frame(&mut self) -> Option<Result<Frame, Error>> {
        match self {
            Self::Chat(chat) => chat.next_frame(),
            Self::Relay(relay) => relay.next_frame(),
            Self::Response(response) => response.next_frame(),
            Self::Translated(translator) => translator.next_frame(),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Chat(chat) => chat.end(),
            Self::Relay(relay) => relay.end(),
            // The blank line that the last event may lack.
            Self::Response(response) => response.push(Bytes::from_static(b"\n\n")),
            Self::Translated(translator) => translator.end(),
        }
    }

    /// Whether the stream came to its end, and what that told.
    fn finish(self) -> Result<Option<Frame>, Error> {
        match self {
            Self::Chat(chat) => chat.finish().map(|()| None),
            Self::Relay(relay) => relay.finish(),
            Self::Response(response) => response.finish().map(|()| None),
            Self::Translated(translator) if translator.is_done() => Ok(None),
            Self::Translated(_) => Err(Error::new(ErrorKind::StreamInterrupted, "the provider's stream broke off")),
        }
    }
}

/// The bytes of an answer that nothing here reads: any of them count as content for the clocks.
pub(crate) struct Pieces {
    timed: Timed,
    ended: bool,
}

impl Pieces {
    pub(crate) const fn new(body: BoxStream<Result<Bytes, Error>>, clocks: Clocks) -> Self {
        Self { timed: Timed { body, clocks }, ended: false }
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(this.timed.poll(cx));
        this.ended = !matches!(piece, Piece::Data(_));
        Poll::Ready(match piece {
            Piece::Data(data) => {
                this.timed.clocks.content();
                Some(Ok(data))
            }
            Piece::End => None,
            Piece::Broken(error) => Some(Err(error)),
        })
    }
}

/// Frames as received, or as translated.
pub(crate) struct LiveFrames {
    timed: Timed,
    /// None once the stream has ended.
    reading: Option<Reading>,
    drained: bool,
}

impl LiveFrames {
    pub(crate) const fn new(body: BoxStream<Result<Bytes, Error>>, clocks: Clocks, reading: Reading) -> Self {
        Self { timed: Timed { body, clocks }, reading: Some(reading), drained: false }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame, Error>>> {
        self.reading = None;
        Poll::Ready(Some(Err(error)))
    }

    fn finish(&mut self) -> Result<Option<Frame>, Error> {
        self.reading.take().map_or(Ok(None), Reading::finish)
    }
}

impl Stream for LiveFrames {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Some(reading) = &mut this.reading else { return Poll::Ready(None) };
            match reading.next_frame() {
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
                return Poll::Ready(this.finish().transpose());
            }
            match std::task::ready!(this.timed.poll(cx)) {
                Piece::Data(data) => reading.push(data),
                Piece::End => {
                    reading.end();
                    this.drained = true;
                }
                Piece::Broken(error) => {
                    // What was whole before the break was given out; a marker among it makes the break harmless.
                    return Poll::Ready(this.finish().map_err(|_| error).transpose());
                }
            }
        }
    }
}

/// Neutral events.
pub(crate) struct LiveEvents {
    timed: Timed,
    framer: Framer,
    decoder: Box<dyn StreamDecoder>,
    /// Events that were read together, the next one last.
    ready: Vec<StreamEvent>,
    ended: bool,
}

impl LiveEvents {
    pub(crate) fn new(
        body: BoxStream<Result<Bytes, Error>>,
        clocks: Clocks,
        decoder: Box<dyn StreamDecoder>,
        limit: usize,
    ) -> Self {
        Self { timed: Timed { body, clocks }, framer: Framer::new(limit), decoder, ready: Vec::new(), ended: false }
    }

    /// Reads the events that have come whole.
    fn read(&mut self) -> Result<(), Error> {
        while let Some(event) = self.framer.next_event().map_err(too_long)? {
            match event.fields().data {
                Some(data) if !data.is_empty() => {
                    let ready = &mut self.ready;
                    self.decoder.decode(&data, &mut |event| ready.push(event.map(|text| text.into_string())))?;
                }
                _ => self.timed.clocks.comment(),
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
                    this.read().and_then(|()| {
                        let ready = &mut this.ready;
                        this.decoder.finish(&mut |event| ready.push(event.map(|text| text.into_string())))
                    })
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
