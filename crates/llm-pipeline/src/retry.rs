//! Whether to try again, where, and after how long: one budget of attempts a request.

use std::time::Duration;

use llm_core::{Error, Tick};

/// How often and how patiently a request is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Further attempts after the first, over all candidates. Default 3.
    pub attempts: u32,
    /// The longest pause before the second attempt; doubles with each further one. Default 100 ms.
    pub base: Duration,
    /// The longest pause, and the longest `Retry-After` that is waited for. Default 5 s.
    pub max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, base: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    pub(crate) const fn start(self) -> Tries {
        Tries { policy: self, made: 0 }
    }
}

/// The attempts of one request so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    policy: RetryPolicy,
    made: u32,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask the same candidate again after the pause that it asked for.
    Same(Duration),
    /// Ask the next candidate, at once if there is one that has not failed yet, else after the pause.
    Other(Duration),
    /// Nothing more will help: pass the error on.
    Done,
}

impl Tries {
    /// Attempts made.
    pub(crate) const fn made(&self) -> u32 {
        self.made
    }

    /// Counts an attempt.
    pub(crate) const fn begin(&mut self) {
        self.made += 1;
    }

    /// Whether another attempt may be made at `now`.
    pub(crate) fn may_go_on(&self, now: Tick, deadline: Option<Tick>) -> bool {
        self.made <= self.policy.attempts && deadline.is_none_or(|deadline| now < deadline)
    }

    /// After `error` of the latest attempt. `fresh` says whether a candidate is left that has not been asked;
    /// `draw` is uniform in 0..1.
    ///
    /// `pause = draw · min(max, base · 2^(made − 1))` (full jitter).
    pub(crate) fn after(&self, error: &Error, fresh: bool, now: Tick, deadline: Option<Tick>, draw: f64) -> Next {
        if !error.retryable() || !self.may_go_on(now, deadline) {
            return Next::Done;
        }
        let next = match error.retry_after() {
            Some(wait) if wait <= self.policy.max => Next::Same(wait),
            Some(_) if fresh => Next::Other(Duration::ZERO),
            Some(_) => Next::Done,
            None if fresh => Next::Other(Duration::ZERO),
            None => Next::Other(self.backoff().mul_f64(draw)),
        };
        let (Next::Same(pause) | Next::Other(pause)) = next else { return next };
        if deadline.is_some_and(|deadline| now.after(pause) >= deadline) { Next::Done } else { next }
    }

    fn backoff(&self) -> Duration {
        let doublings = self.made.saturating_sub(1).min(31);
        self.policy.base.saturating_mul(1 << doublings).min(self.policy.max)
    }
}

#[cfg(test)]
mod tests {
    use llm_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn failed() -> Error {
        Error::new(ErrorKind::Upstream, "failed").with_upstream(503, None)
    }

    fn after_attempts(made: u32, error: &Error, fresh: bool) -> Next {
        let mut tries = RetryPolicy::default().start();
        (0..made).for_each(|_| tries.begin());
        tries.after(error, fresh, Tick::ZERO, None, 0.5)
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<_> = (1..=3).map(|made| after_attempts(made, &failed(), false)).collect();
        let expected = [50, 100, 200].map(|ms| Next::Other(Duration::from_millis(ms)));
        assert_eq!(pauses, expected);
    }

    #[test]
    fn the_fourth_attempt_is_the_last() {
        assert_ne!(after_attempts(3, &failed(), true), Next::Done);
        assert_eq!(after_attempts(4, &failed(), true), Next::Done);
    }

    #[test]
    fn a_fresh_candidate_is_asked_at_once() {
        assert_eq!(after_attempts(1, &failed(), true), Next::Other(Duration::ZERO));
    }

    #[test]
    fn a_short_retry_after_is_waited_for_and_a_long_one_is_not() {
        let slow_down = |secs| failed().with_retry_after(Duration::from_secs(secs));
        assert_eq!(after_attempts(1, &slow_down(5), true), Next::Same(Duration::from_secs(5)));
        assert_eq!(after_attempts(1, &slow_down(6), true), Next::Other(Duration::ZERO));
        assert_eq!(after_attempts(1, &slow_down(6), false), Next::Done);
    }

    #[test]
    fn a_callers_mistake_is_not_repeated() {
        assert_eq!(after_attempts(1, &Error::new(ErrorKind::InvalidRequest, "bad"), true), Next::Done);
    }

    proptest! {
        #[test]
        fn no_pause_reaches_the_deadline(
            made in 1u32..4, wait in proptest::option::of(0u64..10_000), left in 0u64..10_000, draw in 0.0..1.0f64,
        ) {
            let mut tries = RetryPolicy::default().start();
            (0..made).for_each(|_| tries.begin());
            let error = wait.map_or_else(failed, |ms| failed().with_retry_after(Duration::from_millis(ms)));
            let deadline = Tick::ZERO.after(Duration::from_millis(left));
            match tries.after(&error, false, Tick::ZERO, Some(deadline), draw) {
                Next::Done => {}
                Next::Same(pause) | Next::Other(pause) => prop_assert!(Tick::ZERO.after(pause) < deadline),
            }
        }
    }
}
