//! A limit in front of any service.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use crate::bucket::Denied;
use crate::limiter::RateLimiter;

/// Puts a [`RateLimiter`] in front of services. All services of one layer share the limit.
///
/// # Example
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use std::convert::Infallible;
///
/// use llm_ratelimit::{Limited, RateLimitLayer, RateLimiter, TokenBucketConfig};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let echo = tower::service_fn(async |text: &'static str| Ok::<_, Infallible>(text));
/// let mut service = RateLimitLayer::new(RateLimiter::new(TokenBucketConfig::new(0.1, 1))).layer(echo);
/// assert_eq!(service.call("once").await.ok(), Some("once"));
/// assert!(matches!(service.call("twice").await, Err(Limited::Denied(_))));
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    limiter: RateLimiter,
}

impl RateLimitLayer {
    /// A layer that takes one unit of `limiter` for each request.
    #[must_use]
    pub const fn new(limiter: RateLimiter) -> Self {
        Self { limiter }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> RateLimited<S> {
        RateLimited { inner, limiter: self.limiter.clone() }
    }
}

/// A service behind a limit. It refuses at once what the limit does not let pass; who wants to wait waits as long as
/// [`Denied`] says.
#[derive(Clone, Debug)]
pub struct RateLimited<S> {
    inner: S,
    limiter: RateLimiter,
}

/// Why a limited service gave no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limited<E> {
    /// The limit refused; the service was not called.
    #[error(transparent)]
    Denied(Denied),
    /// The service failed.
    #[error("{0}")]
    Failed(E),
}

impl<S, R> Service<R> for RateLimited<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = Limited<S::Error>;
    type Future = Passing<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Limited::Failed)
    }

    fn call(&mut self, request: R) -> Self::Future {
        match self.limiter.check_and_consume() {
            Ok(()) => Passing::Sent(Box::pin(self.inner.call(request))),
            Err(denied) => Passing::Denied(denied),
        }
    }
}

/// A response in the making.
#[derive(Debug)]
pub enum Passing<F> {
    /// The service's.
    Sent(Pin<Box<F>>),
    /// None.
    Denied(Denied),
}

impl<F, T, E> Future for Passing<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Limited<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Sent(response) => Poll::Ready(ready!(response.as_mut().poll(cx)).map_err(Limited::Failed)),
            Self::Denied(denied) => Poll::Ready(Err(Limited::Denied(*denied))),
        }
    }
}
