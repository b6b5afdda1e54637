//! What a circuit costs a call.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use llm_breaker::{CircuitBreaker, Outcome};
use llm_core::{Clock, SystemClock};

fn closed(c: &mut Criterion) {
    let breaker = CircuitBreaker::builder().build();
    let now = SystemClock::new().now();
    c.bench_function("breaker/admit and record a success", |b| {
        b.iter(|| {
            let permit = black_box(&breaker).admit(now).expect("it is closed");
            permit.record(Outcome::Success, now);
        });
    });
}

fn open(c: &mut Criterion) {
    let breaker = CircuitBreaker::builder().failure_threshold(1).build();
    breaker.record_failure();
    let now = SystemClock::new().now();
    c.bench_function("breaker/refuse", |b| b.iter(|| black_box(&breaker).admit(now).is_err()));
}

criterion_group!(benches, closed, open);
criterion_main!(benches);
