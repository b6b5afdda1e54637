//! How fast and how much at once.

use serde::Deserialize;

/// A bucket's rate and size.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBucketConfig {
    /// Units refilled a second, above 0; fractions are allowed. Infinite: no limit.
    pub rate_per_second: f64,
    /// Units that may be taken at once, at least 1.
    pub burst: u32,
}

/// The bucket of one key of a [`KeyedLimiter`](crate::KeyedLimiter).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// The key: a model's name.
    pub model_id: String,
    /// Requests refilled a second, above 0; fractions are allowed.
    pub requests_per_second: f64,
    /// Requests that may be made at once, at least 1.
    pub burst_capacity: u32,
}

/// What a limiter is made from, and which one it makes.
pub trait LimiterConfig {
    /// The limiter.
    type Limiter;

    /// Makes it.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and its bound.
    fn try_build(self) -> Result<Self::Limiter, ConfigError>;
}

/// Why a limit cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The rate is zero, negative or not a number.
    #[error("rate_per_second: {0} is not above 0")]
    Rate(f64),
    /// Refilling one unit, or the whole burst, takes more than a year.
    #[error("rate_per_second: at {rate} a second a burst of {burst} takes longer than a year to refill")]
    TooSlow {
        /// The rate.
        rate: f64,
        /// The burst.
        burst: u32,
    },
    /// The burst is zero: nothing would ever pass.
    #[error("burst: at least 1 is needed")]
    Burst,
    /// A key of a table has a value that is no limit.
    #[error("{key}: {what}")]
    Value {
        /// The key, such as `tokens.per`.
        key: String,
        /// What is wrong with it.
        what: String,
    },
}

impl ConfigError {
    pub(crate) fn value(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Value { key: key.into(), what: what.into() }
    }

    /// The same in the words of [`BucketConfig`].
    pub(crate) fn of_model(self, model: &str) -> Self {
        match self {
            Self::Rate(rate) => Self::value(format!("{model}.requests_per_second"), format!("{rate} is not above 0")),
            Self::TooSlow { rate, burst } => Self::value(
                format!("{model}.requests_per_second"),
                format!("at {rate} a second a burst of {burst} takes longer than a year to refill"),
            ),
            Self::Burst => Self::value(format!("{model}.burst_capacity"), "at least 1 is needed"),
            value @ Self::Value { .. } => value,
        }
    }
}

impl TokenBucketConfig {
    /// `rate` units a second, `burst` at once.
    pub fn new(rate: impl Into<f64>, burst: u32) -> Self {
        Self { rate_per_second: rate.into(), burst }
    }

    /// For a provider: 100 a second, 100 at once.
    #[must_use]
    pub const fn per_provider() -> Self {
        Self { rate_per_second: 100.0, burst: 100 }
    }

    /// For a model: 10 a second, 10 at once.
    #[must_use]
    pub const fn per_model() -> Self {
        Self { rate_per_second: 10.0, burst: 10 }
    }

    /// No limit.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { rate_per_second: f64::INFINITY, burst: u32::MAX }
    }
}
