//! A decision among 16 beside tower's balancer, and what a call adds to it. `cargo xtask bench router`.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use benches::{Bar, Table};
use llm_breaker::CircuitBreaker;
use llm_core::{Clock, Money, Price, SystemClock, Tick};
use llm_router::{Demand, Observed, RouterConfig, SmartRouter, Strategy, Target};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma};
use tower::{BoxError, Service};

const TARGETS: usize = 16;
const STEP: u64 = 1_100_000;

/// A service that is ready at once, and so is its answer.
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

/// tower's power of two choices by Peak-EWMA.
fn tower() -> impl Service<(), Response = (), Error = BoxError> {
    let service = || PeakEwma::new(Prompt, Duration::from_millis(30), 10e9, CompleteOnResponse::default());
    Balance::new(ServiceList::new((0..TARGETS).map(|_| service()).collect::<Vec<_>>()))
}

/// A call through tower: ready, called, answered.
fn call<S: Service<()>>(service: &mut S, cx: &mut Context<'_>) {
    let Poll::Ready(Ok(())) = service.poll_ready(cx) else { panic!("a service is ready") };
    let answer = std::pin::pin!(service.call(()));
    let Poll::Ready(Ok(_)) = answer.poll(cx) else { panic!("its answer is too") };
}

/// A router that got to know its targets at `now`, with prices and calls in flight.
fn router(strategy: Strategy, targets: usize, now: Tick) -> (SmartRouter, Vec<llm_router::Ticket>) {
    let config = RouterConfig { strategy, sla: Some(Duration::from_secs(1)), seed: Some(1), ..Default::default() };
    let targets: Vec<_> = (1..=targets as u32).map(|weight| Target { weight }).collect();
    let router = SmartRouter::try_new(config, &targets).expect("a route");
    let mut held = Vec::new();
    for index in 0..targets.len() {
        let each = Money::from_units(1_000_000 + 37_000 * ((index as i64 * 7 + 5) % 16));
        router.set_price(index, Some(Price::per_token(each, each)));
        let latency = Duration::from_millis(200 + 13 * ((index as u64 * 5 + 9) % 16));
        (0..128).for_each(|_| router.record(index, Observed { latency, ..Observed::default() }, now));
        held.extend((0..index % 4).map(|_| router.begin(index, now)));
    }
    (router, held)
}

fn main() {
    let clock = SystemClock::new();
    let table = Table::new();
    let circuits: Vec<_> = (0..TARGETS).map(|_| CircuitBreaker::builder().build()).collect();
    let demand = Demand { within: Some(Duration::from_secs(2)), ..Demand::default() };
    let observed = Observed {
        latency: Duration::from_millis(250),
        first_token: Some(Duration::from_millis(80)),
        output_tokens: Some(120),
        cost: Some(Money::from_units(180_000_000)),
        failed: false,
    };
    let mut peer = tower();
    let cx = &mut Context::from_waker(Waker::noop());
    for (name, strategy, bar) in [
        ("peak_ewma", Strategy::PeakEwma, 0.07),
        ("cost", Strategy::Cost, 0.13),
        ("latency", Strategy::Latency, 0.13),
        ("reliability", Strategy::Reliability, 0.13),
        ("arbitrage", Strategy::Arbitrage, 0.13),
        ("bandit", Strategy::Bandit, 0.13),
        ("prefix", Strategy::Prefix, 0.13),
        ("weighted", Strategy::Weighted, 0.07),
    ] {
        let mut now = clock.now();
        let (router, _held) = router(strategy, TARGETS, now);
        table.row(
            name,
            Some(Bar::Times(bar)),
            |count| {
                let mut at = now.as_nanos();
                for _ in 0..count {
                    at += STEP;
                    let now = Tick::from_nanos(at);
                    let usable = |index: usize| circuits[index].is_available(now).is_ok();
                    let index = router.plan_for(black_box(&demand), now).next(usable).expect("all are usable");
                    router.begin(index, now).record(*black_box(&observed), now);
                }
                now = Tick::from_nanos(at);
            },
            |count| (0..count).for_each(|_| call(&mut peer, cx)),
        );
    }
}
