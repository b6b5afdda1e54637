//! A call read into neutral form, and answers put into the form in which it was asked.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName};
use llm_core::{
    Answer, Call, CallBody, CompletionRequest, CompletionResponse, Dialect, EmbeddingRequest, EmbeddingResponse,
    Envelope, Error, ErrorKind, Frame, Model, Operation, StreamEvent, Usage, WireAnswer, WireBody,
};

use crate::prompt::input_tokens;
use crate::wire::openai::{self, VectorFormat, decode_embedding_request};
use crate::wire::{AnswerOptions, Codec, StreamEncoder, Text, codec};

/// A call in neutral form.
#[derive(Debug)]
pub(crate) enum Asked {
    Chat(Chat),
    /// With the format of the vectors when the answer is to be bytes.
    Embeddings(Box<EmbeddingRequest>, Option<VectorFormat>),
    /// The number of a prompt's tokens.
    Count(Box<CompletionRequest>, Dialect),
    Models {
        wire: bool,
    },
}

/// A completion request and the form of its answer.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) request: Box<CompletionRequest>,
    pub(crate) stream: bool,
    /// When the answer is to be bytes, in which form.
    pub(crate) wire: Option<Wire>,
}

/// The form of an answer in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) dialect: Dialect,
    /// Whether a stream ends with its usage, where its dialect leaves the choice.
    pub(crate) usage: bool,
}

impl Wire {
    /// OpenAI's.
    pub(crate) const fn openai(usage: bool) -> Self {
        Self { dialect: Dialect::OpenAi, usage }
    }

    fn options(self, created: u64) -> AnswerOptions<'static> {
        AnswerOptions { created, include_usage: self.usage, ..AnswerOptions::of_its_own(self.dialect) }
    }
}

impl Asked {
    /// Reads `call`; the model is the one that the call names.
    ///
    /// # Errors
    /// `InvalidRequest`, when the body of a wire call is none of its dialect.
    pub(crate) fn read(call: Call) -> Result<Self, Error> {
        Ok(match call.body {
            CallBody::Wire(envelope) => {
                let mut asked = Self::read_envelope(&envelope)?;
                match &mut asked {
                    Self::Chat(chat) => chat.request.model = call.model,
                    Self::Embeddings(request, _) => request.model = call.model,
                    Self::Count(request, _) => request.model = call.model,
                    Self::Models { .. } => {}
                }
                asked
            }
            CallBody::Completion(mut request) => {
                request.model = call.model;
                Self::Chat(Chat { request, stream: false, wire: None })
            }
            CallBody::Stream(mut request) => {
                request.model = call.model;
                Self::Chat(Chat { request, stream: true, wire: None })
            }
            CallBody::Embedding(mut request) => {
                request.model = call.model;
                Self::Embeddings(request, None)
            }
            CallBody::Models => Self::Models { wire: false },
            CallBody::Forward(_) => return Err(Error::new(ErrorKind::Unsupported, "there is no such route here")),
        })
    }

    fn read_envelope(envelope: &Envelope) -> Result<Self, Error> {
        Ok(match envelope.operation {
            Operation::Chat => Self::Chat(Chat::read(envelope)?),
            Operation::CountTokens => {
                let request = spoken(envelope.dialect)?.decode_count_request(&envelope.body)?;
                Self::Count(Box::new(request), envelope.dialect)
            }
            Operation::Embeddings => {
                let asked = decode_embedding_request(&envelope.body)?;
                Self::Embeddings(Box::new(asked.request), Some(asked.format))
            }
            Operation::Models => Self::Models { wire: true },
            Operation::Forward => {
                return Err(Error::new(ErrorKind::Unsupported, "a body of a dialect is not passed on"));
            }
        })
    }
}

/// The codec of `dialect`.
fn spoken(dialect: Dialect) -> Result<&'static dyn Codec, Error> {
    let unknown = || Error::new(ErrorKind::Unsupported, format!("{} is not spoken here", dialect.as_str()));
    codec(dialect).ok_or_else(unknown)
}

impl Chat {
    /// Reads the body of a completion request.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the parameter.
    pub(crate) fn read(envelope: &Envelope) -> Result<Self, Error> {
        let asked = spoken(envelope.dialect)?.decode_request(&envelope.body)?;
        let wire = Wire { dialect: envelope.dialect, usage: envelope.wants_usage };
        Ok(Self { request: Box::new(asked.request), stream: envelope.stream, wire: Some(wire) })
    }

    /// Puts a whole answer into the form asked for.
    pub(crate) fn answer(&self, response: CompletionResponse) -> Answer {
        match self.wire {
            Some(wire) => whole(wire.whole(&response), response.usage),
            None => Answer::Completion(Box::new(response)),
        }
    }
}

impl Wire {
    /// The bytes of a whole answer.
    pub(crate) fn whole(self, response: &CompletionResponse) -> Bytes {
        let codec = codec(self.dialect).expect("it was read by its codec");
        codec.encode_response(response, &self.options(0))
    }
}

/// Puts the number of a prompt's tokens into the form asked for.
pub(crate) fn count(request: &CompletionRequest, dialect: Dialect) -> Result<Answer, Error> {
    // To count is free.
    Ok(whole(spoken(dialect)?.encode_count(input_tokens(&request.messages))?, Some(Usage::default())))
}

/// Puts vectors into the form asked for.
pub(crate) fn embeddings(response: EmbeddingResponse, format: Option<VectorFormat>) -> Answer {
    match format {
        Some(format) => whole(openai::encode_embedding_response(&response, format), response.usage),
        None => Answer::Embeddings(Box::new(response)),
    }
}

/// Puts a list of models into the form asked for.
pub(crate) fn models(models: Vec<Model>, wire: bool) -> Answer {
    if wire { whole(openai::encode_models(&models), None) } else { Answer::Models(models) }
}

/// A whole answer in bytes.
pub(crate) fn whole(bytes: Bytes, usage: Option<Usage>) -> Answer {
    let body = WireBody::Whole { bytes, usage };
    Answer::from(WireAnswer { headers: headers("application/json"), body })
}

/// The headers of a wire answer.
pub(crate) fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type)) as (HeaderName, HeaderValue)])
}

/// Writes the frames of a stream.
pub(crate) struct FrameWriter {
    encoder: Box<dyn StreamEncoder>,
    out: BytesMut,
}

impl FrameWriter {
    pub(crate) fn new(wire: Wire, created: u64) -> Self {
        let codec = codec(wire.dialect).expect("it was read by its codec");
        Self { encoder: codec.stream_encoder(&wire.options(created)), out: BytesMut::new() }
    }

    /// The frame that says `event`. Usage that was not asked for has no bytes.
    pub(crate) fn frame(&mut self, event: &StreamEvent) -> Frame {
        let usage = match event {
            StreamEvent::Usage(usage) => Some(Box::new(*usage)),
            _ => None,
        };
        self.encoder.encode(event.map(|text| Text::plain(text)), &mut self.out);
        Frame {
            bytes: self.out.split().freeze(),
            content: event.is_content(),
            usage_only: usage.is_some() && self.encoder.tells_usage_apart(),
            usage,
            last: false,
        }
    }

    /// The frame that ends the stream.
    pub(crate) fn done(&mut self) -> Frame {
        self.encoder.finish(&mut self.out);
        Frame { bytes: self.out.split().freeze(), last: true, ..Frame::default() }
    }

    /// The frame that ends a stream which fails.
    #[cfg(feature = "sim-server")]
    pub(crate) fn failed(&mut self, error: &Error) -> Bytes {
        self.encoder.fail(error, &mut self.out);
        self.out.split().freeze()
    }
}
