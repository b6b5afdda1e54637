//! One interface to every dialect, and the one place where a dialect becomes its codec.

use std::fmt::Debug;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use llm_core::{CompletionRequest, CompletionResponse, Dialect, Error, ErrorKind, Json, Model, StreamEvent, Usage};

use super::{Encoded, Fate, Level, Strictness, Target, Text};

/// The codec of `dialect`; `None` while it has none.
#[must_use]
pub fn codec(dialect: Dialect) -> Option<&'static dyn Codec> {
    match dialect {
        Dialect::OpenAi => Some(&super::openai::Chat),
        Dialect::Anthropic => Some(&super::anthropic::Messages),
        Dialect::Gemini => Some(&super::gemini::GenerateContent),
        Dialect::OpenAiResponses => Some(&super::responses::Responses),
        Dialect::OpenAiCompletions => Some(&super::completions::Completions),
        #[cfg(feature = "bedrock")]
        Dialect::Bedrock => Some(&super::bedrock::Converse),
        #[cfg(not(feature = "bedrock"))]
        Dialect::Bedrock => None,
    }
}

/// A dialect's completions, in both directions. Every codec is stateless, and the same input gives the same bytes.
pub trait Codec: Debug + Send + Sync {
    /// The dialect.
    fn dialect(&self) -> Dialect;

    /// Reads a request.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the parameter.
    fn decode_request(&self, body: &[u8]) -> Result<DecodedRequest, Error>;

    /// Writes a request for `target`. What the request was read from ([`CompletionRequest::origin`]) decides what its
    /// members without a neutral form are, and how its fields are named.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the field that cannot be said in this dialect.
    fn encode_request(
        &self,
        request: &CompletionRequest,
        target: &Target<'_>,
        strictness: Strictness,
    ) -> Result<Encoded, Error>;

    /// Reads a whole answer.
    ///
    /// # Errors
    /// `BadAnswer` when it is none; what it says when it is an error.
    fn decode_response(&self, body: &[u8]) -> Result<CompletionResponse, Error>;

