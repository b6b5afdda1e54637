//! The machine: one word while all is well, a lock for the rest.
//!
//! The word says whether the circuit is closed, which generation it is in, and how many failures it has seen
//! in a row. It leaves and enters `closed` only under the lock that guards what else there is to know, so
//! whoever finds it closed needs nothing else, and whoever does not asks under the lock.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{AtomicU64, Mutex, Ordering::Relaxed};
use serde::Serialize;

use crate::config::CircuitBreakerConfig;

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum CircuitState {
    /// All calls pass.
    Closed,
    /// No call passes.
    Open,
    /// A few calls pass, to see.
    HalfOpen,
}

impl CircuitState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// How a call ended, as far as its circuit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The other side did its work.
    Success,
    /// The other side failed, or the way to it did.
    Failure,
    /// Nothing was learnt of the other side: a caller's mistake, or a caller that left.
    Ignored,
}

/// The circuit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit is open for another {retry_after:?}")]
pub struct Refused {
    /// After how long a probe may pass.
    pub retry_after: Duration,
}

/// A change of state and its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: CircuitState,
    pub(crate) to: CircuitState,
    pub(crate) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Failures(u32),
    Waited(Duration),
    ProbesFailed { failures: u32, wait: Duration },
    ProbesSucceeded(u32),
    Reset,
}

/// What the lock guards: what there is to know beyond `closed`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Detail {
    Closed,
    Open { since: Tick, until: Tick, trips: u32 },
    HalfOpen { out: u32, successes: u32, failures: u32, trips: u32 },
}

/// All probes are out: their results are awaited this long before asking again.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// The word: `generation:32 | closed:1 | failures:31`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

const CLOSED: u64 = 1 << 31;

impl Word {
    const fn closed(generation: u32, failures: u32) -> Self {
        Self((generation as u64) << 32 | CLOSED | failures as u64)
    }

    const fn tripped(generation: u32) -> Self {
        Self((generation as u64) << 32)
    }

    const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn failures(self) -> u32 {
        (self.0 & (CLOSED - 1)) as u32
    }
}

pub(crate) struct Circuit {
    word: AtomicU64,
    detail: Mutex<Detail>,
    /// Where the lengthening of the waits begins its course.
    seed: u64,
}

/// What a look at the circuit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) state: CircuitState,
    pub(crate) failures: u32,
    pub(crate) trips: u32,
    pub(crate) next_probe_in: Option<Duration>,
}

impl Circuit {
    pub(crate) fn new(seed: u64) -> Self {
        Self { word: AtomicU64::new(Word::closed(0, 0).0), detail: Mutex::new(Detail::Closed), seed }
    }

    // Relaxed throughout: while closed the word is the whole state, and otherwise the lock orders it.
    fn word(&self) -> Word {
        Word(self.word.load(Relaxed))
    }

    fn swap(&self, seen: Word, next: Word) -> bool {
        self.word.compare_exchange(seen.0, next.0, Relaxed, Relaxed).is_ok()
    }

    /// Admits a call at `now`: the generation that its result belongs to.
    pub(crate) fn admit(&self, config: &CircuitBreakerConfig, now: Tick) -> Result<(u32, Option<Change>), Refused> {
        let word = self.word();
        if word.is_closed() {
            return Ok((word.generation(), None));
        }
        let mut detail = self.detail.lock();
        let word = self.word();
        match *detail {
            Detail::Closed => Ok((word.generation(), None)),
            Detail::Open { until, .. } if now < until => Err(Refused { retry_after: until.since(now) }),
            Detail::Open { since, trips, .. } => {
                *detail = Detail::HalfOpen { out: 1, successes: 0, failures: 0, trips };
                let generation = word.generation().wrapping_add(1);
                self.word.store(Word::tripped(generation).0, Relaxed);
                let cause = Cause::Waited(now.since(since));
                Ok((generation, Some(Change { from: CircuitState::Open, to: CircuitState::HalfOpen, cause })))
            }
            Detail::HalfOpen { ref mut out, successes, failures, .. } => {
                if *out + successes + failures >= config.half_open_requests {
                    return Err(Refused { retry_after: PROBE_WAIT });
                }
                *out += 1;
                Ok((word.generation(), None))
            }
        }
    }

    /// Whether a call would be admitted at `now`.
    pub(crate) fn available(&self, config: &CircuitBreakerConfig, now: Tick) -> Result<(), Refused> {
        if self.word().is_closed() {
            return Ok(());
        }
        match *self.detail.lock() {
            Detail::Open { until, .. } if now < until => Err(Refused { retry_after: until.since(now) }),
            Detail::HalfOpen { out, successes, failures, .. }
                if out + successes + failures >= config.half_open_requests =>
            {
                Err(Refused { retry_after: PROBE_WAIT })
            }
            _ => Ok(()),
        }
    }

