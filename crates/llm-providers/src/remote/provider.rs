//! The provider: calls into requests, answers into what was asked.

mod forward;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use llm_core::{
    Answer, BoxFuture, BoxStream, Call, CallBody, Clock, CompletionRequest, CompletionResponse, Dialect,
    EmbeddingRequest, Envelope, Error, ErrorKind, Frame, Operation, Provider, ProviderId, RequestId, StreamEvent,
    Strictness, SystemClock, Usage, WireAnswer, WireBody, boxed,
};
use secrecy::SecretString;
use tokio::time::Instant;

use super::answer::{self, X_UPSTREAM_REQUEST_ID, for_the_caller, is_event_stream, upstream_request_id};
use super::api::{Api, Proof};
use super::authorizer::Authorizer;
#[cfg(feature = "bedrock")]
use super::bedrock::{AwsCredentials, Signer, with_events};
use super::clocks::{Clocks, timed_out};
use super::config::{ConfigError, HttpConfig, Timeouts};
use super::live::{LiveEvents, LiveFrames, Reading};
use crate::prompt::input_tokens;
use crate::transport::{
    ConnectOptions, Endpoint, HttpAnswer, HttpRequest, HttpTransport, RequestBody, Transport, decoded,
};
use crate::wire::completions::TextDecoder;
use crate::wire::effort::Wanted;
use crate::wire::openai::{
    self, ChatStream, VectorFormat, decode_embedding_response, encode_embedding_request, read_answer,
};
use crate::wire::responses::{self, ResponseStream};
use crate::wire::{
    self, AnswerOptions, Assembler, Capabilities, Codec, Encoded, Relay, StreamEncoder, Target, Text, ThinkingStyle,
    Translator, codec, collect,
};

/// A provider that is reached over HTTP, by the API that its configuration names. Cheap to clone; clones share their
/// connections.
///
/// Bodies of the API's own dialect pass through; those of another are translated, and so are their answers.
#[derive(Clone)]
pub struct HttpProvider {
    id: ProviderId,
    api: Api,
    capabilities: Arc<Capabilities>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    max_answer_bytes: usize,
    /// Sent with every request.
    headers: Arc<HeaderMap>,
    /// Shows who sends a request, where no header does.
    authorizer: Option<Arc<dyn Authorizer>>,
    options: ConnectOptions,
    endpoint: Arc<Endpoint>,
    /// Where completions are asked, if that is one place for all models.
    chat: Option<PathAndQuery>,
}

impl fmt::Debug for HttpProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpProvider").field("id", &self.id).field("api", &self.api).finish_non_exhaustive()
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_LLMKIT_DROPPED: HeaderName = HeaderName::from_static("x-llmkit-dropped");
const USER_AGENT: &str = concat!("llmkit/", env!("CARGO_PKG_VERSION"));

impl HttpProvider {
    /// A provider at `config.base_url`, reached over HTTP.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what is wrong with it.
    pub fn try_new(id: impl Into<ProviderId>, config: HttpConfig) -> Result<Self, ConfigError> {
        let transport = HttpTransport::to(config.api.endpoint(config.base_url())?, config.connect_options())?;
        Self::over(id, config, Arc::new(transport))
    }

