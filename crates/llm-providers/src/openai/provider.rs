//! The provider: calls into requests, answers into what was asked.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use llm_core::{
    Answer, BoxFuture, BoxStream, Call, CallBody, Clock, CompletionRequest, Dialect, EmbeddingRequest, Envelope, Error,
    ErrorKind, Frame, Operation, Provider, ProviderId, RequestId, SystemClock, WireAnswer, WireBody,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::answer::{self, for_the_caller, is_event_stream};
use super::clocks::{Clocks, timed_out};
use super::config::{ConfigError, OpenAiConfig, Timeouts};
use super::live::{LiveEvents, LiveFrames};
use crate::transport::{
    ConnectOptions, Endpoint, HttpAnswer, HttpRequest, HttpTransport, RequestBody, Transport, decoded,
};
use crate::wire::openai::{
    self, ChatStream, ChunkDecoder, ChunkEncoder, IncludeUsage, VectorFormat, decode_chat_response,
    decode_embedding_response, decode_models, encode_chat_request, encode_embedding_request, read_answer,
};
use crate::wire::{self, collect};

/// A provider that speaks OpenAI's format over HTTP. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct OpenAiProvider {
    id: ProviderId,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    max_answer_bytes: usize,
    /// Sent with every request.
    headers: Arc<HeaderMap>,
    chat: PathAndQuery,
    embeddings: PathAndQuery,
    models: PathAndQuery,
}

impl fmt::Debug for OpenAiProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiProvider").field("id", &self.id).finish_non_exhaustive()
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const USER_AGENT: &str = concat!("llmkit/", env!("CARGO_PKG_VERSION"));

impl OpenAiProvider {
    /// A provider at `config.base_url`, reached over HTTP.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and what is wrong with it.
    pub fn try_new(id: impl Into<ProviderId>, config: OpenAiConfig) -> Result<Self, ConfigError> {
        let options = ConnectOptions {
            timeout: config.timeouts.connect_timeout,
            proxy: config.proxy.clone(),
            tls: config.tls.clone(),
        };
        let transport = HttpTransport::to(Endpoint::parse(&config.base_url)?, options)?;
        Self::over(id, config, Arc::new(transport))
    }

