//! The machine: one word while all is well, a lock for the rest.
//!
//! The word says whether the circuit is closed, which generation it is in, and how many failures it has seen
//! in a row. It leaves and enters `closed` only under the lock that guards what else there is to know, so
//! whoever finds it closed needs nothing else, and whoever does not asks under the lock. A hold is beside all
//! that: it refuses and changes nothing.

use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{AtomicU64, Mutex, Ordering::Relaxed};

use crate::anomaly::{Detector, Scores};
use crate::config::CircuitBreakerConfig;
use crate::state::{Cause, Change, CircuitState, Outcome, Refused};
use crate::timing::Timing;
use crate::window::Window;

/// What the lock guards: what there is to know beyond `closed`. `anomaly` says that slowness is all there was
/// against the circuit since it was last closed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Detail {
    Closed,
    Open { since: Tick, until: Tick, trips: u32, failures: u32, anomaly: bool },
    HalfOpen { out: u32, successes: u32, failures: u32, trips: u32, anomaly: bool },
}

/// All probes are out: their results are awaited this long before asking again.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// Rounds that slow probes may fail. After them a slowness is how the other side is, and is learnt as such.
const PATIENCE: u32 = 3;

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

    /// One more failure in the row; the row ends at 2^31 − 1.
    const fn failed(self) -> Self {
        if self.0 & (CLOSED - 1) == CLOSED - 1 { self } else { Self(self.0 + 1) }
    }
}

pub(crate) struct Circuit {
    word: AtomicU64,
    /// The tick until which the circuit is held.
    held: AtomicU64,
    detail: Mutex<Detail>,
    window: Window,
    detector: Detector,
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
    pub(crate) anomaly: bool,
    pub(crate) held_for: Option<Duration>,
}

impl Circuit {
    pub(crate) fn new(config: &CircuitBreakerConfig, seed: u64) -> Self {
        Self {
            word: AtomicU64::new(Word::closed(0, 0).0),
            held: AtomicU64::new(0),
            detail: Mutex::new(Detail::Closed),
            window: Window::new(config.failure_rate.map_or(Duration::ZERO, |rate| rate.window)),
            detector: Detector::new(),
            seed,
        }
    }

    // Relaxed throughout: while closed the word is the whole state, and otherwise the lock orders it. The hold
    // publishes nothing but itself.
    fn word(&self) -> Word {
        Word(self.word.load(Relaxed))
    }

    fn swap(&self, seen: Word, next: Word) -> bool {
        self.word.compare_exchange(seen.0, next.0, Relaxed, Relaxed).is_ok()
    }

    fn hold(&self, now: Tick) -> Result<(), Refused> {
        let until = Tick::from_nanos(self.held.load(Relaxed));
        if now < until { Err(Refused { retry_after: until.since(now) }) } else { Ok(()) }
    }

    /// Refuses all until `until`. The later of two holds wins.
    pub(crate) fn hold_until(&self, until: Tick) {
        self.held.fetch_max(until.as_nanos(), Relaxed);
    }

    /// The generation that the result of a call at `now` belongs to, while the circuit is closed and not held.
    #[inline]
    pub(crate) fn free(&self, now: Tick) -> Option<u32> {
        let word = self.word();
        (word.is_closed() && now.as_nanos() >= self.held.load(Relaxed)).then(|| word.generation())
    }

    /// Admits a call at `now`: the generation that its result belongs to.
    #[cold]
    pub(crate) fn admit(&self, config: &CircuitBreakerConfig, now: Tick) -> Result<(u32, Option<Change>), Refused> {
        self.hold(now)?;
        let word = self.word();
        if word.is_closed() {
            return Ok((word.generation(), None));
        }
        let mut detail = self.detail.lock();
        passable(&detail, config, now)?;
        let generation = self.word().generation();
        match *detail {
            Detail::Closed => Ok((generation, None)),
            Detail::Open { since, trips, anomaly, .. } => {
                *detail = Detail::HalfOpen { out: 1, successes: 0, failures: 0, trips, anomaly };
                let generation = generation.wrapping_add(1);
                self.word.store(Word::tripped(generation).0, Relaxed);
                let cause = Cause::Waited(now.since(since));
                Ok((generation, Some(Change { from: CircuitState::Open, to: CircuitState::HalfOpen, cause })))
            }
            Detail::HalfOpen { ref mut out, .. } => {
                *out += 1;
                Ok((generation, None))
            }
        }
    }

