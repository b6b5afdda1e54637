//! One decision of a route, and what a call adds to it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use llm_breaker::CircuitBreaker;
use llm_core::{Clock, Money, Price, SystemClock, Tick};
use llm_router::{Demand, Observed, PromptClass, RouterConfig, SmartRouter, Strategy, Target};

const NAMES: [(&str, Strategy); 9] = [
    ("weighted", Strategy::Weighted),
    ("fallback", Strategy::Fallback),
    ("cost", Strategy::Cost),
    ("latency", Strategy::Latency),
    ("reliability", Strategy::Reliability),
    ("arbitrage", Strategy::Arbitrage),
    ("peak_ewma", Strategy::PeakEwma),
    ("bandit", Strategy::Bandit),
    ("prefix", Strategy::Prefix),
];

/// A router that got to know its targets at `now`, with prices and calls in flight.
fn router(strategy: Strategy, targets: u32, now: Tick) -> (SmartRouter, Vec<llm_router::Ticket>) {
    let config = RouterConfig { strategy, sla: Some(Duration::from_secs(1)), seed: Some(1), ..Default::default() };
    let targets: Vec<_> = (1..=targets).map(|weight| Target { weight }).collect();
    let router = SmartRouter::try_new(config, &targets).expect("a route");
    let mut held = Vec::new();
    for index in 0..targets.len() {
        let each = Money::from_units(1_000_000 + 37_000 * (index as i64 * 7 % 16));
        router.set_price(index, Some(Price::per_token(each, each)));
        let latency = Duration::from_millis(200 + 13 * (index as u64 * 5 % 16));
        (0..128).for_each(|_| router.record(index, Observed { latency, ..Observed::default() }, now));
        held.extend((0..index % 4).map(|_| router.begin(index, now)));
    }
    (router, held)
}

fn plans(c: &mut Criterion) {
    let mut group = c.benchmark_group("router");
    let now = SystemClock::new().now();
    let demand = Demand::default();
    for (name, strategy) in NAMES {
        for targets in [1, 3, 16] {
            let (router, _held) = router(strategy, targets, now.before(Duration::from_secs(1)));
            group.bench_with_input(BenchmarkId::new(name, targets), &router, |b, router| {
                b.iter(|| black_box(router).plan_for(black_box(&demand), now).next(|_| true));
            });
        }
    }
    group.finish();
}

/// A decision among 16 targets that asks each one's circuit, the call in flight, and its outcome.
fn calls(c: &mut Criterion) {
    let mut group = c.benchmark_group("router call of 16");
    let now = SystemClock::new().now();
    let demand = Demand::default();
    let observed = Observed {
        latency: Duration::from_millis(250),
        first_token: Some(Duration::from_millis(80)),
        output_tokens: Some(120),
        cost: Some(Money::from_units(180_000_000)),
        failed: false,
    };
    let circuits: Vec<_> = (0..16).map(|_| CircuitBreaker::builder().build()).collect();
    for (name, strategy) in NAMES {
        let (router, _held) = router(strategy, 16, now.before(Duration::from_secs(1)));
        group.bench_function(name, |b| {
            b.iter(|| {
                let usable = |index: usize| circuits[index].is_available(now).is_ok();
                let index = router.plan_for(black_box(&demand), now).next(usable).expect("all are usable");
                router.begin(index, now).record(black_box(observed), now);
            });
        });
    }
    let (router, _held) = router(Strategy::Latency, 16, now.before(Duration::from_secs(1)));
    group.bench_function("record alone", |b| b.iter(|| router.record(3, black_box(observed), now)));
    group.bench_function("decision with its chain", |b| {
        b.iter(|| router.choose(black_box(&demand), now, |_| true));
    });
    group.finish();
}

fn classes(c: &mut Criterion) {
    let text = "Please summarise the attached minutes for the board. ".repeat(60);
    c.bench_function("classify 3 KiB", |b| b.iter(|| PromptClass::classify(black_box(&text), None)));
}

criterion_group!(benches, plans, calls, classes);
criterion_main!(benches);
