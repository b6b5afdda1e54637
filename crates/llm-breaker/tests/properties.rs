//! A circuit beside a naive one: a list of what happened and a loop over it.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use llm_breaker::{
    Anomaly, CircuitBreaker, CircuitBreakerConfig, CircuitState, ConfigError, FailureRate, Outcome, Permit,
};
use llm_core::{Clock, ManualClock, Tick};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Admit,
    Record(usize, u8),
    Bare(bool),
    Drop(usize),
    Wait(u64),
    Hold(u64),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => Just(Step::Admit),
        10 => (any::<usize>(), 0u8..4).prop_map(|(at, how)| Step::Record(at, how)),
        4 => any::<bool>().prop_map(Step::Bare),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => (0u64..5_000).prop_map(Step::Wait),
        2 => (0u64..200_000).prop_map(Step::Wait),
        1 => (0u64..20_000).prop_map(Step::Hold),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec(step, 1..300)
}

/// The rules, written down without a thought for speed.
struct Naive {
    config: CircuitBreakerConfig,
    state: CircuitState,
    epoch: u32,
    row: u32,
    /// The slot and the badness of every result since it was last closed.
    results: Vec<(u128, bool)>,
    out: u32,
    successes: u32,
    failures: u32,
    rounds_failed: u32,
    opened: Tick,
    held: Tick,
    told: Vec<&'static str>,
}

impl Naive {
    fn new(config: CircuitBreakerConfig) -> Self {
        Self {
            config,
            state: CircuitState::Closed,
            epoch: 0,
            row: 0,
            results: Vec::new(),
            out: 0,
            successes: 0,
            failures: 0,
            rounds_failed: 0,
            opened: Tick::ZERO,
            held: Tick::ZERO,
            told: Vec::new(),
        }
    }

    fn go(&mut self, state: CircuitState, why: &'static str) {
        self.state = state;
        self.epoch += 1;
        self.told.push(why);
        (self.row, self.out, self.successes, self.failures) = (0, 0, 0, 0);
        self.results.clear();
    }

    /// `waited`: whether the real circuit, whose waits are lengthened at random, says that the wait is over.
    fn admit(&mut self, waited: bool, now: Tick) -> Option<u32> {
        if now < self.held {
            return None;
        }
        match self.state {
            CircuitState::Closed => Some(self.epoch),
            CircuitState::Open if waited => {
                self.go(CircuitState::HalfOpen, "probes after");
                self.out = 1;
                Some(self.epoch)
            }
            CircuitState::Open => None,
            CircuitState::HalfOpen => {
                let step = (0..self.successes).fold(1u32, |step, _| step.saturating_mul(2));
                let free = self.out < step.min(self.config.half_open_requests);
                self.out += u32::from(free);
                free.then_some(self.epoch)
            }
        }
    }

    fn record(&mut self, epoch: u32, outcome: Outcome, now: Tick) {
        if epoch != self.epoch || (outcome == Outcome::Ignored && self.state == CircuitState::Closed) {
            return;
        }
        let failed = outcome == Outcome::Failure;
        match self.state {
            CircuitState::Closed => {
                self.row = if failed { self.row + 1 } else { 0 };
                let in_a_row = failed && self.row == self.config.failures;
                let rate = self.is_bad_rate(failed, now);
                if in_a_row || rate {
                    self.rounds_failed = 0;
                    self.opened = now;
                    self.go(CircuitState::Open, if in_a_row { "failures in a row" } else { "failure rate" });
                }
            }
            CircuitState::HalfOpen => {
                self.out -= 1;
                self.successes += u32::from(outcome == Outcome::Success);
                self.failures += u32::from(failed);
                let threshold = self.config.success_threshold;
                let most = f64::from(threshold) * (1.0 - self.config.success_share) / self.config.success_share;
                if outcome == Outcome::Ignored {
                } else if self.successes == 0 || f64::from(self.failures) > most + 1e-6 {
                    self.rounds_failed += 1;
                    self.opened = now;
                    self.go(CircuitState::Open, "probes failed");
                } else if self.successes == threshold {
                    let finished = f64::from(self.successes + self.failures);
                    assert!(f64::from(self.successes) / finished >= self.config.success_share - 1e-6);
                    self.go(CircuitState::Closed, "probes succeeded");
                }
            }
            CircuitState::Open => {}
        }
    }

