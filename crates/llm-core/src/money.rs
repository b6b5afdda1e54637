//! Money as integers of 10⁻¹² dollar, in which every list price per token is exact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Usage;

/// An amount of money: an integer of 10⁻¹² US dollar, up to ±9.2 million dollars. Sums saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i64);

/// Units of [`Money`] in a dollar.
const PER_DOLLAR: i64 = 1_000_000_000_000;

/// Why a text is not an amount of dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a decimal amount of dollars is expected, such as \"0.15\", with at most 12 decimals")]
pub struct MoneyError;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `units` × 10⁻¹² dollar.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The amount in 10⁻¹² dollar.
    #[must_use]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// The amount in dollars, for people and metrics.
    #[must_use]
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / PER_DOLLAR as f64
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `count` times the amount.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

/// Reads a decimal amount of dollars exactly.
impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() + decimals.len() == 0 || decimals.len() > 12 {
            return Err(MoneyError);
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| MoneyError)? };
        let decimals: i64 = format!("{decimals:0<12}").parse().map_err(|_| MoneyError)?;
        whole.checked_mul(PER_DOLLAR).and_then(|units| units.checked_add(decimals)).map(Self).ok_or(MoneyError)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        let decimals = format!("{:012}", units % PER_DOLLAR as u64);
        let decimals = decimals.trim_end_matches('0');
        let dot = if decimals.is_empty() { "" } else { "." };
        write!(f, "{sign}${}{dot}{decimals}", units / PER_DOLLAR as u64)
    }
}

/// What a model costs, per token of each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Per input token that no cache served.
    pub input: Money,
    /// Per output token, reasoning included.
    pub output: Money,
    /// Per input token read from the provider's cache; the input price where unknown.
    pub cache_read: Option<Money>,
    /// Per input token written to the provider's cache; the input price where unknown.
    pub cache_write: Option<Money>,
}

impl Price {
    /// A price in dollars per million tokens.
    #[must_use]
    pub const fn per_million(input: Money, output: Money) -> Self {
        Self {
            input: Money(input.0 / 1_000_000),
            output: Money(output.0 / 1_000_000),
            cache_read: None,
            cache_write: None,
        }
    }

    /// `(input + audio)·in + cache_read·cached + (cache_write + long)·write + (output + audio + reasoning)·out`.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Money {
        self.input
            .times(usage.input.saturating_add(usage.audio_input.unwrap_or(0)))
            .plus(self.cache_read.unwrap_or(self.input).times(usage.cache_read.unwrap_or(0)))
            .plus(self.cache_write.unwrap_or(self.input).times(usage.cache_write_total()))
            .plus(self.output.times(usage.output_total()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_read_exactly() {
        assert_eq!("0.15".parse(), Ok(Money(150_000_000_000)));
        assert_eq!("2".parse(), Ok(Money(2 * PER_DOLLAR)));
        assert_eq!("0.000000000001".parse(), Ok(Money(1)));
        for bad in ["", ".", "1e3", "-1", "0.0000000000001", "1.2.3", "99999999999"] {
            assert_eq!(bad.parse::<Money>(), Err(MoneyError), "{bad}");
        }
    }

    #[test]
    fn cached_tokens_cost_their_own_price() {
        let price = Price {
            cache_read: Some(Money::from_units(1_250_000)),
            ..Price::per_million("2.5".parse().unwrap(), "10".parse().unwrap())
        };
        let usage = Usage { input: 200, cache_read: Some(1000), output: 100, ..Usage::default() };
        assert_eq!(price.cost(&usage).to_string(), "$0.00275");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(units in 0..i64::MAX) {
            let text = Money(units).to_string();
            prop_assert_eq!(text.trim_start_matches('$').parse(), Ok(Money(units)));
        }
    }
}
