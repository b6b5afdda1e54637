//! The one interface of everything that answers for a model.

use crate::{
    Answer, BoxFuture, BoxStream, Call, CallBody, CompletionRequest, CompletionResponse, Dialect, EmbeddingRequest,
    EmbeddingResponse, Error, ErrorKind, Model, ModelId, ProviderId, StreamEvent,
};

/// Something that answers calls for models. [`send`](Self::send) is the one entry; the other methods wrap it.
///
/// A call is cancelled by dropping the future, or the stream in its answer.
pub trait Provider: Send + Sync + 'static {
    /// The provider's configured name.
    fn id(&self) -> &ProviderId;

    /// Whether wire bodies of `dialect` are understood as they are.
    fn speaks(&self, dialect: Dialect) -> bool;

    /// Whether requests are passed on as they are ([`CallBody::Forward`]): the provider has the routes of OpenAI's that
    /// nothing here understands.
    fn forwards(&self) -> bool {
        false
    }

    /// Answers `call` in the form it was asked. One attempt: nothing here retries.
    ///
    /// # Errors
    /// What went wrong before the answer's first byte, classified by [`ErrorKind`]. What goes wrong later is
    /// the last item of the answer's stream.
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Answer, Error>>;

    /// Completes `request`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn complete(&self, request: CompletionRequest) -> BoxFuture<'_, Result<CompletionResponse, Error>> {
        let model = request.model.clone();
        Box::pin(async move {
            match self.send(Call::new(model, CallBody::Completion(Box::new(request)))).await? {
                Answer::Completion(response) => Ok(*response),
                other => Err(unexpected(self.id(), &other)),
            }
        })
    }

    /// Completes `request` event by event.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn stream(
        &self,
        request: CompletionRequest,
    ) -> BoxFuture<'_, Result<BoxStream<Result<StreamEvent, Error>>, Error>> {
        let model = request.model.clone();
        Box::pin(async move {
            match self.send(Call::new(model, CallBody::Stream(Box::new(request)))).await? {
                Answer::Events(events) => Ok(events),
                other => Err(unexpected(self.id(), &other)),
            }
        })
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn embed(&self, request: EmbeddingRequest) -> BoxFuture<'_, Result<EmbeddingResponse, Error>> {
        let model = request.model.clone();
        Box::pin(async move {
            match self.send(Call::new(model, CallBody::Embedding(Box::new(request)))).await? {
                Answer::Embeddings(response) => Ok(*response),
                other => Err(unexpected(self.id(), &other)),
            }
        })
    }

    /// Lists the provider's models.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn models(&self) -> BoxFuture<'_, Result<Vec<Model>, Error>> {
        Box::pin(async move {
            match self.send(Call::new(ModelId::from(""), CallBody::Models)).await? {
                Answer::Models(models) => Ok(models),
                other => Err(unexpected(self.id(), &other)),
            }
        })
    }
}

fn unexpected(provider: &ProviderId, answer: &Answer) -> Error {
    let form = match answer {
        Answer::Wire(_) => "wire bytes",
        Answer::Completion(_) => "a completion",
        Answer::Events(_) => "events",
        Answer::Embeddings(_) => "embeddings",
        Answer::Models(_) => "models",
        Answer::Forwarded(_) => "an answer that is passed on",
    };
    Error::new(ErrorKind::Internal, format!("provider {provider} answered with {form}, which was not asked"))
}