    /// A provider that is reached by `transport`.
    ///
    /// # Errors
    /// As [`try_new`](Self::try_new).
    pub fn over(
        id: impl Into<ProviderId>,
        config: HttpConfig,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ConfigError> {
        let api = config.api;
        let endpoint = api.endpoint(config.base_url())?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        api.headers(&mut headers);
        let options = config.connect_options();
        let provider = Self {
            id: id.into(),
            api,
            capabilities: Arc::new(config.capabilities),
            transport,
            clock: Arc::new(SystemClock::new()),
            timeouts: config.timeouts,
            max_answer_bytes: config.max_answer_bytes,
            headers: Arc::new(headers),
            authorizer: None,
            options,
            chat: api.one_place(&endpoint),
            endpoint: Arc::new(endpoint),
        };
        match &config.api_key {
            Some(key) => provider.with_api_key(key),
            None => Ok(provider),
        }
    }

    /// The same provider by another key; both share their connections.
    ///
    /// # Errors
    /// [`ConfigError`] when the key cannot be sent, or is none that the API takes.
    pub fn with_api_key(&self, key: &SecretString) -> Result<Self, ConfigError> {
        match self.api.proof(key, &self.options)? {
            Proof::Header(name, value) => {
                let mut headers = HeaderMap::clone(&self.headers);
                headers.insert(name, value);
                Ok(Self { headers: Arc::new(headers), authorizer: None, ..self.clone() })
            }
            Proof::Made(authorizer) => Ok(Self { authorizer: Some(authorizer), ..self.clone() }),
        }
    }

    /// The same provider, its requests signed with `credentials`.
    ///
    /// # Errors
    /// [`ConfigError::Key`] when what is in them cannot be sent.
    #[cfg(feature = "bedrock")]
    pub fn with_aws_credentials(&self, credentials: AwsCredentials) -> Result<Self, ConfigError> {
        let signer = Signer::new(credentials, &self.endpoint.host_header)?;
        Ok(Self { authorizer: Some(Arc::new(signer)), ..self.clone() })
    }

    /// Reads dates of answers against `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn answer(&self, mut call: Call) -> Result<Answer, Error> {
        // Not taken out of the call: it would lie in here twice.
        let Call { model, body, request_id, headers: sent, strictness, show_thoughts, max_output } = &mut call;
        let (sent, request_id, max_output) = (&*sent, request_id.as_ref(), *max_output);
        let (strictness, show_thoughts) = (*strictness, *show_thoughts);
        let dialect = match &*body {
            CallBody::Wire(envelope) if self.speaks(envelope.dialect) => envelope.dialect,
            _ => self.api.dialect(),
        };
        let asking = Asking { model: model.as_str(), dialect, request_id, strictness, show_thoughts, max_output };
        // What passes through is the usual case: a future of its size is moved about for each call, the others' are not in it.
        match body {
            CallBody::Wire(envelope) if self.speaks(envelope.dialect) => match envelope.stream {
                true if envelope.operation == Operation::Chat => self.wire_stream(envelope, &asking, sent).await,
                _ => self.wire_whole(envelope, &asking, sent).await,
            },
            CallBody::Wire(envelope) => {
                // They say something to providers of the caller's dialect.
                let foreign = |name: &HeaderName| {
                    ["openai-", "anthropic-", "x-goog-"].iter().any(|prefix| name.as_str().starts_with(prefix))
                };
                let kept = sent.iter().filter(|(name, _)| !foreign(name));
                let headers: HeaderMap = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
                Box::pin(self.translated(envelope, &asking, &headers)).await
            }
            CallBody::Completion(request) => {
                request.model = model.clone();
                let response = Box::pin(self.completion(request, &asking, sent)).await?;
                Ok(Answer::Completion(Box::new(response.0)))
            }
            CallBody::Stream(request) => {
                request.model = model.clone();
                Box::pin(self.events(request, &asking, sent)).await
            }
            CallBody::Embedding(request) => {
                request.model = model.clone();
                Box::pin(self.embedding(request, &asking, sent)).await
            }
            CallBody::Models => {
                let models = self.whole(Operation::Models, RequestBody::default(), &asking, sent);
                let (_, body) = Box::pin(models).await?;
                self.codec().decode_models(&body).map(Answer::Models)
            }
            CallBody::Forward(forward) => Box::pin(self.forward(forward, &asking, sent)).await,
        }
    }

    /// The body as it came, but for the model's name where the body names it.
    fn spliced(&self, envelope: &Envelope, model: &str, ask_usage: bool) -> RequestBody {
        match self.api {
            Api::OpenAi | Api::AzureOpenAi | Api::Anthropic => {
                RequestBody::from(openai::splice(envelope, model, ask_usage))
            }
            Api::Gemini => RequestBody::from(envelope.body.clone()),
            #[cfg(feature = "vertex")]
            Api::VertexAnthropic => {
                self.hosted(openai::splice(envelope, model, ask_usage).into_bytes(), envelope.operation)
            }
            #[cfg(any(feature = "vertex", feature = "bedrock"))]
            _ => self.hosted(envelope.body.clone(), envelope.operation),
        }
    }

