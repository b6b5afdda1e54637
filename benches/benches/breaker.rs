//! What a circuit costs a call.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use llm_breaker::{CircuitBreaker, Outcome, Timing};
use llm_core::{Clock, SystemClock};

fn closed(c: &mut Criterion) {
    let now = SystemClock::new().now();
    let breaker = CircuitBreaker::builder().build();
    c.bench_function("breaker/admit", |b| b.iter(|| black_box(&breaker).is_available(now)));
    c.bench_function("breaker/admit and record a success", |b| {
        b.iter(|| {
            let permit = black_box(&breaker).admit(now).expect("it is closed");
            permit.record(Outcome::Success, now);
        });
    });
    let bare = CircuitBreaker::builder().failure_rate(None).anomaly(None).build();
    c.bench_function("breaker/admit and record, failures in a row alone", |b| {
        b.iter(|| {
            let permit = black_box(&bare).admit(now).expect("it is closed");
            permit.record(Outcome::Success, now);
        });
    });
}

fn timed(c: &mut Criterion) {
    let now = SystemClock::new().now();
    let span = Duration::from_micros(250_000);
    let latency = Timing::from(span);
    let streamed = Timing { latency: span, first_token: Some(span / 4), token_gap: Some(span / 64) };
    for (name, timing) in [("a latency", latency), ("a stream's times", streamed)] {
        let breaker = CircuitBreaker::builder().build();
        c.bench_function(&format!("breaker/admit and record {name}"), |b| {
            b.iter(|| {
                let permit = black_box(&breaker).admit(now).expect("it is closed");
                permit.record_timed(Outcome::Success, black_box(timing), now);
            });
        });
    }
}

fn open(c: &mut Criterion) {
    let breaker = CircuitBreaker::builder().failure_threshold(1).build();
    breaker.record_failure();
    let now = SystemClock::new().now();
    c.bench_function("breaker/refuse", |b| b.iter(|| black_box(&breaker).admit(now).is_err()));
}

criterion_group!(benches, closed, timed, open);
criterion_main!(benches);
