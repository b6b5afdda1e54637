//! A call read into neutral form, and answers put into the form in which it was asked.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName};
use llm_core::{
    Answer, Call, CallBody, CompletionRequest, CompletionResponse, Content, EmbeddingRequest, EmbeddingResponse,
    Envelope, Error, Frame, Message, Model, Operation, Part, StreamEvent, Usage, WireAnswer, WireBody, estimate_tokens,
};

use crate::wire::openai::{
    self, ChunkEncoder, IncludeUsage, VectorFormat, decode_chat_request, decode_embedding_request, done_frame,
};

/// A call in neutral form.
#[derive(Debug)]
pub(crate) enum Asked {
    Chat(Chat),
    /// With the format of the vectors when the answer is to be bytes.
    Embeddings(Box<EmbeddingRequest>, Option<VectorFormat>),
    Models {
        wire: bool,
    },
}

/// A completion request and the form of its answer.
#[derive(Debug)]
pub(crate) struct Chat {
    pub(crate) request: Box<CompletionRequest>,
    pub(crate) stream: bool,
    /// When the answer is to be bytes: whether a stream ends with its usage.
    pub(crate) wire: Option<IncludeUsage>,
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
        })
    }

    fn read_envelope(envelope: &Envelope) -> Result<Self, Error> {
        Ok(match envelope.operation {
            Operation::Chat => Self::Chat(Chat::read(&envelope.body)?),
            Operation::Embeddings => {
                let asked = decode_embedding_request(&envelope.body)?;
                Self::Embeddings(Box::new(asked.request), Some(asked.format))
            }
            Operation::Models => Self::Models { wire: true },
        })
    }
}

impl Chat {
    /// Reads the body of a completion request.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the parameter.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Error> {
        let asked = decode_chat_request(body)?;
        let usage = if asked.include_usage { IncludeUsage::Yes } else { IncludeUsage::No };
        Ok(Self { request: Box::new(asked.request), stream: asked.stream, wire: Some(usage) })
    }

    /// Puts a whole answer into the form asked for.
    pub(crate) fn answer(&self, response: CompletionResponse) -> Answer {
        match self.wire {
            Some(_) => whole(openai::encode_chat_response(&response), response.usage),
            None => Answer::Completion(Box::new(response)),
        }
    }
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
    Answer::Wire(WireAnswer { headers: headers("application/json"), body: WireBody::Whole { bytes, usage } })
}

/// The headers of a wire answer.
pub(crate) fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type)) as (HeaderName, HeaderValue)])
}

/// Writes the frames of a stream.
#[derive(Debug)]
pub(crate) struct FrameWriter(ChunkEncoder);

impl FrameWriter {
    pub(crate) fn new(usage: IncludeUsage, created: u64) -> Self {
        Self(ChunkEncoder::new(usage, created))
    }

    /// The frame that says `event`. Usage that was not asked for has no bytes.
    pub(crate) fn frame(&mut self, event: &StreamEvent) -> Frame {
        let usage = match event {
            StreamEvent::Usage(usage) => Some(Box::new(*usage)),
            _ => None,
        };
        Frame {
            bytes: self.0.encode(event),
            content: event.is_content(),
            usage_only: usage.is_some(),
            usage,
            last: false,
        }
    }

    /// The frame that ends the stream.
    pub(crate) fn done() -> Frame {
        Frame { bytes: done_frame(), last: true, ..Frame::default() }
    }
}

/// The tokens of all text in `messages`, estimated.
pub(crate) fn input_tokens(messages: &[Message]) -> u64 {
    texts(messages).into_iter().map(estimate_tokens).sum()
}

/// All text in `messages`, what tools answered and are asked included.
pub(crate) fn texts(messages: &[Message]) -> Vec<&str> {
    fn collect<'a>(parts: &'a [Part], texts: &mut Vec<&'a str>) {
        for part in parts {
            match &part.content {
                Content::Text(text) | Content::Refusal(text) => texts.push(text),
                Content::ToolCall(call) => texts.extend([call.name.as_str(), &call.arguments]),
                Content::ToolResult { content, .. } => collect(content, texts),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    for message in messages {
        collect(&message.parts, &mut found);
    }
    found
}