    /// A body of the API's dialect as who hosts the models takes it.
    #[cfg_attr(not(feature = "vertex"), expect(unused_variables, reason = "nobody takes it otherwise"))]
    fn hosted(&self, body: Bytes, operation: Operation) -> RequestBody {
        RequestBody::from(match self.api {
            #[cfg(feature = "vertex")]
            Api::VertexAi if operation == Operation::CountTokens => wire::gemini::bare_count(&body),
            #[cfg(feature = "vertex")]
            Api::VertexAnthropic if operation == Operation::CountTokens => wire::anthropic::with_version(&body),
            #[cfg(feature = "vertex")]
            Api::VertexAnthropic => wire::anthropic::without_model(&body),
            _ => body,
        })
    }

    async fn wire_whole(&self, envelope: &Envelope, asking: &Asking<'_>, sent: &HeaderMap) -> Result<Answer, Error> {
        let (dialect, operation) = (envelope.dialect, envelope.operation);
        let body = self.spliced(envelope, asking.model, false);
        let (mut headers, mut bytes) = self.whole(operation, body, asking, sent).await?;
        if operation == Operation::Chat && is_event_stream(&headers) {
            let mut assembler = Assembler::new(dialect, self.max_answer_bytes)?;
            assembler.push(bytes)?;
            bytes = assembler.finish()?;
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if operation == Operation::Embeddings {
            bytes = openai::vectors_as_asked(&envelope.body, bytes)?;
        }
        let usage = match (dialect, operation) {
            (Dialect::OpenAi | Dialect::OpenAiCompletions, _) => read_answer(&bytes, operation)?,
            (Dialect::OpenAiResponses, _) => responses::read_answer(&bytes)?,
            (_, Operation::Chat) => self.codec().decode_response(&bytes)?.usage,
            // To count is free.
            _ => Some(Usage::default()),
        };
        let body = WireBody::Whole { bytes, usage };
        Ok(Answer::from(WireAnswer { headers: for_the_caller(&headers), body }))
    }

    async fn wire_stream(&self, envelope: &Envelope, asking: &Asking<'_>, sent: &HeaderMap) -> Result<Answer, Error> {
        let body = self.spliced(envelope, asking.model, true);
        let clocks = Clocks::new(self.timeouts, Instant::now());
        let HttpAnswer { headers, chunks: body, .. } = self.begin(body, asking, sent, &clocks).await?;
        let kept = for_the_caller(&headers);
        let frames: BoxStream<Result<Frame, Error>> = if is_event_stream(&headers) {
            let (swallow, limit) = (!envelope.wants_usage, self.max_answer_bytes);
            let reading = match envelope.dialect {
                Dialect::OpenAi => Reading::Chat(ChatStream::new(swallow, limit)),
                Dialect::OpenAiCompletions => {
                    Reading::Relay(Relay::new(Box::new(TextDecoder::new()), limit).with_usage_apart(swallow))
                }
                Dialect::OpenAiResponses => Reading::Response(ResponseStream::new(limit)),
                _ => Reading::Relay(Relay::new(self.codec().stream_decoder(), limit)),
            };
            Box::pin(LiveFrames::new(body, clocks, reading))
        } else {
            let hidden = |frame: &Frame| frame.usage_only && !envelope.wants_usage;
            let mut frames = wire::replay(envelope.dialect, &self.read(body).await?)?;
            frames.iter_mut().filter(|frame| hidden(frame)).for_each(|frame| frame.bytes.clear());
            Box::pin(stream::iter(frames.into_iter().map(Ok)))
        };
        Ok(Answer::from(WireAnswer { headers: kept, body: WireBody::Frames(frames) }))
    }

    /// A body of another dialect: what it asks is asked in the provider's, and answered in its own.
    async fn translated(&self, envelope: &Envelope, asking: &Asking<'_>, sent: &HeaderMap) -> Result<Answer, Error> {
        let dialect = envelope.dialect;
        let front = codec(dialect).ok_or_else(|| unspoken(dialect))?;
        if envelope.operation == Operation::CountTokens {
            return self.counted(front, envelope, asking, sent).await;
        }
        if envelope.operation != Operation::Chat {
            return Err(unspoken(dialect));
        }
        let mut asked = front.decode_request(&envelope.body)?;
        // Callers of other formats say themselves whether they want to be told.
        let thoughts = asking.show_thoughts && dialect == Dialect::OpenAi;
        if thoughts {
            show_thoughts(&mut asked.request, self.capabilities.thinking);
        }
        let options = AnswerOptions {
            request: Some(&asked.request),
            from: Some(self.api.dialect()),
            created: self.clock.unix_time().as_secs(),
            id: asking.request_id.map_or("", RequestId::as_str),
            model: (!self.api.names_models()).then_some(asking.model),
            include_usage: envelope.wants_usage,
            thoughts,
            ..AnswerOptions::default()
        };
        if !envelope.stream {
            let (response, headers, dropped) = self.completion(&asked.request, asking, sent).await?;
            let bytes = front.encode_response(&response, &options);
            let body = WireBody::Whole { bytes, usage: response.usage };
            let headers = translated_headers(&headers, &dropped, "application/json");
            return Ok(Answer::from(WireAnswer { headers, body }));
        }
        let encoded = self.encoded(&asked.request, asking, true)?;
        let clocks = Clocks::new(self.timeouts, Instant::now());
        let HttpAnswer { headers, chunks, .. } =
            self.begin(self.hosted(encoded.body.clone(), Operation::Chat), asking, sent, &clocks).await?;
        let encoder = front.stream_encoder(&options);
        let frames: BoxStream<Result<Frame, Error>> = if is_event_stream(&headers) {
            let translator = Translator::new(self.codec().stream_decoder(), encoder, self.max_answer_bytes);
            Box::pin(LiveFrames::new(chunks, clocks, Reading::Translated(Box::new(translator))))
        } else {
            let response = self.codec().decode_response(&self.read(chunks).await?)?;
            Box::pin(stream::iter([Ok(framed(response, encoder))]))
        };
        let headers = translated_headers(&headers, &encoded, "text/event-stream");
        Ok(Answer::from(WireAnswer { headers, body: WireBody::Frames(frames) }))
    }

    /// The number of a prompt's tokens: the provider's word, or an estimate where it has none.
    async fn counted(
        &self,
        front: &dyn Codec,
        envelope: &Envelope,
        asking: &Asking<'_>,
        sent: &HeaderMap,
    ) -> Result<Answer, Error> {
        let request = front.decode_count_request(&envelope.body)?;
        let (tokens, headers) =
            match self.codec().encode_count_request(&request, &self.target(asking, false), asking.strictness) {
                Ok(encoded) => {
                    let body = self.hosted(encoded.body.clone(), Operation::CountTokens);
                    let (headers, bytes) = self.whole(Operation::CountTokens, body, asking, sent).await?;
                    (self.codec().decode_count(&bytes)?, translated_headers(&headers, &encoded, "application/json"))
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    let nothing = Encoded { body: Bytes::new(), dropped: Vec::new() };
                    let mut headers = translated_headers(&HeaderMap::new(), &nothing, "application/json");
                    headers.insert(HeaderName::from_static("x-llmkit-estimated"), HeaderValue::from_static("true"));
                    (input_tokens(&request.messages), headers)
                }
                Err(error) => return Err(error),
            };
        let body = WireBody::Whole { bytes: front.encode_count(tokens)?, usage: Some(Usage::default()) };
        Ok(Answer::from(WireAnswer { headers, body }))
    }

    /// The answer to `request`, with the headers that it came with and what of the request was left out.
    async fn completion(
        &self,
        request: &CompletionRequest,
        asking: &Asking<'_>,
        sent: &HeaderMap,
    ) -> Result<(CompletionResponse, HeaderMap, Encoded), Error> {
        let encoded = self.encoded(request, asking, false)?;
        let (headers, body) =
            self.whole(Operation::Chat, self.hosted(encoded.body.clone(), Operation::Chat), asking, sent).await?;
        let mut response = if is_event_stream(&headers) {
            collect(body, self.max_answer_bytes, self.codec().stream_decoder(), self.api.dialect())?
        } else {
            self.codec().decode_response(&body)?
        };
        if response.model.is_empty() {
            response.model = asking.model.to_owned();
        }
        Ok((response, headers, encoded))
    }

    async fn events(
        &self,
        request: &CompletionRequest,
        asking: &Asking<'_>,
        sent: &HeaderMap,
    ) -> Result<Answer, Error> {
        let body = self.hosted(self.encoded(request, asking, true)?.body, Operation::Chat);
        let clocks = Clocks::new(self.timeouts, Instant::now());
        let HttpAnswer { headers, chunks: body, .. } = self.begin(body, asking, sent, &clocks).await?;
        let decoder = self.codec().stream_decoder();
        if is_event_stream(&headers) {
            let events = LiveEvents::new(body, clocks, decoder, self.max_answer_bytes);
            if self.api.names_models() {
                return Ok(Answer::Events(Box::pin(events)));
            }
            let asked = asking.model.to_owned();
            return Ok(Answer::Events(Box::pin(events.map_ok(move |event| match event {
                StreamEvent::Start { id, created, .. } => StreamEvent::Start { id, model: asked.clone(), created },
                event => event,
            }))));
        }
        let mut response = self.codec().decode_response(&self.read(body).await?)?;
        if response.model.is_empty() {
            response.model = asking.model.to_owned();
        }
        Ok(Answer::Events(Box::pin(stream::iter(wire::events(response).into_iter().map(Ok)))))
    }

    async fn embedding(
        &self,
        request: &EmbeddingRequest,
        asking: &Asking<'_>,
        sent: &HeaderMap,
    ) -> Result<Answer, Error> {
        let body = RequestBody::from(encode_embedding_request(request, VectorFormat::Base64));
        let (_, body) = self.whole(Operation::Embeddings, body, asking, sent).await?;
        Ok(Answer::Embeddings(Box::new(decode_embedding_response(&body)?)))
    }

    fn codec(&self) -> &'static dyn Codec {
        self.api.codec()
    }

