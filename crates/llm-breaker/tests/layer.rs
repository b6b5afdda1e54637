//! A circuit in front of a service.
#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use llm_breaker::{CallError, CircuitBreaker, CircuitBreakerLayer, CircuitState, Outcome};
use llm_core::{Clock, ManualClock};
use tower::{Layer, Service, service_fn};

fn breaker(clock: &ManualClock) -> CircuitBreaker {
    CircuitBreaker::builder().failure_threshold(1).success_threshold(1).clock(Arc::new(clock.clone())).build()
}

#[test]
fn a_service_whose_circuit_is_open_is_not_called() {
    let clock = ManualClock::new();
    let mut calls = 0;
    let service = service_fn(|fine: bool| {
        calls += 1;
        std::future::ready(if fine { Ok("fine") } else { Err("no") })
    });
    let mut service = CircuitBreakerLayer::new(breaker(&clock)).layer(service);
    assert_eq!(service.call(true).now_or_never(), Some(Ok("fine")));
    assert_eq!(service.call(false).now_or_never(), Some(Err(CallError::Failed("no"))));
    let refused = service.call(true).now_or_never().unwrap().unwrap_err();
    let CallError::Refused(refused) = refused else { panic!("{refused:?}") };
    clock.advance(refused.retry_after);
    assert_eq!(service.call(true).now_or_never(), Some(Ok("fine")));
    drop(service);
    assert_eq!(calls, 3);
}

#[test]
fn a_response_that_is_dropped_gives_its_probe_back() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    let service = service_fn(|()| pending::<Result<(), Infallible>>());
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(service);
    breaker.record_failure();
    clock.advance(Duration::from_secs(70));
    let mut response = service.call(());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(response.poll_unpin(&mut cx), Poll::Pending));
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert!(breaker.is_available(clock.now()).is_err(), "the probe is out");
    drop(response);
    assert!(breaker.is_available(clock.now()).is_ok(), "and is back");
}

#[test]
fn what_counts_as_a_failure_is_the_callers_to_say() {
    let clock = ManualClock::new();
    let breaker = breaker(&clock);
    let layer = CircuitBreakerLayer::new(breaker.clone()).classify(|result: &Result<u16, &str>| match result {
        Ok(500..) => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignored,
    });
    let mut service =
        layer.layer(service_fn(|status: u16| std::future::ready(if status == 0 { Err("gone") } else { Ok(status) })));
    assert_eq!(service.call(0).now_or_never(), Some(Err(CallError::Failed("gone"))));
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(service.call(503).now_or_never(), Some(Ok(503)));
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(breaker.health_metrics().request_count, 1);
}
