//! A budget of tokens: so many a request, so many a period.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use llm_core::sync::Mutex;
use llm_core::{Clock, SystemClock, estimate_tokens};

use crate::config::ConfigError;
use crate::period::{Period, Short, Window};

/// How many tokens may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBudgetConfig {
    /// Tokens a request, at least 1. Default 4,096.
    pub max_tokens_per_request: u64,
    /// Tokens a period, at least 1. Default 100,000.
    pub max_tokens_per_period: u64,
    /// The period, which begins with its first reservation. Default an hour.
    pub period: Duration,
}

impl Default for TokenBudgetConfig {
    fn default() -> Self {
        Self { max_tokens_per_request: 4096, max_tokens_per_period: 100_000, period: Duration::from_secs(3600) }
    }
}

/// A budget of tokens. Cheap to clone; clones share it. What is reserved before a call is replaced by what it used.
///
/// # Example
/// ```
/// use llm_ratelimit::{Budget, TokenBudgetConfig};
///
/// let budget = Budget::new(TokenBudgetConfig::default());
/// let estimated = budget.check("What is 2+2?")?;
/// assert_eq!(estimated.to_string(), "3");
/// budget.release(estimated, 20);
/// assert_eq!(budget.remaining(), 100_000 - 20);
/// # Ok::<(), llm_ratelimit::OverBudget>(())
/// ```
#[derive(Clone)]
pub struct Budget {
    inner: Arc<Inner>,
}

struct Inner {
    config: TokenBudgetConfig,
    period: Mutex<Period>,
    /// None: the machine's clock.
    clock: Option<Arc<dyn Clock>>,
}

/// Tokens set aside for a call. It remembers its period: what is released after that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a reservation that is not released stays spent"]
pub struct Reservation {
    tokens: u64,
    window: Window,
}

impl Reservation {
    /// The tokens set aside.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        self.tokens
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.fmt(f)
    }
}

/// A call does not fit the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverBudget {
    /// More tokens than one request may use.
    #[error("{tokens} tokens asked, a request may use {most}")]
    Request {
        /// The tokens asked.
        tokens: u64,
        /// The tokens that a request may use.
        most: u64,
    },
    /// More tokens than the period has left.
    #[error("{tokens} tokens asked, the period has {left} left")]
    Period {
        /// The tokens asked.
        tokens: u64,
        /// The tokens that are left.
        left: u64,
        /// The wait until the next period; none when the period never holds as many.
        wait: Option<Duration>,
    },
}

impl Budget {
    /// An unused budget, by the machine's clock.
    ///
    /// # Panics
    /// When `config` is no budget; [`try_new`](Self::try_new) says so instead.
    #[must_use]
    pub fn new(config: TokenBudgetConfig) -> Self {
        match Self::try_new(config) {
            Ok(budget) => budget,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`new`](Self::new), without the panic.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    pub fn try_new(config: TokenBudgetConfig) -> Result<Self, ConfigError> {
        let counts = [
            ("max_tokens_per_request", config.max_tokens_per_request),
            ("max_tokens_per_period", config.max_tokens_per_period),
        ];
        if let Some((key, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::value(key, "at least 1 is needed"));
        }
        if config.period.is_zero() {
            return Err(ConfigError::value("period", "a period above zero is needed"));
        }
        Ok(Self { inner: Arc::new(Inner { config, period: Mutex::new(Period::default()), clock: None }) })
    }

    /// The same budget on `clock`, unused.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        let (config, period) = (self.inner.config, Mutex::new(Period::default()));
        Self { inner: Arc::new(Inner { config, period, clock: Some(clock) }) }
    }

