//! A call through the router, from the decision to its outcome, beside one through tower's balancer: power of two
//! choices by Peak-EWMA over services that are always ready. `cargo xtask bench router`.

mod routed;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use benches::{Bar, Table};
use llm_core::{Clock, SystemClock};
use llm_router::{Demand, PromptClass, Strategy};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma};
use tower::{BoxError, Service};

use routed::Ours;

/// Ready at once, and so is its answer.
struct Prompt;

impl Service<()> for Prompt {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

fn tower(services: usize) -> impl Service<(), Response = (), Error = BoxError> {
    let service = || PeakEwma::new(Prompt, Duration::from_millis(30), 10e9, CompleteOnResponse::default());
    Balance::new(ServiceList::new((0..services).map(|_| service()).collect::<Vec<_>>()))
}

fn call(service: &mut impl Service<()>) {
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(cx), Poll::Ready(Ok(()))), "it is always ready");
    let answer = std::pin::pin!(service.call(()));
    assert!(matches!(answer.poll(cx), Poll::Ready(Ok(_))), "so is its answer");
}

fn done<T>(result: T) {
    black_box(result);
}

fn main() {
    let clock = SystemClock::new();
    let table = Table::new();
    let mut peer = tower(16);
    for (what, strategy, bar) in [
        ("16 targets, `peak_ewma`", Strategy::PeakEwma, Some(0.07)),
        ("16 targets, `cost`", Strategy::Cost, Some(0.13)),
        ("16 targets, `latency`", Strategy::Latency, Some(0.13)),
        ("16 targets, `reliability`", Strategy::Reliability, Some(0.13)),
        ("16 targets, `arbitrage`", Strategy::Arbitrage, Some(0.13)),
        ("16 targets, `bandit`", Strategy::Bandit, Some(0.13)),
        ("16 targets, `prefix`", Strategy::Prefix, None),
        ("16 targets, `weighted`", Strategy::Weighted, None),
    ] {
        let (ours, mut at) = (Ours::new(strategy, 16, clock.now()), clock.now().as_nanos());
        let theirs = |count| (0..count).for_each(|_| call(&mut peer));
        table.row(what, bar.map(Bar::Times), |count| ours.calls(count, &mut at), theirs);
    }
    let ours = Ours::new(Strategy::PeakEwma, 16, clock.now());
    table.row(
        "16 targets, `peak_ewma`, the clock read before and after the call, as tower does",
        None,
        |count| (0..count).for_each(|_| ours.call(clock.now(), || clock.now())),
        |count| (0..count).for_each(|_| call(&mut peer)),
    );
    let peer = Mutex::new(peer);
    let locked = || call(&mut *peer.lock().unwrap_or_else(PoisonError::into_inner));
    table.row_on_two_threads(
        "16 targets, `peak_ewma`, two threads on it; tower behind a lock, which it needs",
        None,
        || ours.call(clock.now(), || clock.now()),
        locked,
    );
    let mut peer = tower(3);
    for (what, strategy) in [
        ("3 targets, `peak_ewma`", Strategy::PeakEwma),
        ("3 targets, `cost`", Strategy::Cost),
        ("3 targets, `latency`", Strategy::Latency),
    ] {
        let (ours, mut at) = (Ours::new(strategy, 3, clock.now()), clock.now().as_nanos());
        let theirs = |count| (0..count).for_each(|_| call(&mut peer));
        table.row(what, None, |count| ours.calls(count, &mut at), theirs);
    }
    let (ours, demand, now) = (Ours::new(Strategy::Latency, 16, clock.now()), Demand::default(), clock.now());
    table.row(
        "a decision by `latency` with its predictions and all 15 fallbacks in order; tower's call",
        None,
        |count| (0..count).for_each(|_| done(ours.router.choose(&demand, now, |_| true))),
        |count| (0..count).for_each(|_| call(&mut peer)),
    );
    let text = "Please summarise the attached minutes for the board. ".repeat(60);
    table.row(
        "the class of a prompt of 3 KB; its lower case",
        None,
        |count| (0..count).for_each(|_| done(PromptClass::classify(black_box(&text), None))),
        |count| (0..count).for_each(|_| done(black_box(&text).to_ascii_lowercase())),
    );
}