    /// Counts the result of a call of `generation`. Results of another generation are too late to count.
    pub(crate) fn record(
        &self,
        config: &CircuitBreakerConfig,
        generation: u32,
        outcome: Outcome,
        now: Tick,
    ) -> Option<Change> {
        loop {
            let word = self.word();
            if word.generation() != generation {
                return None;
            }
            if !word.is_closed() {
                return self.record_probe(config, generation, outcome, now);
            }
            let counted = match outcome {
                Outcome::Ignored => return None,
                Outcome::Success if word.failures() == 0 => return None,
                Outcome::Success => self.swap(word, Word::closed(generation, 0)),
                Outcome::Failure if word.failures() + 1 < config.failures => {
                    self.swap(word, Word::closed(generation, word.failures() + 1))
                }
                Outcome::Failure => {
                    let mut detail = self.detail.lock();
                    let tripped = self.swap(word, Word::tripped(generation.wrapping_add(1)));
                    if tripped {
                        let wait = config.wait(0, draw(self.seed, generation));
                        *detail = Detail::Open { since: now, until: now.after(wait), trips: 0 };
                        let cause = Cause::Failures(word.failures() + 1);
                        return Some(Change { from: CircuitState::Closed, to: CircuitState::Open, cause });
                    }
                    tripped
                }
            };
            if counted {
                return None;
            }
        }
    }

    fn record_probe(
        &self,
        config: &CircuitBreakerConfig,
        generation: u32,
        outcome: Outcome,
        now: Tick,
    ) -> Option<Change> {
        let mut detail = self.detail.lock();
        if self.word().generation() != generation {
            return None;
        }
        let Detail::HalfOpen { out, successes, failures, trips } = &mut *detail else { return None };
        *out -= 1;
        match outcome {
            Outcome::Ignored => return None,
            Outcome::Success => *successes += 1,
            Outcome::Failure => *failures += 1,
        }
        let (successes, failures, trips) = (*successes, *failures, *trips);
        let next = generation.wrapping_add(1);
        if failures <= config.tolerated() && successes >= config.success_threshold {
            *detail = Detail::Closed;
            self.word.store(Word::closed(next, 0).0, Relaxed);
            let cause = Cause::ProbesSucceeded(successes);
            return Some(Change { from: CircuitState::HalfOpen, to: CircuitState::Closed, cause });
        }
        // A round that has used up its probes undecided has failed too.
        if failures > config.tolerated() || successes + failures >= config.half_open_requests {
            let wait = config.wait(trips + 1, draw(self.seed, generation));
            *detail = Detail::Open { since: now, until: now.after(wait), trips: trips + 1 };
            self.word.store(Word::tripped(next).0, Relaxed);
            let cause = Cause::ProbesFailed { failures, wait };
            return Some(Change { from: CircuitState::HalfOpen, to: CircuitState::Open, cause });
        }
        None
    }

    /// Closes the circuit, whatever it has seen.
    pub(crate) fn reset(&self) -> Option<Change> {
        let mut detail = self.detail.lock();
        let from = state_of(&detail);
        *detail = Detail::Closed;
        let generation = self.word().generation().wrapping_add(1);
        self.word.store(Word::closed(generation, 0).0, Relaxed);
        (from != CircuitState::Closed).then_some(Change { from, to: CircuitState::Closed, cause: Cause::Reset })
    }

    pub(crate) fn generation(&self) -> u32 {
        self.word().generation()
    }

    pub(crate) fn look(&self, config: &CircuitBreakerConfig, now: Tick) -> Look {
        let detail = self.detail.lock();
        let word = self.word();
        let state = state_of(&detail);
        match *detail {
            Detail::Closed => Look { state, failures: word.failures(), trips: 0, next_probe_in: None },
            Detail::Open { until, trips, .. } => {
                let failures = if trips == 0 { config.failures } else { config.tolerated() + 1 };
                Look { state, failures, trips, next_probe_in: Some(until.since(now)) }
            }
            Detail::HalfOpen { failures, trips, .. } => Look { state, failures, trips, next_probe_in: None },
        }
    }
}

const fn state_of(detail: &Detail) -> CircuitState {
    match detail {
        Detail::Closed => CircuitState::Closed,
        Detail::Open { .. } => CircuitState::Open,
        Detail::HalfOpen { .. } => CircuitState::HalfOpen,
    }
}