    fn is_bad_rate(&mut self, failed: bool, now: Tick) -> bool {
        let Some(rate) = self.config.failure_rate else { return false };
        let slot = |tick: Tick| u128::from(tick.as_nanos()) / (rate.window.as_nanos() / 6);
        self.results.push((slot(now), failed));
        let recent: Vec<_> = self.results.iter().filter(|(at, _)| at + 6 > slot(now)).collect();
        let bad = recent.iter().filter(|(_, bad)| *bad).count();
        bad > 0 && recent.len() >= rate.min_calls as usize && bad as f64 >= rate.share * recent.len() as f64
    }

    fn wait(&self) -> Duration {
        self.config.open_for * (1 << self.rounds_failed.min(6))
    }
}

fn config() -> impl Strategy<Value = CircuitBreakerConfig> {
    let rate = (1u64..20, 0usize..4, 1u32..8).prop_map(|(window, share, min_calls)| FailureRate {
        window: Duration::from_secs(window),
        share: [0.3, 0.5, 0.75, 1.0][share],
        min_calls,
    });
    (0u32..5, proptest::option::of(rate), 1u32..6, 0usize..4, 1u32..9).prop_map(
        |(failures, failure_rate, success_threshold, share, half_open_requests)| CircuitBreakerConfig {
            failures,
            failure_rate,
            anomaly: None,
            success_threshold,
            success_share: [0.3, 0.5, 0.8, 1.0][share],
            half_open_requests,
            open_for: Duration::from_secs(60),
            shadow: false,
        },
    )
}

proptest! {
    #[test]
    fn a_circuit_does_as_the_naive_one(config in config(), steps in steps(), seed: u64) {
        let clock = ManualClock::new();
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let told = reasons.clone();
        let breaker = CircuitBreaker::builder()
            .config(config.clone())
            .seed(seed)
            .clock(Arc::new(clock.clone()))
            .on_transition(move |change| told.lock().unwrap().push(change.reason.clone()))
            .build();
        let mut naive = Naive::new(config);
        let mut out: Vec<(Permit, u32)> = Vec::new();
        for step in steps {
            let now = clock.now();
            match step {
                Step::Admit => {
                    let since = now.since(naive.opened);
                    let waited = breaker.is_available(now).is_ok();
                    if naive.state == CircuitState::Open && now >= naive.held {
                        prop_assert!(!waited || since >= naive.wait(), "jitter only lengthens");
                        prop_assert!(waited || since < naive.wait().mul_f64(1.1), "by a tenth at most");
                    }
                    match (breaker.admit(now), naive.admit(waited, now)) {
                        (Ok(permit), Some(epoch)) => out.push((permit, epoch)),
                        (Err(refused), None) => {
                            prop_assert!(!waited);
                            prop_assert!(now >= naive.held || refused.retry_after == naive.held.since(now));
                        }
                        (real, expected) => prop_assert!(false, "{real:?} instead of {expected:?}"),
                    }
                }
                Step::Record(at, how) if !out.is_empty() => {
                    let (permit, epoch) = out.swap_remove(at % out.len());
                    let outcome = [Outcome::Success, Outcome::Failure, Outcome::Failure, Outcome::Ignored][usize::from(how)];
                    permit.record(outcome, now);
                    naive.record(epoch, outcome, now);
                }
                Step::Bare(good) => {
                    let closed = naive.state == CircuitState::Closed;
                    let outcome = if good { Outcome::Success } else { Outcome::Failure };
                    if good { breaker.record_success(()) } else { breaker.record_failure() }
                    naive.record(if closed { naive.epoch } else { u32::MAX }, outcome, now);
                }
                Step::Drop(at) if !out.is_empty() => {
                    let (permit, epoch) = out.swap_remove(at % out.len());
                    drop(permit);
                    naive.record(epoch, Outcome::Ignored, now);
                }
                Step::Wait(millis) => clock.advance(Duration::from_millis(millis)),
                Step::Hold(millis) => {
                    let until = now.after(Duration::from_millis(millis));
                    breaker.hold_until(until);
                    naive.held = naive.held.max(until);
                }
                Step::Reset => {
                    breaker.reset();
                    let was_closed = naive.state == CircuitState::Closed;
                    naive.go(CircuitState::Closed, "reset");
                    if was_closed {
                        naive.told.pop();
                    }
                    (naive.held, naive.rounds_failed) = (Tick::ZERO, 0);
                }
                Step::Record(..) | Step::Drop(_) => {}
            }
            let stats = breaker.stats(clock.now());
            prop_assert_eq!(stats.state, naive.state);
            match naive.state {
                CircuitState::Closed => prop_assert_eq!(stats.consecutive_failures, naive.row),
                CircuitState::HalfOpen => prop_assert_eq!(stats.consecutive_failures, naive.failures),
                CircuitState::Open => {}
            }
            if naive.state != CircuitState::Closed {
                prop_assert_eq!(stats.probe_failures, naive.rounds_failed);
            }
            prop_assert!(!stats.anomaly);
            prop_assert_eq!(stats.held_for.is_some(), clock.now() < naive.held);
            let reasons = reasons.lock().unwrap();
            prop_assert_eq!(reasons.len(), naive.told.len(), "every change is told once");
            for (reason, part) in reasons.iter().zip(&naive.told) {
                prop_assert!(reason.contains(part), "{} instead of {}", reason, part);
            }
        }
    }
}