    /// A provider that is reached by `transport`.
    ///
    /// # Errors
    /// As [`try_new`](Self::try_new).
    pub fn over(
        id: impl Into<ProviderId>,
        config: OpenAiConfig,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, ConfigError> {
        let endpoint = Endpoint::parse(&config.base_url)?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let provider = Self {
            id: id.into(),
            transport,
            clock: Arc::new(SystemClock::new()),
            timeouts: config.timeouts,
            max_answer_bytes: config.max_answer_bytes,
            headers: Arc::new(headers),
            chat: endpoint.join("/chat/completions"),
            embeddings: endpoint.join("/embeddings"),
            models: endpoint.join("/models"),
        };
        match &config.api_key {
            Some(key) => provider.with_api_key(key),
            None => Ok(provider),
        }
    }

    /// The same provider by another key; both share their connections.
    ///
    /// # Errors
    /// [`ConfigError::Key`] when the key cannot be sent.
    pub fn with_api_key(&self, key: &SecretString) -> Result<Self, ConfigError> {
        let bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()));
        let mut bearer = bearer.map_err(|_| ConfigError::Key)?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::clone(&self.headers);
        headers.insert(header::AUTHORIZATION, bearer);
        Ok(Self { headers: Arc::new(headers), ..self.clone() })
    }

    /// Reads dates of answers against `clock`.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn answer(&self, call: Call) -> Result<Answer, Error> {
        let sending = Sending { request_id: call.request_id.as_ref(), headers: &call.headers };
        match call.body {
            CallBody::Wire(envelope) if envelope.stream && envelope.operation == Operation::Chat => {
                self.wire_stream(&envelope, call.model.as_str(), sending).await
            }
            CallBody::Wire(envelope) => self.wire_whole(&envelope, call.model.as_str(), sending).await,
            CallBody::Completion(mut request) => {
                request.model = call.model;
                self.completion(&request, sending).await
            }
            CallBody::Stream(mut request) => {
                request.model = call.model;
                self.events(&request, sending).await
            }
            CallBody::Embedding(mut request) => {
                request.model = call.model;
                self.embedding(&request, sending).await
            }
            CallBody::Models => {
                let (_, body) = self.whole(&Method::GET, &self.models, RequestBody::default(), sending).await?;
                decode_models(&body).map(Answer::Models)
            }
        }
    }

    async fn wire_whole(&self, envelope: &Envelope, model: &str, sending: Sending<'_>) -> Result<Answer, Error> {
        let path = match envelope.operation {
            Operation::Chat => &self.chat,
            Operation::Embeddings => &self.embeddings,
            Operation::Models => &self.models,
        };
        let body = RequestBody::from(openai::splice(envelope, model, false));
        let (mut headers, mut bytes) = self.whole(&Method::POST, path, body, sending).await?;
        if envelope.operation == Operation::Chat && is_event_stream(&headers) {
            bytes = openai::encode_chat_response(&collect(
                bytes,
                self.max_answer_bytes,
                ChunkDecoder::new(),
                Dialect::OpenAi,
            )?);
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let usage = read_answer(&bytes, envelope.operation)?;
        Ok(Answer::Wire(WireAnswer { headers: for_the_caller(&headers), body: WireBody::Whole { bytes, usage } }))
    }

    async fn wire_stream(&self, envelope: &Envelope, model: &str, sending: Sending<'_>) -> Result<Answer, Error> {
        let body = RequestBody::from(openai::splice(envelope, model, true));
        let clocks = Clocks::new(self.timeouts, Instant::now());
        let HttpAnswer { headers, chunks: body, .. } = self.begin(&self.chat, body, sending, &clocks).await?;
        let kept = for_the_caller(&headers);
        let frames: BoxStream<Result<Frame, Error>> = if is_event_stream(&headers) {
            let chat = ChatStream::new(!envelope.wants_usage, self.max_answer_bytes);
            Box::pin(LiveFrames::new(body, clocks, chat))
        } else {
            let usage = if envelope.wants_usage { IncludeUsage::Yes } else { IncludeUsage::No };
            Box::pin(stream::iter(self.reframed(body, usage).await?.map(Ok)))
        };
        Ok(Answer::Wire(WireAnswer { headers: kept, body: WireBody::Frames(frames) }))
    }

    /// The frames of an answer that came whole although a stream was asked for.
    async fn reframed(
        &self,
        body: BoxStream<Result<Bytes, Error>>,
        usage: IncludeUsage,
    ) -> Result<impl Iterator<Item = Frame> + Send + use<>, Error> {
        let response = decode_chat_response(&self.read(body).await?)?;
        let used = response.usage.map(Box::new);
        let mut encoder = ChunkEncoder::new(usage, self.clock.unix_time().as_secs());
        let chunks: Vec<Bytes> = wire::events(response).iter().map(|event| encoder.encode(event)).collect();
        let whole = chunks.into_iter().chain([openai::done_frame()]).collect::<Vec<_>>().concat();
        Ok([Frame { bytes: whole.into(), content: true, usage: used, usage_only: false, last: true }].into_iter())
    }

    async fn completion(&self, request: &CompletionRequest, sending: Sending<'_>) -> Result<Answer, Error> {
        let body = RequestBody::from(encode_chat_request(request, None));
        let (headers, body) = self.whole(&Method::POST, &self.chat, body, sending).await?;
        let response = if is_event_stream(&headers) {
            collect(body, self.max_answer_bytes, ChunkDecoder::new(), Dialect::OpenAi)?
        } else {
            decode_chat_response(&body)?
        };
        Ok(Answer::Completion(Box::new(response)))
    }

    async fn events(&self, request: &CompletionRequest, sending: Sending<'_>) -> Result<Answer, Error> {
        let body = RequestBody::from(encode_chat_request(request, Some(IncludeUsage::Yes)));
        let clocks = Clocks::new(self.timeouts, Instant::now());
        let HttpAnswer { headers, chunks: body, .. } = self.begin(&self.chat, body, sending, &clocks).await?;
        if is_event_stream(&headers) {
            return Ok(Answer::Events(Box::pin(LiveEvents::new(body, clocks, self.max_answer_bytes))));
        }
        let response = decode_chat_response(&self.read(body).await?)?;
        Ok(Answer::Events(Box::pin(stream::iter(wire::events(response).into_iter().map(Ok)))))
    }

    async fn embedding(&self, request: &EmbeddingRequest, sending: Sending<'_>) -> Result<Answer, Error> {
        let body = RequestBody::from(encode_embedding_request(request, VectorFormat::Base64));
        let (_, body) = self.whole(&Method::POST, &self.embeddings, body, sending).await?;
        Ok(Answer::Embeddings(Box::new(decode_embedding_response(&body)?)))
    }

    /// Sends and reads all of a good answer, within the total time.
    async fn whole(
        &self,
        method: &Method,
        path: &PathAndQuery,
        body: RequestBody,
        sending: Sending<'_>,
    ) -> Result<(HeaderMap, Bytes), Error> {
        let exchange = async {
            let answer = self.exchange(method, path, body, sending).await?;
            Ok((answer.headers, answer::whole(answer.chunks, self.max_answer_bytes).await?))
        };
        let total = self.timeouts.total_timeout;
        let late = |_| Err(timed_out("to finish", "total_timeout", total));
        tokio::time::timeout(total, exchange).await.unwrap_or_else(late)
    }

    /// Sends and waits for the head of a good answer, as long as `clocks` allow.
    async fn begin(
        &self,
        path: &PathAndQuery,
        body: RequestBody,
        sending: Sending<'_>,
        clocks: &Clocks,
    ) -> Result<HttpAnswer, Error> {
        let head = self.exchange(&Method::POST, path, body, sending);
        tokio::time::timeout_at(clocks.deadline(), head).await.unwrap_or_else(|_| Err(clocks.expired()))
    }

    async fn read(&self, body: BoxStream<Result<Bytes, Error>>) -> Result<Bytes, Error> {
        let total = self.timeouts.total_timeout;
        let late = |_| Err(timed_out("to finish", "total_timeout", total));
        tokio::time::timeout(total, answer::whole(body, self.max_answer_bytes)).await.unwrap_or_else(late)
    }

    /// One exchange: a good answer's head and its body as its sender meant it, or the error that it tells.
    async fn exchange(
        &self,
        method: &Method,
        path: &PathAndQuery,
        body: RequestBody,
        sending: Sending<'_>,
    ) -> Result<HttpAnswer, Error> {
        let mut headers = sending.headers.clone();
        if let Some(id) = sending.request_id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            headers.insert(X_REQUEST_ID, id);
        }
        let (method, target) = (method.clone(), path.clone());
        let request = HttpRequest { method, target, common: self.headers.clone(), headers, body };
        let answer = decoded(self.transport.send(request).await?)?;
        let status = answer.status.as_u16();
        match status {
            200..300 => Ok(answer),
            400.. => Err(answer::error(status, &answer.headers, answer.chunks, self.clock.unix_time()).await),
            _ => {
                let message = format!("upstream returned HTTP {status}");
                Err(Error::new(ErrorKind::BadAnswer, message).with_upstream(status, None))
            }
        }
    }
}

/// What goes along with a request's body.
#[derive(Clone, Copy)]
struct Sending<'a> {
    request_id: Option<&'a RequestId>,
    headers: &'a HeaderMap,
}

impl Provider for OpenAiProvider {
    fn id(&self) -> &ProviderId {
        &self.id
    }

    fn speaks(&self, dialect: Dialect) -> bool {
        dialect == Dialect::OpenAi
    }

    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(self.answer(call))
    }
}
