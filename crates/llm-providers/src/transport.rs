//! How requests reach a provider: a trait, and its implementation over HTTP.

mod body;
mod connect;
mod encoding;
mod endpoint;
mod failure;
pub mod http1;
mod http2;
mod link;
mod pool;
mod proxy;
mod socket;
mod tls;

pub use body::RequestBody;
pub use connect::ConnectOptions;
pub use endpoint::AddressError;
pub use link::HttpTransport;
pub use proxy::{ProxyConfig, ProxyError};

pub(crate) use encoding::decoded;
pub(crate) use endpoint::Endpoint;

use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use llm_core::{BoxFuture, BoxStream, Error};

/// Sends HTTP requests to one endpoint.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and waits for the head of its answer, whatever the status. To drop the future, or the
    /// answer's chunks, is to cancel the request.
    ///
    /// # Errors
    /// `Connection` when none was made or it broke before the answer, `Timeout` when it was not made in time,
    /// `BadAnswer` when what came back is not HTTP.
    fn send(&self, request: Box<HttpRequest>) -> BoxFuture<'_, Result<HttpAnswer, Error>>;
}

/// A request. The endpoint's name and the body's length are the transport's to add.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The path, with its query if it has one.
    pub target: PathAndQuery,
    /// Headers that all requests of the sender share.
    pub common: Arc<HeaderMap>,
    /// Further headers, which win over the common ones.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
}

/// The head of an answer, and its body as it comes in.
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes. An answer that breaks off ends with `StreamInterrupted`.
    pub chunks: Chunks,
}

/// The bytes of a body, as they come in. They may be kept: a piece keeps no large buffer that others are in.
pub type Chunks = BoxStream<Result<Bytes, Error>>;

impl std::fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpAnswer").field("status", &self.status).finish_non_exhaustive()
    }
}