fn tripped(adjust: impl FnOnce(&mut CircuitBreakerConfig)) -> (CircuitBreaker, ManualClock) {
    let (mut config, clock) = (CircuitBreakerConfig::default(), ManualClock::new());
    adjust(&mut config);
    let breaker = CircuitBreaker::builder().config(config).clock(Arc::new(clock.clone())).build();
    for _ in 0..5 {
        breaker.admit(clock.now()).expect("still closed").record(Outcome::Failure, clock.now());
    }
    (breaker, clock)
}

#[test]
fn each_failed_round_of_probes_doubles_the_wait_up_to_64_times() {
    let (breaker, clock) = tripped(|_| {});
    for round in 0..10u32 {
        let wait = breaker.admit(clock.now()).unwrap_err().retry_after;
        let expected = Duration::from_secs(60) * (1 << round.min(6));
        assert!(wait >= expected && wait <= expected.mul_f64(1.1), "round {round}: {wait:?}");
        clock.advance(wait);
        breaker.admit(clock.now()).unwrap().record(Outcome::Failure, clock.now());
        assert_eq!(breaker.stats(clock.now()).probe_failures, round + 1);
    }
}

#[test]
fn a_shadow_circuit_judges_and_lets_everything_pass() {
    let (breaker, clock) = tripped(|config| config.shadow = true);
    assert_eq!(breaker.state(), CircuitState::Open);
    assert!(breaker.is_available(clock.now()).is_ok());
    assert!(breaker.admit(clock.now()).is_ok());
}

#[test]
fn a_reset_closes_and_what_comes_late_is_ignored() {
    let (breaker, clock) = tripped(|_| {});
    breaker.reset();
    assert_eq!(breaker.state(), CircuitState::Closed);
    (0..4).for_each(|_| breaker.record_failure());
    breaker.record_success(());
    breaker.record_failure();
    assert_eq!(breaker.stats(clock.now()).consecutive_failures, 1);
}

#[test]
fn settings_that_contradict_each_other_are_refused_by_name() {
    let of = |adjust: fn(&mut CircuitBreakerConfig)| {
        let mut config = CircuitBreakerConfig::default();
        adjust(&mut config);
        CircuitBreaker::builder().config(config).try_build().err()
    };
    assert_eq!(of(|c| c.success_threshold = 0), Some(ConfigError::Zero("success_threshold")));
    assert_eq!(of(|c| c.open_for = Duration::ZERO), Some(ConfigError::NoWait));
    assert_eq!(of(|c| c.success_share = 1.5), Some(ConfigError::Share(1.5)));
    let of_rate = |share, millis, min_calls| {
        let rate = FailureRate { window: Duration::from_millis(millis), share, min_calls };
        CircuitBreaker::builder().failure_rate(Some(rate)).try_build().err()
    };
    assert_eq!(of_rate(0.5, 1000, 0), Some(ConfigError::Zero("failure_rate.min_calls")));
    assert_eq!(of_rate(0.0, 1000, 1), Some(ConfigError::FailureShare(0.0)));
    assert_eq!(of_rate(0.5, 0, 1), Some(ConfigError::NoWindow));
    assert_eq!(of(|c| c.anomaly = Some(Anomaly { z: 0.0, outliers: None })), Some(ConfigError::Score(0.0)));
    let none = Some(ConfigError::Zero("anomaly.outliers"));
    assert_eq!(of(|c| c.anomaly = Some(Anomaly { z: 2.5, outliers: Some(0) })), none);
    assert_eq!(of(|c| c.failures = 0), None, "it is off");
    assert_eq!(of(|_| {}), None);
}
