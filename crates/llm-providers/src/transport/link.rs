//! The transport over HTTP: which connection a request goes out on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, Request, Uri, Version};
use http_body::Body as _;
use llm_core::{BoxFuture, Clock, Error, SystemClock, boxed};
use tokio::sync::Semaphore;

use super::body::Outgoing;
use super::connect::{ConnectOptions, Dialer};
use super::failure::Failure;
use super::http1::{self, Http1};
use super::http2::{Http2, Shared};
use super::pool::Pool;
use super::proxy::ProxyError;
use super::tls::is_http2;
use super::{Endpoint, HttpAnswer, HttpRequest, Transport};
use crate::remote::ConfigError;

/// Sends requests over connections that are kept: HTTP/1.1, or HTTP/2 where the other side chooses it in the
/// TLS handshake.
///
/// A kept connection that turns out to be closed before the first byte of an answer is replaced by a new one,
/// once; nothing else is sent twice. Redirects are answers like others.
#[derive(Debug)]
pub struct HttpTransport {
    dialer: Dialer,
    idle: Arc<Pool<Box<Http1>>>,
    shared: Shared,
    /// One connection at a time is made until it is known whether it can be shared.
    gate: Semaphore,
    /// Relaxed: a hint. Wrong, it costs a connection.
    speaks_http1: AtomicBool,
}

impl HttpTransport {
    /// A transport to the host of `base_url`. Of the URL's path nothing is kept: a request names its whole path.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong with the address, or with that of a proxy.
    pub fn try_new(base_url: &str, options: ConnectOptions) -> Result<Self, ConfigError> {
        Ok(Self::to(Endpoint::parse(base_url)?, options)?)
    }

    /// A transport to `endpoint`, by the machine's clock.
    pub(crate) fn to(endpoint: Endpoint, options: ConnectOptions) -> Result<Self, ProxyError> {
        Self::with_clock(endpoint, options, Arc::new(SystemClock::new()))
    }

    fn with_clock(endpoint: Endpoint, options: ConnectOptions, clock: Arc<dyn Clock>) -> Result<Self, ProxyError> {
        let speaks_http1 = AtomicBool::new(!endpoint.is_tls());
        Ok(Self {
            dialer: Dialer::new(endpoint, options)?,
            idle: Arc::new(Pool::new(clock)),
            shared: Shared::default(),
            gate: Semaphore::new(1),
            speaks_http1,
        })
    }

    async fn exchange(&self, request: Box<HttpRequest>) -> Result<HttpAnswer, Error> {
        let kept = self.kept();
        // What was sent on a kept connection may have been read there.
        let untried = kept.is_none();
        if let Some(kept) = kept {
            match self.send_on(kept, &request).await {
                Err(failure) if failure.unanswered && request.body.is_intact() => {}
                answer => return answer.map_err(|failure| failure.error),
            }
        }
        // On the heap: most requests go out on a connection that is kept.
        let new = self.dialer.within_timeout(Box::pin(self.connect())).await;
        let new = new.map_err(|error| if untried { error.unsent() } else { error })?;
        self.send_on(new, &request).await.map_err(|failure| failure.error)
    }

    /// A connection that has carried requests before.
    fn kept(&self) -> Option<Link> {
        if !self.speaks_http1.load(Relaxed)
            && let Some(place) = self.shared.take()
        {
            return Some(Link::Http2(place));
        }
        self.idle.take(|connection| connection.is_idle()).map(Link::Http1)
    }

    async fn connect(&self) -> Result<Link, Error> {
        let mut gate = None;
        if !self.speaks_http1.load(Relaxed) {
            gate = self.gate.acquire().await.ok();
            // Whoever was before in the gate may have made a connection that can be shared.
            if let Some(place) = self.shared.take() {
                return Ok(Link::Http2(place));
            }
        }
        if self.speaks_http1.load(Relaxed) {
            drop(gate.take());
        }
        let socket = self.dialer.dial().await?;
        let speaks_http1 = !is_http2(&socket);
        self.speaks_http1.store(speaks_http1, Relaxed);
        let link = if speaks_http1 {
            Ok(Link::Http1(Http1::new(socket)))
        } else {
            self.shared.open(socket).await.map(Link::Http2)
        };
        link.map_err(|failure| failure.error)
    }

    async fn send_on(&self, link: Link, request: &HttpRequest) -> Result<HttpAnswer, Failure> {
        match link {
            Link::Http1(connection) => {
                let body = Outgoing::new(request.body.clone());
                let length = body.size_hint().exact();
                let head = self.head(request, length);
                connection.send(head, body, length.is_none(), self.idle.clone()).await
            }
            Link::Http2(place) => place.send(self.http2(request)).await,
        }
    }

    /// The head of a request over HTTP/1.1. `length` is its body's.
    fn head(&self, request: &HttpRequest, length: Option<u64>) -> Vec<u8> {
        let host = Some((HOST, &self.dialer.endpoint().host_header));
        match self.dialer.forwarder() {
            None => http1::written(request, &request.target, [host, None], length),
            Some(proxy) => {
                let authorization = proxy.authorization.as_ref().map(|value| (PROXY_AUTHORIZATION, value));
                http1::written(request, self.absolute(request), [host, authorization], length)
            }
        }
    }

    fn http2(&self, request: &HttpRequest) -> Request<Outgoing> {
        let mut headers = HeaderMap::clone(&request.common);
        headers.extend(request.headers.clone());
        let mut outgoing = Request::new(Outgoing::new(request.body.clone()));
        *outgoing.method_mut() = request.method.clone();
        *outgoing.uri_mut() = self.absolute(request);
        *outgoing.version_mut() = Version::HTTP_2;
        *outgoing.headers_mut() = headers;
        outgoing
    }

    fn absolute(&self, request: &HttpRequest) -> Uri {
        let endpoint = self.dialer.endpoint();
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(endpoint.scheme.clone());
        parts.authority = Some(endpoint.authority.clone());
        parts.path_and_query = Some(request.target.clone());
        Uri::from_parts(parts).expect("a scheme, an authority and a path are a URI")
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Box<HttpRequest>) -> BoxFuture<'_, Result<HttpAnswer, Error>> {
        Box::into_pin(boxed(|| self.exchange(request)))
    }
}

/// A connection to send one request on.
enum Link {
    Http1(Box<Http1>),
    Http2(Http2),
}
