//! What a circuit says of its calls, beside the calls themselves.

use std::sync::Arc;
use std::time::Duration;

use llm_breaker::{CircuitBreaker, HealthMetrics, Outcome};
use llm_core::{Clock, ManualClock};
use proptest::prelude::*;

fn watched() -> (CircuitBreaker, ManualClock) {
    let clock = ManualClock::new();
    let builder = CircuitBreaker::builder().clock(Arc::new(clock.clone()));
    (builder.failure_threshold(0).failure_rate(None).anomaly(None).build(), clock)
}

/// The exact latency of the `⌈share · n⌉`th call.
fn exact(sorted: &[u64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1] as f64 / 1e6
}

fn near(found: f64, exact: f64) -> bool {
    (found - exact).abs() <= 0.03 * exact
}

proptest! {
    #[test]
    fn quantiles_are_within_three_percent(
        mut nanos in proptest::collection::vec((13u32..42, 0.0f64..1.0), 1..400)
            .prop_map(|all| all.into_iter().map(|(octave, within)| ((1u64 << octave) as f64 * (1.0 + within)) as u64).collect::<Vec<_>>()),
    ) {
        let (breaker, _) = watched();
        for &nanos in &nanos {
            breaker.record_success(Duration::from_nanos(nanos));
        }
        nanos.sort_unstable();
        let metrics = breaker.health_metrics();
        prop_assert_eq!(metrics.request_count, nanos.len() as u64);
        let found = [(0.5, metrics.p50_latency_ms), (0.95, metrics.p95_latency_ms), (0.99, metrics.p99_latency_ms)];
        for (share, found) in found {
            prop_assert!(near(found, exact(&nanos, share)), "{share}: {found} for {}", exact(&nanos, share));
        }
        let mean = nanos.iter().sum::<u64>() as f64 / nanos.len() as f64 / 1e6;
        prop_assert!(near(metrics.mean_latency_ms, mean));
    }
}

#[test]
fn latencies_are_of_the_last_minute_and_counts_of_all_time() {
    let (breaker, clock) = watched();
    breaker.record_success(1000.0);
    clock.advance(Duration::from_secs(30));
    (0..3).for_each(|_| breaker.record_success(Duration::from_millis(10)));
    breaker.record_success(());
    breaker.record_failure();
    let metrics = breaker.health_metrics();
    assert!(near(metrics.p50_latency_ms, 10.0) && near(metrics.p99_latency_ms, 1000.0), "{metrics:?}");
    clock.advance(Duration::from_secs(30));
    let metrics = breaker.health_metrics();
    assert!(near(metrics.p99_latency_ms, 10.0), "{metrics:?}");
    clock.advance(Duration::from_secs(60));
    let metrics = breaker.health_metrics();
    let counts = HealthMetrics { request_count: 6, error_count: 1, ..HealthMetrics::default() };
    assert_eq!(metrics, counts);
    assert!((metrics.error_rate() - 1.0 / 6.0).abs() < 1e-9);
    breaker.record_success(5.0);
    assert!(near(breaker.health_metrics().p50_latency_ms, 5.0), "a slot is empty when it comes round again");
}

#[test]
fn extreme_latencies_land_at_the_ends() {
    let (breaker, _) = watched();
    breaker.record_success(Duration::ZERO);
    assert!(breaker.health_metrics().p50_latency_ms < 0.01);
    let (breaker, _) = watched();
    breaker.record_success(Duration::MAX);
    assert!(breaker.health_metrics().p50_latency_ms > 8e6);
    assert_eq!(watched().0.health_metrics().error_rate(), 0.0);
}

#[test]
fn a_call_is_timed_and_seen_also_beside_an_open_circuit() {
    let clock = ManualClock::new();
    let breaker = CircuitBreaker::builder().failure_threshold(1).clock(Arc::new(clock.clone())).build();
    let (slow, hand) = (breaker.clone(), clock.clone());
    let answer = futures_util::FutureExt::now_or_never(slow.call(async move {
        hand.advance(Duration::from_millis(250));
        Ok::<_, ()>(1)
    }));
    assert_eq!(answer, Some(Ok(1)));
    assert!(near(breaker.health_metrics().mean_latency_ms, 250.0));

    let mut config = breaker.config().clone();
    config.shadow = true;
    let shadow = CircuitBreaker::builder().config(config).clock(Arc::new(clock.clone())).build();
    shadow.hold_until(clock.now().after(Duration::from_secs(9)));
    for _ in 0..3 {
        shadow.admit(clock.now()).unwrap().record(Outcome::Failure, clock.now());
    }
    assert_eq!(shadow.health_metrics().error_count, 3);
}
