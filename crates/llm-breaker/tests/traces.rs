//! Circuits on made-up traffic: what must not open them, and how soon the rest does.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use llm_breaker::{Anomaly, CircuitBreaker, CircuitBreakerConfig, CircuitState, Outcome, Timing};
use llm_core::{Clock, ManualClock};

/// Healthy traffic, the same for the same seed: log-normal times, some of them stretched by a Pareto tail.
struct Traffic {
    state: u64,
}

impl Traffic {
    const fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// Uniform in 0..1, by xorshift64*.
    fn uniform(&mut self) -> f64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        ((self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Log-normal about `median`, `sigma` in natural logarithms; one in `tail` is a Pareto variable of index 1.2
    /// times that.
    fn heavy(&mut self, median: f64, sigma: f64, tail: f64) -> f64 {
        let body = median * (sigma * self.normal()).exp();
        if self.uniform() < tail { body * self.uniform().powf(-1.0 / 1.2) } else { body }
    }

    /// A streamed response, its token gaps `slow` times as long as usual.
    fn response(&mut self, slow: f64) -> Timing {
        let first = self.heavy(0.3, 0.5, 0.03);
        let gap = self.heavy(0.02, 0.35, 0.03) * slow;
        let tokens = self.heavy(200.0, 0.8, 0.01);
        let span = |secs: f64| Duration::from_secs_f64(secs.min(3600.0));
        Timing { latency: span(first + gap * tokens), first_token: Some(span(first)), token_gap: Some(span(gap)) }
    }
}

/// A circuit, its clock, and why it changed.
struct Bench {
    breaker: CircuitBreaker,
    clock: ManualClock,
    reasons: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new(config: CircuitBreakerConfig) -> Self {
        let (clock, reasons) = (ManualClock::new(), Arc::new(Mutex::new(Vec::new())));
        let told = reasons.clone();
        let breaker = CircuitBreaker::builder()
            .config(config)
            .clock(Arc::new(clock.clone()))
            .seed(1)
            .on_transition(move |change| told.lock().unwrap().push(change.reason.clone()))
            .build();
        Self { breaker, clock, reasons }
    }

    /// A call that is let pass; false when it is not.
    fn call(&self, outcome: Outcome, timing: Timing) -> bool {
        self.clock.advance(Duration::from_millis(20));
        let Ok(permit) = self.breaker.admit(self.clock.now()) else { return false };
        permit.record_timed(outcome, timing, self.clock.now());
        true
    }

    fn learn(&self, traffic: &mut Traffic, calls: usize) {
        for _ in 0..calls {
            assert!(self.call(Outcome::Success, traffic.response(1.0)), "{:?}", self.reasons.lock().unwrap());
        }
    }

    /// Calls until it opens.
    fn until_open(&self, most: usize, mut timing: impl FnMut(usize) -> (Outcome, Timing)) -> Option<usize> {
        (0..most).find(|&at| {
            let (outcome, timing) = timing(at);
            self.call(outcome, timing);
            self.breaker.state() != CircuitState::Closed
        })
    }

    fn wait(&self) {
        let wait = self.breaker.stats(self.clock.now()).next_probe_in.unwrap();
        self.clock.advance(wait);
    }
}

fn millis(millis: u64) -> Timing {
    Duration::from_millis(millis).into()
}

#[test]
fn a_million_healthy_calls_open_it_once_at_most() {
    let (mut traffic, bench) = (Traffic::new(7), Bench::new(CircuitBreakerConfig::production()));
    for _ in 0..1_000_000 {
        let outcome = match traffic.uniform() {
            u if u < 0.01 => Outcome::Failure,
            u if u < 0.04 => Outcome::Ignored,
            _ => Outcome::Success,
        };
        if !bench.call(outcome, traffic.response(1.0)) {
            bench.breaker.reset();
        }
    }
    let reasons = bench.reasons.lock().unwrap();
    assert!(reasons.iter().filter(|reason| *reason != "reset").count() <= 1, "{reasons:?}");
}

#[test]
fn token_gaps_three_times_as_long_are_found_within_200_calls() {
    for seed in 1..=20 {
        let (mut traffic, bench) = (Traffic::new(seed), Bench::new(CircuitBreakerConfig::production()));
        bench.learn(&mut traffic, 2000);
        let found = bench.until_open(200, |_| (Outcome::Success, traffic.response(3.0)));
        assert!(found.is_some(), "seed {seed}");
        let stats = bench.breaker.stats(bench.clock.now());
        assert!(stats.anomaly && stats.consecutive_failures == 0);
        let reasons = bench.reasons.lock().unwrap();
        assert!(reasons[0].starts_with("anomaly: token gap ") || reasons[0].starts_with("anomaly: latency "));
    }
}

#[test]
fn failures_of_every_second_call_are_found_within_20() {
    for first in [0, 1] {
        let bench = Bench::new(CircuitBreakerConfig::production());
        for _ in 0..100 {
            bench.call(Outcome::Success, millis(100));
        }
        // What went well a while ago does not water it down.
        bench.clock.advance(Duration::from_secs(30));
        let found =
            bench.until_open(20, |at| (if at % 2 == first { Outcome::Failure } else { Outcome::Success }, millis(100)));
        assert_eq!(found, Some(19));
        assert_eq!(*bench.reasons.lock().unwrap(), ["failure rate 10 of 20 in 30s"]);
        assert!(bench.breaker.admit_anyway(bench.clock.now()).is_err(), "failures opened it");
    }
}

#[test]
fn calls_that_tell_nothing_change_nothing() {
    let (mut traffic, bench) = (Traffic::new(3), Bench::new(CircuitBreakerConfig::aggressive()));
    for _ in 0..10_000 {
        assert!(bench.call(Outcome::Ignored, traffic.response(50.0)));
    }
    assert_eq!(bench.breaker.health_metrics().request_count, 0);
}

#[test]
fn one_answer_of_five_seconds_stands_out_and_opens_nothing() {
    let bench = Bench::new(CircuitBreakerConfig::production());
    let mut traffic = Traffic::new(5);
    for _ in 0..500 {
        bench.call(Outcome::Success, Duration::from_secs_f64(traffic.heavy(0.1, 0.2, 0.0)).into());
    }
    let slow = bench.breaker.scores(&millis(5000)).latency.unwrap();
    let usual = bench.breaker.scores(&millis(100)).latency.unwrap();
    assert!(slow > 10.0 && usual.abs() < 1.0, "{slow} beside {usual}");
    assert!(bench.call(Outcome::Success, millis(5000)));
    assert_eq!(bench.breaker.state(), CircuitState::Closed);
    let after = bench.breaker.scores(&millis(5000)).latency.unwrap();
    assert!((slow - after).abs() < 0.5, "it has moved the baseline: {slow}, then {after}");

    let eager = Bench::new(CircuitBreakerConfig {
        anomaly: Some(Anomaly { outliers: Some(1), ..Anomaly::default() }),
        ..CircuitBreakerConfig::default()
    });
    for _ in 0..100 {
        eager.call(Outcome::Success, millis(100));
    }
    eager.call(Outcome::Success, millis(5000));
    assert_eq!(eager.breaker.state(), CircuitState::Open, "where one outlier is enough");
}

#[test]
fn a_slow_drift_is_learnt() {
    let (mut traffic, bench) = (Traffic::new(11), Bench::new(CircuitBreakerConfig::production()));
    for at in 0..50_000 {
        assert!(bench.call(Outcome::Success, traffic.response(1.0 + f64::from(at) / 25_000.0)), "{at}");
    }
}

#[test]
fn a_slow_circuit_can_be_used_all_the_same_and_a_held_one_cannot() {
    let bench = Bench::new(CircuitBreakerConfig::production());
    (0..100).for_each(|_| assert!(bench.call(Outcome::Success, millis(100))));
    bench.until_open(100, |_| (Outcome::Success, millis(500))).unwrap();
    let (breaker, now) = (&bench.breaker, bench.clock.now());
    assert!(breaker.admit(now).is_err());
    for _ in 0..30 {
        breaker.admit_anyway(now).unwrap().record(Outcome::Failure, now);
    }
    let stats = breaker.stats(now);
    assert!(stats.anomaly && stats.state == CircuitState::Open && stats.probe_failures == 0);
    breaker.hold_until(now.after(Duration::from_secs(5)));
    assert_eq!(breaker.admit_anyway(now).unwrap_err().retry_after, Duration::from_secs(5));
}

#[test]
fn a_probe_that_is_still_slow_fails_its_round() {
    let bench = Bench::new(CircuitBreakerConfig::production());
    (0..100).for_each(|_| assert!(bench.call(Outcome::Success, millis(100))));
    bench.until_open(100, |_| (Outcome::Success, millis(500))).unwrap();
    bench.wait();
    assert!(bench.call(Outcome::Success, millis(500)));
    let stats = bench.breaker.stats(bench.clock.now());
    assert_eq!((stats.state, stats.probe_failures, stats.anomaly), (CircuitState::Open, 1, true));
    bench.wait();
    (0..5).for_each(|_| assert!(bench.call(Outcome::Success, millis(100))));
    assert_eq!(bench.breaker.state(), CircuitState::Closed);
    let found = bench.until_open(100, |_| (Outcome::Success, millis(500)));
    assert!(found.is_some(), "the incident has not become the norm");
}

#[test]
fn a_failed_probe_makes_more_than_slowness_of_it() {
    let bench = Bench::new(CircuitBreakerConfig::production());
    (0..100).for_each(|_| assert!(bench.call(Outcome::Success, millis(100))));
    bench.until_open(100, |_| (Outcome::Success, millis(500))).unwrap();
    bench.wait();
    assert!(bench.call(Outcome::Failure, millis(1)));
    assert!(!bench.breaker.stats(bench.clock.now()).anomaly);
    assert!(bench.breaker.admit_anyway(bench.clock.now()).is_err());
}

#[test]
fn what_stays_slow_becomes_the_norm() {
    let bench = Bench::new(CircuitBreakerConfig::production());
    (0..100).for_each(|_| assert!(bench.call(Outcome::Success, millis(100))));
    bench.until_open(100, |_| (Outcome::Success, millis(500))).unwrap();
    for round in 1..=3 {
        bench.wait();
        assert!(bench.call(Outcome::Success, millis(500)));
        assert_eq!(bench.breaker.stats(bench.clock.now()).probe_failures, round);
    }
    bench.wait();
    for at in 0..1000 {
        assert!(bench.call(Outcome::Success, millis(500)), "{at}");
    }
    assert_eq!(bench.breaker.state(), CircuitState::Closed);
}

#[test]
fn an_open_circuit_is_not_opened_by_what_it_saw_before() {
    let bench = Bench::new(CircuitBreakerConfig { failures: 0, ..CircuitBreakerConfig::default() });
    let found = bench.until_open(40, |at| (if at < 10 { Outcome::Success } else { Outcome::Failure }, millis(9)));
    assert_eq!(found, Some(19));
    bench.breaker.reset();
    assert!(bench.call(Outcome::Failure, millis(9)));
    assert_eq!(bench.breaker.state(), CircuitState::Closed, "a reset has emptied the window");
}
