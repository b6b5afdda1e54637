//! What proves who sends a request, where that is more than one header that is always the same.

use llm_core::{BoxFuture, Clock, Error};

use crate::transport::HttpRequest;

/// Proves to a provider who sends a request.
pub(crate) trait Authorizer: Send + Sync {
    /// Adds to `request` what proves it.
    ///
    /// # Errors
    /// As the errors of a call: `UpstreamAuth` when what is configured is refused.
    fn authorize<'a>(&'a self, request: &'a mut HttpRequest, clock: &'a dyn Clock) -> BoxFuture<'a, Result<(), Error>>;

    /// Told that the provider refused `request` with a 401: whether another proof can be had in place of the one in it.
    fn refused(&self, request: &HttpRequest) -> bool {
        let _ = request;
        false
    }
}
