//! The latest changes of circuits, for those who look at a dashboard and not at the log.

use std::collections::VecDeque;
use std::time::Duration;

use llm_core::{Clock, ModelId, ProviderId, SystemClock, Transition};
use parking_lot::Mutex;

/// Changes that are remembered at most.
const MOST: usize = 64;

/// A circuit has changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitChange {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// The provider.
    pub provider: ProviderId,
    /// The model, as the provider spells it; `*` where one circuit is for many.
    pub model: ModelId,
    /// From what to what, and why.
    pub transition: Transition,
}

/// The latest changes, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<VecDeque<CircuitChange>>);

impl Changes {
    pub(crate) fn add(&self, provider: &ProviderId, model: &ModelId, transition: &Transition) {
        let at = SystemClock::new().unix_time();
        let (provider, model, transition) = (provider.clone(), model.clone(), transition.clone());
        let mut changes = self.0.lock();
        if changes.len() == MOST {
            changes.pop_front();
        }
        changes.push_back(CircuitChange { at, provider, model, transition });
    }

    /// The changes, the latest first.
    pub(crate) fn latest(&self) -> Vec<CircuitChange> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_are_remembered_and_the_latest_comes_first() {
        let changes = Changes::default();
        for number in 0..2 * MOST {
            let transition = Transition { from: "closed", to: "open", reason: number.to_string() };
            changes.add(&"up".into(), &"m".into(), &transition);
        }
        let latest = changes.latest();
        assert_eq!(latest.len(), MOST);
        assert_eq!(latest[0].transition.reason, (2 * MOST - 1).to_string());
        assert_eq!(latest[MOST - 1].transition.reason, MOST.to_string());
    }
}