    /// Writes a whole answer.
    fn encode_response(&self, response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes;

    /// A reader of a streamed answer, at its beginning.
    fn stream_decoder(&self) -> Box<dyn StreamDecoder>;

    /// A writer of a streamed answer, at its beginning.
    fn stream_encoder(&self, options: &AnswerOptions<'_>) -> Box<dyn StreamEncoder>;

    /// Reads the error that an answer with `status` (no success) tells. `now_unix` is the time since 1970, against
    /// which dates are read.
    fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error;

    /// Writes an error and says which status fits it; `llmkit` is our own member beside it.
    fn encode_error(&self, error: &Error, llmkit: Option<&Json>) -> (u16, Bytes);

    /// What becomes of the member `name` when a request of this dialect goes to another's provider.
    fn fate(&self, level: Level, name: &str, value: &Json) -> Fate;

    /// Reads a list of models; what has no name is left out.
    ///
    /// # Errors
    /// `BadAnswer` when it is none; what it says when it is an error.
    fn decode_models(&self, body: &[u8]) -> Result<Vec<Model>, Error> {
        super::openai::decode_models(body)
    }

    /// Writes a list of models.
    fn encode_models(&self, models: &[Model]) -> Bytes {
        super::openai::encode_models(models)
    }

    /// Writes one model.
    fn encode_model(&self, model: &Model) -> Bytes {
        super::openai::encode_model(model)
    }

    /// Reads a question for the number of a prompt's tokens.
    ///
    /// # Errors
    /// `InvalidRequest`, naming the parameter; `Unsupported` where the dialect has no such question.
    fn decode_count_request(&self, body: &[u8]) -> Result<CompletionRequest, Error> {
        let _ = body;
        Err(no_count())
    }

    /// Writes a question for the number of a prompt's tokens.
    ///
    /// # Errors
    /// As [`encode_request`](Self::encode_request); `Unsupported` where the dialect has no such question.
    fn encode_count_request(
        &self,
        request: &CompletionRequest,
        target: &Target<'_>,
        strictness: Strictness,
    ) -> Result<Encoded, Error> {
        let _ = (request, target, strictness);
        Err(no_count())
    }

    /// Reads the number of a prompt's tokens.
    ///
    /// # Errors
    /// `BadAnswer` when there is none; `Unsupported` where the dialect has no such answer.
    fn decode_count(&self, body: &[u8]) -> Result<u64, Error> {
        let _ = body;
        Err(no_count())
    }

    /// Writes the number of a prompt's tokens.
    ///
    /// # Errors
    /// `Unsupported` where the dialect has no such answer.
    fn encode_count(&self, tokens: u64) -> Result<Bytes, Error> {
        let _ = tokens;
        Err(no_count())
    }
}

fn no_count() -> Error {
    Error::new(ErrorKind::Unsupported, "this dialect does not count tokens")
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRequest {
    /// What is asked.
    pub request: CompletionRequest,
    /// Whether the answer is wanted as a stream. Where the route says it, as Gemini's does, false.
    pub stream: bool,
    /// Whether the stream is to end with its usage.
    pub include_usage: bool,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerOptions<'a> {
    /// The request, of which some dialects repeat members.
    pub request: Option<&'a CompletionRequest>,
    /// What the answer was read from.
    pub from: Option<Dialect>,
    /// Unix seconds, where the answer has no time of its own.
    pub created: u64,
    /// The answer's name, where it has none of its own.
    pub id: &'a str,
    /// The model to name in place of the one that answered.
    pub model: Option<&'a str>,
    /// Whether a stream ends with its usage, where its dialect leaves the choice.
    pub include_usage: bool,
    /// Whether thoughts are told where the dialect has no place for them (OpenAI's chat: `reasoning_content`).
    pub thoughts: bool,
    /// Whether their seals are told with them (OpenAI's chat: `reasoning_details`).
    pub seals: bool,
    /// Whether frames are joined to one JSON array instead of events (Gemini without `alt=sse`).
    pub array: bool,
}

impl AnswerOptions<'_> {
    /// How an answer that was read from `dialect` is written in it again.
    #[must_use]
    pub fn of_its_own(dialect: Dialect) -> Self {
        Self { from: Some(dialect), include_usage: true, thoughts: true, seals: true, ..Self::default() }
    }
}

/// Where a decoder tells what it reads. A thought is told even if its text is empty, so that its seal has a place.
pub type Sink<'a> = &'a mut dyn FnMut(StreamEvent<Text<'_>>);

/// Reads a streamed answer, one event's data at a time.
pub trait StreamDecoder: Send {
    /// Reads the data of one event and tells `sink` what it says, in order.
    ///
    /// # Errors
    /// `BadAnswer` when it is none of the dialect's; what the provider says when it is an error. Nothing of the stream
    /// counts after it.
    fn decode(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error>;

    /// Whether the terminal marker was read.
    fn is_done(&self) -> bool;

    /// Ends the stream where its bytes end.
    ///
    /// # Errors
    /// `StreamInterrupted` when they do not end where the dialect's streams do.
    fn finish(&mut self, sink: Sink<'_>) -> Result<(), Error>;

    /// The usage told so far.
    fn usage(&self) -> Option<Usage>;
}

/// Writes a streamed answer as frames.
pub trait StreamEncoder: Send {
    /// Appends the frames that say `event`: whole ones, or none.
    fn encode(&mut self, event: StreamEvent<Text<'_>>, out: &mut BytesMut);

    /// Appends the frames that end an answer which came to its end, terminal marker included.
    fn finish(&mut self, out: &mut BytesMut);

    /// Whether the usage has a frame of its own, which who did not ask for it does without.
    fn tells_usage_apart(&self) -> bool {
        false
    }

    /// Appends the frame that ends an answer which failed. Nothing may follow it.
    fn fail(&mut self, error: &Error, out: &mut BytesMut);
}