    /// Reserves what `prompt` is estimated at: a token for each four bytes, rounded up.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn check(&self, prompt: &str) -> Result<Reservation, OverBudget> {
        self.reserve(estimate_tokens(prompt))
    }

    /// Reserves `tokens`.
    ///
    /// # Errors
    /// [`OverBudget`] says which cap it is; then nothing was reserved.
    pub fn reserve(&self, tokens: u64) -> Result<Reservation, OverBudget> {
        let TokenBudgetConfig { max_tokens_per_request: most, max_tokens_per_period: cap, period } = self.inner.config;
        if tokens > most {
            return Err(OverBudget::Request { tokens, most });
        }
        match self.inner.period.lock().reserve(cap, period, tokens, self.now()) {
            Ok(window) => Ok(Reservation { tokens, window }),
            Err(Short { left, wait }) => Err(OverBudget::Period { tokens, left, wait }),
        }
    }

    /// Replaces what was reserved by the `actual` tokens: a surplus is credited, an excess charged. Once for each
    /// reservation.
    pub fn release(&self, reservation: Reservation, actual: u64) {
        let Reservation { tokens, window } = reservation;
        let now = self.now();
        self.inner.period.lock().settle(window, tokens, actual, self.inner.config.period, now);
    }

    /// Tokens that the period has left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let TokenBudgetConfig { max_tokens_per_period, period, .. } = self.inner.config;
        let now = self.now();
        self.inner.period.lock().left(max_tokens_per_period, period, now).0
    }

    fn now(&self) -> llm_core::Tick {
        self.inner.clock.as_ref().map_or_else(|| SystemClock::new().now(), |clock| clock.now())
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use llm_core::ManualClock;

    use super::*;

    fn budget() -> (Budget, ManualClock) {
        let clock = ManualClock::new();
        (Budget::new(TokenBudgetConfig::default()).with_clock(Arc::new(clock.clone())), clock)
    }

    #[test]
    fn an_estimate_is_a_quarter_of_the_bytes_rounded_up() {
        let (budget, _) = budget();
        for (prompt, tokens) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("éé", 1)] {
            assert_eq!(budget.check(prompt).unwrap().tokens(), tokens, "{prompt}");
        }
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let documented = TokenBudgetConfig {
            max_tokens_per_request: 4096,
            max_tokens_per_period: 100_000,
            period: Duration::from_secs(3600),
        };
        assert_eq!(TokenBudgetConfig::default(), documented);
        let (budget, _) = budget();
        let shared = budget.clone();
        let reservation = budget.reserve(1000).unwrap();
        assert_eq!((shared.remaining(), reservation.to_string()), (99_000, "1000".to_owned()));
    }

    #[test]
    fn a_request_has_a_cap_and_a_period_has_one() {
        let (budget, clock) = budget();
        assert_eq!(budget.reserve(4097), Err(OverBudget::Request { tokens: 4097, most: 4096 }));
        for _ in 0..24 {
            let _ = budget.reserve(4096).unwrap();
        }
        let wait = Some(Duration::from_secs(3600));
        assert_eq!(budget.reserve(1697), Err(OverBudget::Period { tokens: 1697, left: 1696, wait }));
        clock.advance(Duration::from_secs(3600));
        assert_eq!(budget.remaining(), 100_000);
        assert!(budget.reserve(1697).is_ok());
    }

    #[test]
    fn a_surplus_is_credited_and_an_excess_charged_in_the_period_that_it_was_reserved_in() {
        let (budget, clock) = budget();
        let (long, short) = (budget.reserve(1000).unwrap(), budget.reserve(10).unwrap());
        budget.release(long, 300);
        budget.release(short, 500);
        assert_eq!(budget.remaining(), 100_000 - 800);
        let old = budget.reserve(1000).unwrap();
        clock.advance(Duration::from_secs(3600));
        let _ = budget.reserve(7).unwrap();
        budget.release(old, 0);
        assert_eq!(budget.remaining(), 100_000 - 7);
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        let config = TokenBudgetConfig::default();
        for (config, key) in [
            (TokenBudgetConfig { max_tokens_per_request: 0, ..config }, "max_tokens_per_request"),
            (TokenBudgetConfig { max_tokens_per_period: 0, ..config }, "max_tokens_per_period"),
            (TokenBudgetConfig { period: Duration::ZERO, ..config }, "period"),
        ] {
            assert!(Budget::try_new(config).unwrap_err().to_string().starts_with(key));
        }
    }
}