    /// Whether a call would be admitted at `now`.
    pub(crate) fn available(&self, config: &CircuitBreakerConfig, now: Tick) -> Result<(), Refused> {
        self.hold(now)?;
        if self.word().is_closed() { Ok(()) } else { passable(&self.detail.lock(), config, now) }
    }

    /// Whether nothing but slowness keeps calls out at `now`.
    pub(crate) fn only_slow(&self, now: Tick) -> bool {
        self.hold(now).is_ok() && is_anomaly(&self.detail.lock())
    }

    /// Counts the result of a call of `generation`. Results of another generation are too late to count.
    #[inline]
    pub(crate) fn record(
        &self,
        config: &CircuitBreakerConfig,
        generation: u32,
        outcome: Outcome,
        timing: Option<&Timing>,
        now: Tick,
    ) -> Option<Change> {
        let row = loop {
            let word = self.word();
            if word.generation() != generation {
                return None;
            }
            if !word.is_closed() {
                return self.record_probe(config, generation, outcome, timing, now);
            }
            let next = match outcome {
                Outcome::Ignored => return None,
                Outcome::Success => Word::closed(generation, 0),
                Outcome::Failure => word.failed(),
            };
            if word == next || self.swap(word, next) {
                break next.failures();
            }
        };
        let cause = self.judge(config, outcome, row, timing, now)?;
        self.trip(config, generation, cause, now)
    }

    /// Why a closed circuit should open after a result that makes `row` failures in a row.
    #[inline]
    fn judge(
        &self,
        config: &CircuitBreakerConfig,
        outcome: Outcome,
        row: u32,
        timing: Option<&Timing>,
        now: Tick,
    ) -> Option<Cause> {
        let failed = outcome == Outcome::Failure;
        let tally = config.failure_rate.map(|rate| (rate, self.window.count(failed, now)));
        if failed && config.failures > 0 && row >= config.failures {
            return Some(Cause::Failures(row));
        }
        // Successes are judged too: one may complete the least volume.
        if let Some((rate, tally)) = tally
            && tally.bad > 0
            && tally.total >= rate.min_calls
            && f64::from(tally.bad) >= rate.share * f64::from(tally.total)
        {
            return Some(Cause::Rate { bad: tally.bad, total: tally.total, window: rate.window });
        }
        let (Some(anomaly), Some(timing), false) = (&config.anomaly, timing, failed) else { return None };
        let alarm = self.detector.observe(anomaly, timing)?;
        Some(Cause::Anomaly { metric: alarm.metric, z: alarm.z, outliers: alarm.outliers })
    }

    #[cold]
    fn trip(&self, config: &CircuitBreakerConfig, generation: u32, cause: Cause, now: Tick) -> Option<Change> {
        let mut detail = self.detail.lock();
        let tripped = Word::tripped(generation.wrapping_add(1));
        // An exchange: records go on without the lock until they see it.
        let swapped = self.word.fetch_update(Relaxed, Relaxed, |word| {
            (Word(word).is_closed() && Word(word).generation() == generation).then_some(tripped.0)
        });
        let row = Word(swapped.ok()?).failures();
        let (failures, anomaly) = match cause {
            Cause::Failures(failures) | Cause::Rate { bad: failures, .. } => (failures, false),
            _ => (row, true),
        };
        let until = now.after(config.wait(0, draw(self.seed, generation)));
        *detail = Detail::Open { since: now, until, trips: 0, failures, anomaly };
        Some(Change { from: CircuitState::Closed, to: CircuitState::Open, cause })
    }

