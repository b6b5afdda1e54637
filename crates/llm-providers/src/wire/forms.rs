//! An answer in the other form, in its own dialect: a whole one told as a stream, a stream put together.

use bytes::{Bytes, BytesMut};
use llm_core::{Dialect, Error, ErrorKind, Frame, StreamEvent};

use super::json::Raw;
use super::openai::{ChatAssembler, replay_chat};
use super::responses::replay_response;
use super::sse::Framer;
use super::{AnswerOptions, Collector, StreamDecoder, Text, codec, events};

/// The frames that say what the whole answer `body` of `dialect` says, its usage in a frame of its own, if the stream
/// has such.
///
/// # Errors
/// `BadAnswer` when `body` is no answer; `Unsupported` where the dialect has no streams.
pub fn replay(dialect: Dialect, body: &[u8]) -> Result<Vec<Frame>, Error> {
    if dialect == Dialect::OpenAi {
        return replay_chat(body);
    }
    if dialect == Dialect::OpenAiResponses {
        return replay_response(body);
    }
    let codec = codec(dialect).ok_or_else(|| no_streams(dialect))?;
    let response = codec.decode_response(body)?;
    let options = AnswerOptions::of_its_own(dialect);
    let (mut encoder, mut frames) = (codec.stream_encoder(&options), Vec::new());
    let mut out = BytesMut::new();
    for event in events(response) {
        encoder.encode(event.map(|text| Text::plain(text)), &mut out);
        let usage = match event {
            StreamEvent::Usage(usage) => Some(Box::new(usage)),
            _ => None,
        };
        if !out.is_empty() || usage.is_some() {
            let (bytes, content) = (out.split().freeze(), event.is_content());
            frames.push(Frame { bytes, content, usage, ..Frame::default() });
        }
    }
    encoder.finish(&mut out);
    frames.push(Frame { bytes: out.freeze(), last: true, ..Frame::default() });
    Ok(frames)
}

/// Puts the frames of a stream together.
pub struct Assembler(Parts);

enum Parts {
    Chat(ChatAssembler),
    /// The last event of a response has all of it.
    Response {
        framer: Framer,
        last: Option<Bytes>,
    },
    Other {
        dialect: Dialect,
        framer: Framer,
        decoder: Box<dyn StreamDecoder>,
        collector: Box<Collector>,
    },
}

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assembler(..)")
    }
}

impl Assembler {
    /// Nothing yet, of a stream of `dialect` whose events are at most `limit` bytes long.
    ///
    /// # Errors
    /// `Unsupported` where the dialect has no streams.
    pub fn new(dialect: Dialect, limit: usize) -> Result<Self, Error> {
        if dialect == Dialect::OpenAi {
            return Ok(Self(Parts::Chat(ChatAssembler::new(limit))));
        }
        if dialect == Dialect::OpenAiResponses {
            return Ok(Self(Parts::Response { framer: Framer::new(limit), last: None }));
        }
        let decoder = codec(dialect).ok_or_else(|| no_streams(dialect))?.stream_decoder();
        let (framer, collector) = (Framer::new(limit), Box::new(Collector::new(dialect)));
        Ok(Self(Parts::Other { dialect, framer, decoder, collector }))
    }

    /// Adds bytes of the stream.
    ///
    /// # Errors
    /// `BadAnswer` when an event is none of the dialect's or too long; what the stream says when it is an error.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        let too_long = |error: super::sse::TooLong| Error::new(ErrorKind::BadAnswer, error.to_string());
        let (framer, decoder, collector) = match &mut self.0 {
            Parts::Chat(chat) => return chat.push(bytes),
            Parts::Response { framer, last } => {
                framer.push(bytes);
                while let Some(event) = framer.next_event().map_err(too_long)? {
                    if let Some(data) = event.fields().data {
                        *last = ended_response(&data).or(last.take());
                    }
                }
                return Ok(());
            }
            Parts::Other { framer, decoder, collector, .. } => (framer, decoder, collector),
        };
        framer.push(bytes);
        while let Some(event) = framer.next_event().map_err(too_long)? {
            if let Some(data) = event.fields().data.filter(|data| !data.is_empty()) {
                decoder.decode(&data, &mut |event| collector.add(event.map(|text| text.into_string())))?;
            }
        }
        Ok(())
    }

    /// The whole answer.
    ///
    /// # Errors
    /// `BadAnswer` when the stream said nothing; `StreamInterrupted` when it did not come to its end.
    pub fn finish(self) -> Result<Bytes, Error> {
        let (dialect, mut decoder, mut collector) = match self.0 {
            Parts::Chat(chat) => return chat.finish(),
            Parts::Response { last, .. } => {
                let broken = || Error::new(ErrorKind::StreamInterrupted, "the stream broke off before its end");
                return last.ok_or_else(broken);
            }
            Parts::Other { dialect, decoder, collector, .. } => (dialect, decoder, collector),
        };
        decoder.finish(&mut |event| collector.add(event.map(|text| text.into_string())))?;
        let codec = codec(dialect).ok_or_else(|| no_streams(dialect))?;
        Ok(codec.encode_response(&collector.into_response(), &AnswerOptions::of_its_own(dialect)))
    }
}

/// The whole response that the event which ends its stream has.
fn ended_response(data: &[u8]) -> Option<Bytes> {
    let event = Raw::parse(data).ok()?;
    let kind = event.member("type")?.string()?;
    let ends = matches!(&*kind, "response.completed" | "response.incomplete");
    Some(Bytes::copy_from_slice(event.member("response").filter(|_| ends)?.text().as_bytes()))
}

fn no_streams(dialect: Dialect) -> Error {
    Error::new(ErrorKind::Unsupported, format!("answers of {} have one form", dialect.as_str()))
}
