//! A client: requests in, answers out, in neutral form.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use http::HeaderMap;
use llm_core::{
    BoxStream, CallBody, CompletionRequest, CompletionResponse, EmbeddingRequest, EmbeddingResponse, Error, ErrorKind,
    RequestId, RequestObserver, StreamEvent, Tick,
};
use llm_pipeline::{Caller, Pipeline, Reply, Request};

/// Asks models. Cheap to clone; clones share limits, circuits and connections.
#[derive(Clone, Debug)]
pub struct Client {
    path: Pipeline,
    caller: Arc<Caller>,
    #[cfg(feature = "streaming-multiplexer")]
    multiplexer: Option<llm_dedup::StreamingMultiplexer>,
    #[cfg(feature = "observability")]
    telemetry: Option<Arc<llm_telemetry::Telemetry>>,
    #[cfg(feature = "observability")]
    context: Option<Arc<llm_telemetry::TracingContext>>,
}

impl Client {
    pub(crate) fn new(path: Pipeline) -> Self {
        Self {
            path,
            caller: Arc::new(Caller::new("default")),
            #[cfg(feature = "streaming-multiplexer")]
            multiplexer: None,
            #[cfg(feature = "observability")]
            telemetry: None,
            #[cfg(feature = "observability")]
            context: None,
        }
    }

    #[cfg(feature = "observability")]
    pub(crate) fn told_to(self, telemetry: Option<Arc<llm_telemetry::Telemetry>>) -> Self {
        Self { telemetry, ..self }
    }

    /// The client whose requests are part of the trace of `context`, and carry its attributes. What it measures, its limits
    /// and its circuits are this one's.
    #[cfg(feature = "observability")]
    #[must_use]
    pub fn with_tracing_context(&self, context: llm_telemetry::TracingContext) -> Self {
        Self { context: Some(Arc::new(context)), ..self.clone() }
    }

    /// What was measured, as Prometheus' text; empty for a client that measures nothing.
    #[cfg(feature = "observability")]
    #[must_use]
    pub fn metrics(&self) -> String {
        self.telemetry.as_ref().map_or_else(String::new, |telemetry| telemetry.render(None).1)
    }

    /// Who follows a request, if it is traced.
    #[cfg(feature = "observability")]
    fn follower(&self, name: &'static str, id: &RequestId, received: Tick) -> Option<Arc<dyn RequestObserver>> {
        self.telemetry.as_ref()?.follow(self.context.as_deref(), name, id, received)
    }

    #[cfg(not(feature = "observability"))]
    #[expect(clippy::unused_self, reason = "with telemetry it is a method")]
    fn follower(&self, _: &'static str, _: &RequestId, _: Tick) -> Option<Arc<dyn RequestObserver>> {
        None
    }

    #[cfg(feature = "streaming-multiplexer")]
    pub(crate) fn sharing(self, multiplexer: Option<llm_dedup::StreamingMultiplexer>) -> Self {
        Self { multiplexer, ..self }
    }

    /// The stream of an identical request, or of this one if there is none.
    #[cfg(feature = "streaming-multiplexer")]
    fn shared(&self, name: &'static str, request: &CompletionRequest) -> Option<llm_dedup::Subscription> {
        let multiplexer = self.multiplexer.as_ref()?;
        let (client, asked) = (self.clone(), request.clone());
        let opening = || -> llm_dedup::Opening {
            Box::pin(async move {
                match client.ask(name, CallBody::Stream(Box::new(asked))).await? {
                    Reply::Events(events) => Ok(events),
                    other => Err(unexpected(&other)),
                }
            })
        };
        Some(multiplexer.subscribe_with(request, opening))
    }

    /// Completes `request`. Dropping the future cancels the call.
    ///
    /// # Errors
    /// What kept the request from being answered; [`Error::retry_after`] says when to try again.
    pub async fn complete(&self, request: impl Into<CompletionRequest>) -> Result<CompletionResponse, Error> {
        let request = request.into();
        #[cfg(feature = "streaming-multiplexer")]
        if let Some(events) = self.shared(COMPLETE, &request) {
            return self.collected(events).await;
        }
        match self.ask(COMPLETE, CallBody::Completion(Box::new(request))).await? {
            Reply::Completion(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    /// Completes `request` event by event. Dropping the stream cancels the call.
    ///
    /// # Errors
    /// As [`complete`](Self::complete); what goes wrong after the first event is the stream's last item.
    pub async fn stream(&self, request: impl Into<CompletionRequest>) -> Result<Events, Error> {
        let request = request.into();
        #[cfg(feature = "streaming-multiplexer")]
        if let Some(events) = self.shared(STREAM, &request) {
            return Ok(Events(Box::pin(events)));
        }
        match self.ask(STREAM, CallBody::Stream(Box::new(request))).await? {
            Reply::Events(events) => Ok(Events(events)),
            other => Err(unexpected(&other)),
        }
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn embed(&self, request: EmbeddingRequest) -> Result<EmbeddingResponse, Error> {
        match self.ask(EMBED, CallBody::Embedding(Box::new(request))).await? {
            Reply::Embeddings(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    /// The answer that a shared stream makes up.
    #[cfg(feature = "streaming-multiplexer")]
    async fn collected(&self, mut events: llm_dedup::Subscription) -> Result<CompletionResponse, Error> {
        let asked = self.path.now();
        let mut collector = llm_providers::wire::Collector::new(llm_core::Dialect::OpenAi);
        while let Some(event) = std::future::poll_fn(|cx| Pin::new(&mut events).poll_next(cx)).await {
            collector.add(event?);
        }
        let mut response = collector.into_response();
        response.latency = Some(self.path.now().since(asked));
        Ok(response)
    }

    async fn ask(&self, name: &'static str, body: CallBody) -> Result<Reply, Error> {
        let (id, received) = (RequestId::from_random(fastrand::u128(..)), self.path.now());
        let follower = self.follower(name, &id, received);
        let request = Request {
            caller: self.caller.clone(),
            id,
            body,
            headers: HeaderMap::new(),
            cache: llm_pipeline::CacheUse::Bypass,
            idempotency_key: None,
            last_frame: None,
            received,
            deadline: None,
            follower,
        };
        Ok(self.path.handle(request).await?.reply)
    }
}

/// What spans of the client are called.
const COMPLETE: &str = "client.complete";
const STREAM: &str = "client.stream";
const EMBED: &str = "client.embed";

fn unexpected(reply: &Reply) -> Error {
    Error::new(ErrorKind::Internal, format!("the answer came in another form than asked: {reply:?}"))
}

/// An answer in the making.
pub struct Events(BoxStream<Result<StreamEvent, Error>>);

impl Stream for Events {
    type Item = Result<StreamEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events(..)")
    }
}