    fn target<'a>(&'a self, asking: &Asking<'a>, stream: bool) -> Target<'a> {
        Target { model: asking.model, capabilities: &self.capabilities, max_output: asking.max_output, stream }
    }

    /// `request` in the provider's dialect.
    fn encoded(&self, request: &CompletionRequest, asking: &Asking<'_>, stream: bool) -> Result<Encoded, Error> {
        self.codec().encode_request(request, &self.target(asking, stream), asking.strictness)
    }

    /// Sends and reads all of a good answer, within the total time.
    async fn whole(
        &self,
        operation: Operation,
        body: RequestBody,
        asking: &Asking<'_>,
        sent: &HeaderMap,
    ) -> Result<(HeaderMap, Bytes), Error> {
        // It stays where it is: by value it would lie in here twice.
        let exchange = pin!(async {
            let (method, path) = self.route(operation, asking, false)?;
            let answer = self.exchange(method, path, body, asking, sent).await?;
            Ok((answer.headers, answer::whole(answer.chunks, self.max_answer_bytes).await?))
        });
        let total = self.timeouts.total_timeout;
        let late = |_| Err(timed_out("to finish", "total_timeout", total));
        tokio::time::timeout(total, exchange).await.unwrap_or_else(late)
    }

    /// Sends a completion request and waits for the head of a good answer that is a stream, as long as `clocks` allow.
    async fn begin(
        &self,
        body: RequestBody,
        asking: &Asking<'_>,
        sent: &HeaderMap,
        clocks: &Clocks,
    ) -> Result<HttpAnswer, Error> {
        let (method, path) = self.route(Operation::Chat, asking, true)?;
        let head = pin!(self.exchange(method, path, body, asking, sent));
        tokio::time::timeout_at(clocks.deadline(), head).await.unwrap_or_else(|_| Err(clocks.expired()))
    }

