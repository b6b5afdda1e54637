//! A router as the benches ask it, with circuits, prices and a past.

use std::hint::black_box;
use std::time::Duration;

use llm_breaker::CircuitBreaker;
use llm_core::{Money, Price, Tick};
use llm_router::{Demand, Observed, RouterConfig, SmartRouter, Strategy, Target, Ticket};

/// Each call comes so much later than the one before, in nanoseconds: enough for every average to move.
const STEP: u64 = 1_100_000;

/// What every request asks for.
const DEMAND: Demand =
    Demand { input_tokens: 1000, output_tokens: 500, prefix: 0, within: Some(Duration::from_secs(2)) };

/// What every call is said to have been like.
const OBSERVED: Observed = Observed {
    latency: Duration::from_millis(250),
    first_token: Some(Duration::from_millis(80)),
    output_tokens: Some(120),
    cost: Some(Money::from_units(180_000_000)),
    failed: false,
};

/// A router that got to know its targets at `now`, with prices, latencies and calls in flight in no order.
pub(crate) struct Ours {
    pub(crate) router: SmartRouter,
    circuits: Vec<CircuitBreaker>,
    _held: Vec<Ticket>,
}

impl Ours {
    pub(crate) fn new(strategy: Strategy, targets: usize, now: Tick) -> Self {
        let config = RouterConfig { strategy, sla: Some(Duration::from_secs(1)), seed: Some(1), ..Default::default() };
        let weights: Vec<_> = (1..=targets as u32).map(|weight| Target { weight }).collect();
        let router = SmartRouter::try_new(config, &weights).expect("a route");
        let mut held = Vec::new();
        for index in 0..targets {
            let each = Money::from_units(1_000_000 + 37_000 * ((index as i64 * 7 + 5) % 16));
            router.set_price(index, Some(Price::per_token(each, each)));
            let latency = Duration::from_millis(200 + 13 * ((index as u64 * 5 + 9) % 16));
            (0..128).for_each(|_| router.record(index, Observed { latency, ..Observed::default() }, now));
            held.extend((0..index % 4).map(|_| router.begin(index, now)));
        }
        Self { router, circuits: (0..targets).map(|_| CircuitBreaker::builder().build()).collect(), _held: held }
    }

    /// A decision for a request with a deadline that asks the circuits, the call in flight, and its outcome.
    pub(crate) fn call(&self, now: Tick, ended: impl FnOnce() -> Tick) {
        let usable = |index: usize| self.circuits[index].is_available(now).is_ok();
        let index = self.router.plan_for(black_box(&DEMAND), now).next(usable).expect("all are usable");
        self.router.begin(index, now).record(*black_box(&OBSERVED), ended());
    }

    /// So many calls, `from` moving on with each.
    pub(crate) fn calls(&self, count: u64, from: &mut u64) {
        for _ in 0..count {
            *from += STEP;
            let now = Tick::from_nanos(*from);
            self.call(now, || now);
        }
    }
}