    #[cold]
    fn record_probe(
        &self,
        config: &CircuitBreakerConfig,
        generation: u32,
        outcome: Outcome,
        timing: Option<&Timing>,
        now: Tick,
    ) -> Option<Change> {
        let mut detail = self.detail.lock();
        if self.word().generation() != generation {
            return None;
        }
        let Detail::HalfOpen { out, successes, failures, trips, anomaly } = &mut *detail else { return None };
        *out -= 1;
        // What was open for slowness is not well while its probes are slow.
        let judged = config.anomaly.as_ref().zip(timing).filter(|_| *anomaly && *trips < PATIENCE);
        match outcome {
            Outcome::Ignored => return None,
            Outcome::Success if judged.is_some_and(|(config, timing)| self.detector.outlier(config, timing)) => {
                *failures += 1;
            }
            Outcome::Success => *successes += 1,
            Outcome::Failure => (*failures, *anomaly) = (*failures + 1, false),
        }
        let (successes, failures, trips, anomaly) = (*successes, *failures, *trips, *anomaly);
        let next = generation.wrapping_add(1);
        if failures > config.tolerated() || successes == 0 {
            let trips = trips.saturating_add(1);
            let wait = config.wait(trips, draw(self.seed, generation));
            *detail = Detail::Open { since: now, until: now.after(wait), trips, failures, anomaly };
            self.word.store(Word::tripped(next).0, Relaxed);
            let cause = Cause::ProbesFailed { failures, wait };
            return Some(Change { from: CircuitState::HalfOpen, to: CircuitState::Open, cause });
        }
        // With no more failures than tolerated the successes are the share that is asked for.
        if successes >= config.success_threshold {
            if anomaly && trips >= PATIENCE {
                self.detector.forget();
            }
            self.close(&mut detail, next);
            let cause = Cause::ProbesSucceeded(successes);
            return Some(Change { from: CircuitState::HalfOpen, to: CircuitState::Closed, cause });
        }
        None
    }

    /// Closes with a clean slate, before anyone can see it closed.
    fn close(&self, detail: &mut Detail, generation: u32) {
        self.window.clear();
        self.detector.calm();
        *detail = Detail::Closed;
        // An exchange, as in tripping: a circuit that was closed is counted in meanwhile.
        self.word.swap(Word::closed(generation, 0).0, Relaxed);
    }

    /// Closes the circuit, whatever it has seen, and ends a hold.
    pub(crate) fn reset(&self) -> Option<Change> {
        let mut detail = self.detail.lock();
        let from = state_of(&detail);
        self.held.store(0, Relaxed);
        self.close(&mut detail, self.word().generation().wrapping_add(1));
        (from != CircuitState::Closed).then_some(Change { from, to: CircuitState::Closed, cause: Cause::Reset })
    }

    /// The generation that a call belongs to which has asked for no leave, while the circuit is closed.
    pub(crate) fn generation(&self) -> Option<u32> {
        let word = self.word();
        word.is_closed().then(|| word.generation())
    }

    pub(crate) fn scores(&self, timing: &Timing) -> Scores {
        self.detector.scores(timing)
    }

    pub(crate) fn look(&self, now: Tick) -> Look {
        let detail = self.detail.lock();
        let (state, anomaly) = (state_of(&detail), is_anomaly(&detail));
        let held_for = self.hold(now).err().map(|refused| refused.retry_after);
        let (failures, trips, next_probe_in) = match *detail {
            Detail::Closed => (self.word().failures(), 0, None),
            Detail::Open { until, trips, failures, .. } => (failures, trips, Some(until.since(now))),
            Detail::HalfOpen { failures, trips, .. } => (failures, trips, None),
        };
        Look { state, failures, trips, next_probe_in, anomaly, held_for }
    }
}

/// Whether a call may pass at `now`, as a probe unless the circuit is closed.
fn passable(detail: &Detail, config: &CircuitBreakerConfig, now: Tick) -> Result<(), Refused> {
    match *detail {
        Detail::Open { until, .. } if now < until => Err(Refused { retry_after: until.since(now) }),
        Detail::HalfOpen { out, successes, .. } if out >= config.probes(successes) => {
            Err(Refused { retry_after: PROBE_WAIT })
        }
        _ => Ok(()),
    }
}

const fn state_of(detail: &Detail) -> CircuitState {
    match detail {
        Detail::Closed => CircuitState::Closed,
        Detail::Open { .. } => CircuitState::Open,
        Detail::HalfOpen { .. } => CircuitState::HalfOpen,
    }
}

const fn is_anomaly(detail: &Detail) -> bool {
    matches!(detail, Detail::Open { anomaly: true, .. } | Detail::HalfOpen { anomaly: true, .. })
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
mod loom_tests;
