//! One decision of a bucket, beside governor's.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};
use governor::{Quota, RateLimiter as Governor};
use llm_core::{Clock, SystemClock};
use llm_ratelimit::{RateLimiter, TokenBucketConfig};

/// A rate that no machine here reaches, so that every decision is an admission.
const NEVER_REACHED: u32 = 1_000_000_000;

fn admit(c: &mut Criterion) {
    let mut group = c.benchmark_group("ratelimit/admit");
    let ours = RateLimiter::new(TokenBucketConfig::new(f64::from(NEVER_REACHED), NEVER_REACHED));
    let governor = Governor::direct(Quota::per_second(NonZeroU32::new(NEVER_REACHED).expect("above zero")));
    group.bench_function("llm-ratelimit", |b| b.iter(|| black_box(&ours).check_and_consume().is_ok()));
    group.bench_function("governor", |b| b.iter(|| black_box(&governor).check().is_ok()));
    let (clock, bucket) = (SystemClock::new(), ours.clone());
    let now = clock.now();
    group.bench_function("llm-ratelimit, the time already read", |b| {
        b.iter(|| black_box(&bucket).take(1, now).map(llm_ratelimit::Charge::keep).is_ok());
    });
    group.finish();
}

fn deny(c: &mut Criterion) {
    let mut group = c.benchmark_group("ratelimit/deny");
    let ours = RateLimiter::new(TokenBucketConfig::new(0.001, 1));
    let governor = Governor::direct(Quota::per_hour(NonZeroU32::MIN));
    let _ = (ours.check_and_consume(), governor.check());
    group.bench_function("llm-ratelimit", |b| b.iter(|| black_box(&ours).check_and_consume().is_err()));
    group.bench_function("governor", |b| b.iter(|| black_box(&governor).check().is_err()));
    group.finish();
}

/// Both sides while a second thread does the same without pause.
fn contended(c: &mut Criterion) {
    let mut group = c.benchmark_group("ratelimit/admit, two threads");
    let ours = RateLimiter::new(TokenBucketConfig::new(f64::from(NEVER_REACHED), NEVER_REACHED));
    let governor = Arc::new(Governor::direct(Quota::per_second(NonZeroU32::new(NEVER_REACHED).expect("above zero"))));
    let other = ours.clone();
    beside(
        move || other.check_and_consume().is_ok(),
        || {
            group.bench_function("llm-ratelimit", |b| b.iter(|| black_box(&ours).check_and_consume().is_ok()));
        },
    );
    let other = governor.clone();
    beside(
        move || other.check().is_ok(),
        || {
            group.bench_function("governor", |b| b.iter(|| black_box(&governor).check().is_ok()));
        },
    );
    group.finish();
}

/// Runs `measured` while another thread repeats `rival`.
fn beside(rival: impl Fn() -> bool + Send + 'static, measured: impl FnOnce()) {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        while !stopped.load(Relaxed) {
            black_box(rival());
        }
    });
    measured();
    stop.store(true, Relaxed);
    thread.join().expect("it only counts");
}

criterion_group!(benches, admit, deny, contended);
criterion_main!(benches);
