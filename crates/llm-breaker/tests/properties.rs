//! A circuit beside a naive one: a list of what happened and a loop over it.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use llm_breaker::{CircuitBreaker, CircuitBreakerConfig, CircuitState, ConfigError, Outcome, Permit};
use llm_core::{Clock, ManualClock, Tick};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Admit,
    Record(usize, u8),
    Drop(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Admit),
        5 => (any::<usize>(), 0u8..4).prop_map(|(at, how)| Step::Record(at, how)),
        1 => any::<usize>().prop_map(Step::Drop),
        2 => (0u64..200).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..300)
}

/// The rules, written down without a thought for speed.
struct Naive {
    config: CircuitBreakerConfig,
    state: CircuitState,
    epoch: u32,
    row: u32,
    out: u32,
    successes: u32,
    failures: u32,
    rounds_failed: u32,
    opened: Tick,
}

impl Naive {
    fn new(config: CircuitBreakerConfig) -> Self {
        let (state, opened) = (CircuitState::Closed, Tick::ZERO);
        Self { config, state, epoch: 0, row: 0, out: 0, successes: 0, failures: 0, rounds_failed: 0, opened }
    }

    fn go(&mut self, state: CircuitState) {
        self.state = state;
        self.epoch += 1;
        (self.row, self.out, self.successes, self.failures) = (0, 0, 0, 0);
    }

    /// `waited`: whether the real circuit, whose waits are lengthened at random, says that the wait is over.
    fn admit(&mut self, waited: bool) -> Option<u32> {
        match self.state {
            CircuitState::Closed => Some(self.epoch),
            CircuitState::Open if waited => {
                self.go(CircuitState::HalfOpen);
                self.out = 1;
                Some(self.epoch)
            }
            CircuitState::Open => None,
            CircuitState::HalfOpen => {
                let free = self.out + self.successes + self.failures < self.config.half_open_requests;
                self.out += u32::from(free);
                free.then_some(self.epoch)
            }
        }
    }

    fn record(&mut self, epoch: u32, outcome: Outcome, now: Tick) {
        if epoch != self.epoch {
            return;
        }
        match (self.state, outcome) {
            (CircuitState::Closed, Outcome::Success) => self.row = 0,
            (CircuitState::Closed, Outcome::Failure) => {
                self.row += 1;
                if self.row == self.config.failures {
                    self.rounds_failed = 0;
                    self.opened = now;
                    self.go(CircuitState::Open);
                }
            }
            (CircuitState::HalfOpen, outcome) => {
                self.out -= 1;
                self.successes += u32::from(outcome == Outcome::Success);
                self.failures += u32::from(outcome == Outcome::Failure);
                let finished = self.successes + self.failures;
                let most = f64::from(self.config.success_threshold) * (1.0 - self.config.success_share)
                    / self.config.success_share;
                if outcome == Outcome::Ignored {
                } else if f64::from(self.failures) > most + 1e-6 {
                    self.fail_round(now);
                } else if self.successes == self.config.success_threshold {
                    self.go(CircuitState::Closed);
                } else if finished == self.config.half_open_requests {
                    self.fail_round(now);
                }
            }
            _ => {}
        }
    }

    fn fail_round(&mut self, now: Tick) {
        self.rounds_failed += 1;
        self.opened = now;
        self.go(CircuitState::Open);
    }

    fn wait(&self) -> Duration {
        self.config.open_for * (1 << self.rounds_failed.min(6))
    }
}

fn config() -> impl Strategy<Value = CircuitBreakerConfig> {
    (1u32..5, 1u32..5, 0usize..4, 0u32..5).prop_map(|(failures, success_threshold, share, more)| CircuitBreakerConfig {
        failures,
        success_threshold,
        success_share: [0.3, 0.5, 0.8, 1.0][share],
        half_open_requests: success_threshold + more,
        open_for: Duration::from_secs(60),
        shadow: false,
    })
}

proptest! {
    #[test]
    fn a_circuit_does_as_the_naive_one(config in config(), steps in steps(), seed: u64) {
        let clock = ManualClock::new();
        let changes = Arc::new(Mutex::new(0u32));
        let seen = changes.clone();
        let breaker = CircuitBreaker::builder()
            .config(config.clone())
            .seed(seed)
            .clock(Arc::new(clock.clone()))
            .on_transition(move |_| *seen.lock().unwrap() += 1)
            .build();
        let mut naive = Naive::new(config);
        let mut out: Vec<(Permit, u32)> = Vec::new();
        for step in steps {
            match step {
                Step::Admit => {
                    let since = clock.now().since(naive.opened);
                    let waited = breaker.is_available(clock.now()).is_ok();
                    if naive.state == CircuitState::Open {
                        prop_assert!(!waited || since >= naive.wait(), "jitter only lengthens");
                        prop_assert!(waited || since < naive.wait().mul_f64(1.1), "by a tenth at most");
                    }
                    match (breaker.admit(clock.now()), naive.admit(waited)) {
                        (Ok(permit), Some(epoch)) => out.push((permit, epoch)),
                        (Err(_), None) => {}
                        (real, expected) => prop_assert!(false, "{real:?} instead of {expected:?}"),
                    }
                }
                Step::Record(at, how) if !out.is_empty() => {
                    let (permit, epoch) = out.swap_remove(at % out.len());
                    let outcome = [Outcome::Success, Outcome::Failure, Outcome::Failure, Outcome::Ignored][usize::from(how)];
                    permit.record(outcome, clock.now());
                    naive.record(epoch, outcome, clock.now());
                }
                Step::Drop(at) if !out.is_empty() => {
                    let (permit, epoch) = out.swap_remove(at % out.len());
                    drop(permit);
                    naive.record(epoch, Outcome::Ignored, clock.now());
                }
                Step::Wait(secs) => clock.advance(Duration::from_secs(secs)),
                Step::Record(..) | Step::Drop(_) => {}
            }
            let stats = breaker.stats(clock.now());
            prop_assert_eq!(stats.state, naive.state);
            if naive.state == CircuitState::Closed {
                prop_assert_eq!(stats.consecutive_failures, naive.row);
            } else {
                prop_assert_eq!(stats.probe_failures, naive.rounds_failed);
            }
            prop_assert_eq!(*changes.lock().unwrap(), naive.epoch, "every change is told once");
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
        for _ in 0..2 {
            breaker.admit(clock.now()).unwrap().record(Outcome::Failure, clock.now());
        }
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
    breaker.record_success();
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
    assert_eq!(of(|c| c.failures = 0), Some(ConfigError::Zero("failures")));
    assert_eq!(of(|c| c.open_for = Duration::ZERO), Some(ConfigError::NoWait));
    assert_eq!(of(|c| c.success_share = 1.5), Some(ConfigError::Share(1.5)));
    assert_eq!(of(|c| c.half_open_requests = 4), Some(ConfigError::TooFewProbes { probes: 4, needed: 5 }));
    assert_eq!(of(|_| {}), None);
}
