//! A circuit in front of any service.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use llm_core::Tick;
use tower_layer::Layer;
use tower_service::Service;

use crate::breaker::{CallError, CircuitBreaker};
use crate::permit::Permit;
use crate::state::{Outcome, Refused};

/// Puts a [`CircuitBreaker`] in front of services. All services of one layer share the circuit.
///
/// # Example
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use llm_breaker::{CallError, CircuitBreaker, CircuitBreakerLayer, Outcome};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// let answer = tower::service_fn(async |status: u16| Ok::<_, String>(status));
/// let breaker = CircuitBreaker::builder().failure_threshold(1).build();
/// let layer = CircuitBreakerLayer::new(breaker).classify(|result: &Result<u16, String>| match result {
///     Ok(200..500) => Outcome::Success,
///     _ => Outcome::Failure,
/// });
/// let mut service = layer.layer(answer);
/// assert_eq!(service.call(503).await, Ok(503));
/// assert!(matches!(service.call(200).await, Err(CallError::Refused(_))));
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct CircuitBreakerLayer<C = ByResult> {
    breaker: CircuitBreaker,
    classify: C,
}

impl CircuitBreakerLayer {
    /// A layer that asks `breaker` for leave for each request, and counts `Ok` as a success and `Err` as a failure.
    #[must_use]
    pub const fn new(breaker: CircuitBreaker) -> Self {
        Self { breaker, classify: ByResult }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Has `classify`, a `Fn(&Result<Response, Error>) -> Outcome`, say what a result counts as.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> CircuitBreakerLayer<D> {
        CircuitBreakerLayer { breaker: self.breaker, classify }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> CircuitBreakerService<S, C> {
        CircuitBreakerService { inner, breaker: self.breaker.clone(), classify: self.classify.clone() }
    }
}

/// Says what the result of a call counts as.
pub trait Classify<T, E> {
    /// What `result` counts as.
    fn outcome(&self, result: &Result<T, E>) -> Outcome;
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Classify<T, E> for F {
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// `Ok` is a success and `Err` a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByResult;

impl<T, E> Classify<T, E> for ByResult {
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        if result.is_ok() { Outcome::Success } else { Outcome::Failure }
    }
}

/// A service behind a circuit. It answers at once while the circuit is open, without calling the service.
#[derive(Clone)]
pub struct CircuitBreakerService<S, C = ByResult> {
    inner: S,
    breaker: CircuitBreaker,
    classify: C,
}

impl<S, C, R> Service<R> for CircuitBreakerService<S, C>
where
    S: Service<R>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = Guarded<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(CallError::Failed)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let began = self.breaker.now();
        match self.breaker.admit(began) {
            Ok(permit) => {
                let response = Box::pin(self.inner.call(request));
                Guarded(Leave::Given {
                    response,
                    watch: Some((permit, self.breaker.clone(), began)),
                    classify: self.classify.clone(),
                })
            }
            Err(refused) => Guarded(Leave::Refused(refused)),
        }
    }
}

/// A response in the making. Dropped before it is there, it gives a probe's place back.
pub struct Guarded<F, C>(Leave<F, C>);

enum Leave<F, C> {
    Given { response: Pin<Box<F>>, watch: Option<(Permit, CircuitBreaker, Tick)>, classify: C },
    Refused(Refused),
}

/// The future inside is pinned by its box.
impl<F, C> Unpin for Guarded<F, C> {}

impl<F, C, T, E> Future for Guarded<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Leave::Given { response, watch, classify } => {
                let result = ready!(response.as_mut().poll(cx));
                if let Some((permit, breaker, began)) = watch.take() {
                    let now = breaker.now();
                    permit.record_timed(classify.outcome(&result), now.since(began).into(), now);
                }
                Poll::Ready(result.map_err(CallError::Failed))
            }
            Leave::Refused(refused) => Poll::Ready(Err(CallError::Refused(*refused))),
        }
    }
}

impl<C> fmt::Debug for CircuitBreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<S, C> fmt::Debug for CircuitBreakerService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerService").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<F, C> fmt::Debug for Guarded<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("refused", &matches!(self.0, Leave::Refused(_))).finish_non_exhaustive()
    }
}