    fn route(&self, operation: Operation, asking: &Asking<'_>, stream: bool) -> Result<(Method, PathAndQuery), Error> {
        if let Some(path) = self.api.other_place(&self.endpoint, asking.dialect) {
            return Ok((Method::POST, path));
        }
        match &self.chat {
            Some(chat) if operation == Operation::Chat => Ok((Method::POST, chat.clone())),
            _ => self.api.route(&self.endpoint, operation, asking.model, stream),
        }
    }

    async fn read(&self, body: BoxStream<Result<Bytes, Error>>) -> Result<Bytes, Error> {
        let total = self.timeouts.total_timeout;
        let late = |_| Err(timed_out("to finish", "total_timeout", total));
        tokio::time::timeout(total, answer::whole(body, self.max_answer_bytes)).await.unwrap_or_else(late)
    }

    /// Sends what `authorizer` vouches for. A proof can be refused before its time; then another is tried, once.
    async fn send_by(&self, authorizer: &dyn Authorizer, request: Box<HttpRequest>) -> Result<HttpAnswer, Error> {
        let mut tried = request.clone();
        authorizer.authorize(&mut tried, &*self.clock).await?;
        let answer = self.transport.send(tried.clone()).await?;
        if answer.status != http::StatusCode::UNAUTHORIZED || !authorizer.refused(&tried) {
            return Ok(answer);
        }
        let mut request = request;
        authorizer.authorize(&mut request, &*self.clock).await?;
        self.transport.send(request).await
    }

