//! What a simulated provider counts, and the guard that counts each request's end once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llm_core::sync::Mutex;
use serde::Serialize;

/// Models counted apart; what is asked of further ones is counted together.
const MOST_MODELS: usize = 256;

/// The name under which further models are counted.
const OTHERS: &str = "(others)";

/// What was asked of a model, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SimCounts {
    /// Requests received.
    pub requests: u64,
    /// Those under way.
    pub active: u64,
    /// Those answered to the end, as scripted.
    pub completed: u64,
    /// Those refused, and those whose answer was cut off as scripted.
    pub failed: u64,
    /// Those whose caller left before the end.
    pub cancelled: u64,
    /// Input tokens of the requests answered.
    pub input_tokens: u64,
    /// Tokens said.
    pub output_tokens: u64,
}

/// The counts of a simulated provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SimStats {
    /// All requests.
    #[serde(flatten)]
    pub total: SimCounts,
    /// By model, the script in its name left out.
    pub models: BTreeMap<String, SimCounts>,
}

/// The counts, as they are kept.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    models: Mutex<BTreeMap<String, Arc<Counts>>>,
    /// The counts at the last reset.
    base: Mutex<SimStats>,
    #[cfg(feature = "sim-server")]
    changed: tokio::sync::Notify,
}

/// One model's counts since the start. They only grow.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
}

impl Ledger {
    /// The counts of `model`.
    pub(crate) fn counts(&self, model: &str) -> Arc<Counts> {
        let mut models = self.models.lock();
        let name = if models.contains_key(model) || models.len() < MOST_MODELS { model } else { OTHERS };
        if let Some(counts) = models.get(name) {
            return counts.clone();
        }
        models.entry(name.into()).or_default().clone()
    }

    /// What was counted since the last reset; `active` is what is under way, whenever it began.
    pub(crate) fn stats(&self) -> SimStats {
        let mut stats = self.raw();
        let base = self.base.lock();
        stats.total = stats.total.since(&base.total);
        for (model, counts) in &mut stats.models {
            *counts = counts.since(&base.models.get(model).copied().unwrap_or_default());
        }
        stats.models.retain(|_, counts| *counts != SimCounts::default());
        stats
    }

    /// Counts from zero again.
    pub(crate) fn reset(&self) {
        let raw = self.raw();
        *self.base.lock() = raw;
        self.tell();
    }

    fn raw(&self) -> SimStats {
        let models = self.models.lock();
        let mut stats = SimStats::default();
        for (model, counts) in models.iter() {
            let counts = counts.read();
            stats.total = stats.total.plus(&counts);
            stats.models.insert(model.clone(), counts);
        }
        stats
    }

    /// Waits until `enough` holds for the counts, and gives them.
    #[cfg(feature = "sim-server")]
    pub(crate) async fn wait(&self, enough: impl Fn(&SimStats) -> bool) -> SimStats {
        loop {
            let changed = self.changed.notified();
            let stats = self.stats();
            if enough(&stats) {
                return stats;
            }
            changed.await;
        }
    }

    fn tell(&self) {
        #[cfg(feature = "sim-server")]
        self.changed.notify_waiters();
    }
}

impl Counts {
    fn read(&self) -> SimCounts {
        // Acquire: with an end, the tokens counted before it are seen.
        let completed = self.completed.load(Ordering::Acquire);
        let failed = self.failed.load(Ordering::Acquire);
        let cancelled = self.cancelled.load(Ordering::Acquire);
        // Relaxed: read after the ends, which are published after the beginnings.
        let requests = self.requests.load(Ordering::Relaxed);
        SimCounts {
            requests,
            active: requests.saturating_sub(completed + failed + cancelled),
            completed,
            failed,
            cancelled,
            input_tokens: self.input_tokens.load(Ordering::Relaxed),
            output_tokens: self.output_tokens.load(Ordering::Relaxed),
        }
    }
}