/// A number in 0..1 that looks random and repeats: SplitMix64 of both.
fn draw(seed: u64, generation: u32) -> f64 {
    let mut z = seed.wrapping_add(u64::from(generation).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;

    fn setup(failures: u32, probes: u32) -> (Arc<Circuit>, Arc<CircuitBreakerConfig>) {
        let config = CircuitBreakerConfig {
            failures,
            success_threshold: 1,
            success_share: 1.0,
            half_open_requests: probes,
            ..CircuitBreakerConfig::default()
        };
        (Arc::new(Circuit::new(1)), Arc::new(config))
    }

    const NOW: Tick = Tick::from_nanos(1_000_000_000);
    const LATER: Tick = Tick::from_nanos(1_000_000_000_000);

    fn trip(circuit: &Circuit, config: &CircuitBreakerConfig) -> u32 {
        let (generation, _) = circuit.admit(config, NOW).unwrap();
        circuit.record(config, generation, Outcome::Failure, NOW);
        generation
    }

    #[test]
    fn half_open_admits_no_more_calls_than_it_has_probes() {
        loom::model(|| {
            let (circuit, config) = setup(1, 1);
            trip(&circuit, &config);
            let other = {
                let (circuit, config) = (circuit.clone(), config.clone());
                loom::thread::spawn(move || circuit.admit(&config, LATER).is_ok())
            };
            let mine = circuit.admit(&config, LATER).is_ok();
            assert!(mine != other.join().unwrap(), "exactly one of the two is the probe");
        });
    }

    #[test]
    fn a_late_success_does_not_close_a_circuit_opened_since() {
        loom::model(|| {
            let (circuit, config) = setup(1, 1);
            let (early, _) = circuit.admit(&config, NOW).unwrap();
            let other = {
                let (circuit, config) = (circuit.clone(), config.clone());
                loom::thread::spawn(move || {
                    trip(&circuit, &config);
                    circuit.admit(&config, LATER).unwrap();
                })
            };
            circuit.record(&config, early, Outcome::Success, NOW);
            other.join().unwrap();
            assert_eq!(circuit.look(&config, LATER).state, CircuitState::HalfOpen);
        });
    }

    #[test]
    fn a_late_probe_does_not_count_in_the_next_round() {
        const LATEST: Tick = Tick::from_nanos(1_000_000_000_000_000);
        loom::model(|| {
            let (circuit, mut config) = setup(1, 2);
            Arc::get_mut(&mut config).unwrap().success_threshold = 2;
            trip(&circuit, &config);
            let (one, _) = circuit.admit(&config, LATER).unwrap();
            let (two, _) = circuit.admit(&config, LATER).unwrap();
            let other = {
                let (circuit, config) = (circuit.clone(), config.clone());
                loom::thread::spawn(move || {
                    circuit.record(&config, one, Outcome::Failure, LATER);
                    circuit.admit(&config, LATEST).unwrap().0
                })
            };
            circuit.record(&config, two, Outcome::Success, LATER);
            let next = other.join().unwrap();
            circuit.record(&config, next, Outcome::Success, LATEST);
            assert_eq!(circuit.look(&config, LATEST).state, CircuitState::HalfOpen, "one success of two");
        });
    }

    #[test]
    fn a_probe_that_is_dropped_frees_its_place_for_another_thread() {
        loom::model(|| {
            let (circuit, config) = setup(1, 1);
            trip(&circuit, &config);
            let (probe, _) = circuit.admit(&config, LATER).unwrap();
            let other = {
                let (circuit, config) = (circuit.clone(), config.clone());
                loom::thread::spawn(move || circuit.admit(&config, LATER).is_ok())
            };
            circuit.record(&config, probe, Outcome::Ignored, LATER);
            let theirs = other.join().unwrap();
            assert!(theirs != circuit.admit(&config, LATER).is_ok(), "the place is there once");
        });
    }

    #[test]
    fn of_two_failures_at_the_threshold_one_opens_the_circuit() {
        loom::model(|| {
            let (circuit, config) = setup(2, 1);
            let fail = |circuit: &Circuit, config: &CircuitBreakerConfig| {
                circuit.record(config, 0, Outcome::Failure, NOW).is_some()
            };
            let other = {
                let (circuit, config) = (circuit.clone(), config.clone());
                loom::thread::spawn(move || fail(&circuit, &config))
            };
            let mine = fail(&circuit, &config);
            assert!(mine != other.join().unwrap());
            assert_eq!(circuit.look(&config, NOW).state, CircuitState::Open);
        });
    }
}