    /// One exchange: a good answer's head and its body as its sender meant it, or the error that it tells.
    async fn exchange(
        &self,
        method: Method,
        target: PathAndQuery,
        body: RequestBody,
        asking: &Asking<'_>,
        sent: &HeaderMap,
    ) -> Result<HttpAnswer, Error> {
        let mut headers = sent.clone();
        if let Some(id) = asking.request_id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            headers.insert(X_REQUEST_ID, id);
        }
        let request = boxed(|| HttpRequest { method, target, common: self.headers.clone(), headers, body });
        self.answered(request).await
    }

    /// The answer to `request`, or the error that it tells.
    async fn answered(&self, request: Box<HttpRequest>) -> Result<HttpAnswer, Error> {
        let answer = match &self.authorizer {
            None => self.transport.send(request).await?,
            // As above: the usual case does without its future.
            Some(authorizer) => Box::pin(self.send_by(&**authorizer, request)).await?,
        };
        let answer = decoded(answer)?;
        #[cfg(feature = "bedrock")]
        let answer = match self.api {
            Api::Bedrock => with_events(answer, self.max_answer_bytes),
            _ => answer,
        };
        let status = answer.status.as_u16();
        match status {
            200..300 => Ok(answer),
            400.. => {
                let (headers, now) = (&answer.headers, self.clock.unix_time());
                let body = answer::error_body(answer.chunks).await;
                Err(self.codec().decode_error(status, headers, &body, now))
            }
            _ => {
                let message = format!("upstream returned HTTP {status}");
                Err(Error::new(ErrorKind::BadAnswer, message).with_upstream(status, None))
            }
        }
    }
}

/// What a call says beside its body.
struct Asking<'a> {
    model: &'a str,
    /// In which it is asked.
    dialect: Dialect,
    request_id: Option<&'a RequestId>,
    strictness: Strictness,
    show_thoughts: bool,
    max_output: Option<u64>,
}

/// Asks for thoughts to be told, where the request leaves it open and a model of that `style` may have any.
fn show_thoughts(request: &mut CompletionRequest, style: ThinkingStyle) {
    if request.show_thoughts.is_none() && style != ThinkingStyle::None && Wanted::by(request) != Wanted::Off {
        request.show_thoughts = Some(true);
    }
}

fn unspoken(dialect: Dialect) -> Error {
    let message = format!("requests in the format {} cannot be translated for this provider", dialect.as_str());
    Error::new(ErrorKind::Unsupported, message)
}

/// What a caller sees of the headers of an answer in another dialect.
fn translated_headers(headers: &HeaderMap, encoded: &Encoded, content_type: &'static str) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(4);
    if let Some(id) = upstream_request_id(headers) {
        kept.insert(X_UPSTREAM_REQUEST_ID, id.clone());
    }
    kept.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(dropped) = encoded.dropped_header() {
        kept.insert(X_LLMKIT_DROPPED, dropped);
    }
    kept
}

/// An answer that came whole although a stream was asked for, as one frame.
fn framed(response: CompletionResponse, mut encoder: Box<dyn StreamEncoder>) -> Frame {
    let (usage, mut out) = (response.usage.map(Box::new), BytesMut::new());
    for event in wire::events(response) {
        encoder.encode(event.map(|text| Text::plain(text)), &mut out);
    }
    encoder.finish(&mut out);
    Frame { bytes: out.freeze(), content: true, usage, usage_only: false, last: true }
}

impl Provider for HttpProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        match dialect {
            Dialect::OpenAiResponses => self.capabilities.responses,
            Dialect::OpenAiCompletions => self.capabilities.completions,
            dialect => dialect == self.api.dialect(),
        }
    }

    fn forwards(&self) -> bool {
        matches!(self.api, Api::OpenAi | Api::AzureOpenAi)
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::into_pin(boxed(move || self.answer(call)))
    }
}