impl SimCounts {
    fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            active: self.active + other.active,
            completed: self.completed + other.completed,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
        }
    }

    fn since(&self, base: &Self) -> Self {
        Self {
            requests: self.requests - base.requests,
            active: self.active,
            completed: self.completed - base.completed,
            failed: self.failed - base.failed,
            cancelled: self.cancelled - base.cancelled,
            input_tokens: self.input_tokens - base.input_tokens,
            output_tokens: self.output_tokens - base.output_tokens,
        }
    }
}

/// A request under way. Dropped without an end, it was cancelled.
#[must_use]
#[derive(Debug)]
pub(crate) struct InFlight {
    ledger: Arc<Ledger>,
    counts: Arc<Counts>,
    ended: bool,
}

impl InFlight {
    /// Counts a request.
    pub(crate) fn begin(ledger: &Arc<Ledger>, counts: &Arc<Counts>) -> Self {
        // Relaxed: the end that is counted later publishes it.
        counts.requests.fetch_add(1, Ordering::Relaxed);
        ledger.tell();
        Self { ledger: ledger.clone(), counts: counts.clone(), ended: false }
    }

    /// Counts what the request said and is answered.
    pub(crate) fn tokens(&self, input: u64, output: u64) {
        // Relaxed: the end that is counted later publishes them.
        self.counts.input_tokens.fetch_add(input, Ordering::Relaxed);
        self.counts.output_tokens.fetch_add(output, Ordering::Relaxed);
    }

    /// The answer was given to the end.
    pub(crate) fn complete(&mut self) {
        self.end(|counts| &counts.completed);
    }

    /// The request was refused, or its answer cut off.
    pub(crate) fn fail(&mut self) {
        self.end(|counts| &counts.failed);
    }

    fn end(&mut self, which: impl FnOnce(&Counts) -> &AtomicU64) {
        if !std::mem::replace(&mut self.ended, true) {
            // Release: publishes the beginning and the tokens counted before.
            which(&self.counts).fetch_add(1, Ordering::Release);
            self.ledger.tell();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.end(|counts| &counts.cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_ends_once() {
        let ledger = Arc::new(Ledger::default());
        let counts = ledger.counts("m");
        let mut done = InFlight::begin(&ledger, &counts);
        let mut failed = InFlight::begin(&ledger, &counts);
        let left = InFlight::begin(&ledger, &counts);
        assert_eq!(ledger.stats().total.active, 3);
        done.tokens(3, 4);
        done.complete();
        done.fail();
        failed.fail();
        drop((done, failed, left));
        let expected = SimCounts {
            requests: 3,
            active: 0,
            completed: 1,
            failed: 1,
            cancelled: 1,
            input_tokens: 3,
            output_tokens: 4,
        };
        assert_eq!(ledger.stats().total, expected);
        assert_eq!(ledger.stats().models["m"], expected);
    }

    #[test]
    fn a_reset_keeps_what_is_under_way() {
        let ledger = Arc::new(Ledger::default());
        let counts = ledger.counts("m");
        InFlight::begin(&ledger, &counts).complete();
        let mut open = InFlight::begin(&ledger, &counts);
        ledger.reset();
        assert_eq!(ledger.stats().total, SimCounts { active: 1, ..SimCounts::default() });
        open.complete();
        assert_eq!(ledger.stats().total, SimCounts { completed: 1, ..SimCounts::default() });
    }

    #[test]
    fn models_beyond_the_bound_are_counted_together() {
        let ledger = Arc::new(Ledger::default());
        for model in 0..MOST_MODELS + 50 {
            InFlight::begin(&ledger, &ledger.counts(&model.to_string())).complete();
        }
        let stats = ledger.stats();
        assert_eq!(stats.models.len(), MOST_MODELS + 1);
        assert_eq!(stats.models[OTHERS].requests, 50);
        assert_eq!(stats.total.requests, MOST_MODELS as u64 + 50);
    }
}
