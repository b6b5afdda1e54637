//! A client: requests in, answers out, in neutral form.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use http::HeaderMap;
use llm_core::{
    BoxStream, CallBody, CompletionRequest, CompletionResponse, EmbeddingRequest, EmbeddingResponse, Error, ErrorKind,
    RequestId, StreamEvent,
};
use llm_pipeline::{Caller, Pipeline, Reply, Request};

/// Asks models. Cheap to clone; clones share limits, circuits and connections.
#[derive(Clone, Debug)]
pub struct Client {
    path: Pipeline,
    caller: Arc<Caller>,
}

impl Client {
    pub(crate) fn new(path: Pipeline) -> Self {
        Self { path, caller: Arc::new(Caller::new("default")) }
    }

    /// Completes `request`. Dropping the future cancels the call.
    ///
    /// # Errors
    /// What kept the request from being answered; [`Error::retry_after`] says when to try again.
    pub async fn complete(&self, request: impl Into<CompletionRequest>) -> Result<CompletionResponse, Error> {
        match self.ask(CallBody::Completion(Box::new(request.into()))).await? {
            Reply::Completion(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    /// Completes `request` event by event. Dropping the stream cancels the call.
    ///
    /// # Errors
    /// As [`complete`](Self::complete); what goes wrong after the first event is the stream's last item.
    pub async fn stream(&self, request: impl Into<CompletionRequest>) -> Result<Events, Error> {
        match self.ask(CallBody::Stream(Box::new(request.into()))).await? {
            Reply::Events(events) => Ok(Events(events)),
            other => Err(unexpected(&other)),
        }
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// As [`complete`](Self::complete).
    pub async fn embed(&self, request: EmbeddingRequest) -> Result<EmbeddingResponse, Error> {
        match self.ask(CallBody::Embedding(Box::new(request))).await? {
            Reply::Embeddings(response) => Ok(*response),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, body: CallBody) -> Result<Reply, Error> {
        let request = Request {
            caller: self.caller.clone(),
            id: RequestId::from_random(fastrand::u128(..)),
            body,
            headers: HeaderMap::new(),
            cache: llm_pipeline::CacheUse::Bypass,
            idempotency_key: None,
            last_frame: None,
            received: self.path.now(),
            deadline: None,
            follower: None,
        };
        Ok(self.path.handle(request).await?.reply)
    }
}

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
