//! Money as integers of 10⁻¹² dollar, in which every list price per token is exact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

    /// A `count`th of the amount, if that comes out even.
    #[must_use]
    pub const fn divided_by(self, count: u32) -> Option<Self> {
        match self.0.checked_rem(count as i64) {
            Some(0) => Some(Self(self.0 / count as i64)),
            _ => None,
        }
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
        fixed_point(text, 12).map(Self).ok_or(MoneyError)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        write!(f, "{sign}$")?;
        write_fixed_point(f, units, 12)
    }
}

/// Reads a decimal number that is not negative, as so many units of 10^-`places`. None when it is no such number, or
/// has more decimals.
pub(crate) fn fixed_point(text: &str, places: u8) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let missing = usize::from(places).checked_sub(decimals.len())?;
    if !digits(whole) || !digits(decimals) || whole.len() + decimals.len() == 0 {
        return None;
    }
    let number = |part: &str| if part.is_empty() { Some(0) } else { part.parse::<i64>().ok() };
    let decimals = number(decimals)?.checked_mul(10_i64.checked_pow(u32::try_from(missing).ok()?)?)?;
    number(whole)?.checked_mul(10_i64.checked_pow(places.into())?)?.checked_add(decimals)
}

/// Writes `units` of 10^-`places` as a decimal number without trailing zeros.
pub(crate) fn write_fixed_point(f: &mut fmt::Formatter<'_>, units: u64, places: u8) -> fmt::Result {
    let one = 10_u64.pow(places.into());
    let decimals = format!("{:0width$}", units % one, width = places.into());
    let decimals = decimals.trim_end_matches('0');
    let dot = if decimals.is_empty() { "" } else { "." };
    write!(f, "{}{dot}{decimals}", units / one)
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
    fn what_does_not_come_out_even_is_not_divided() {
        let million: Money = "0.0375".parse().unwrap();
        assert_eq!(million.divided_by(1_000_000), Some(Money(37_500)));
        assert_eq!("0.0000001".parse::<Money>().unwrap().divided_by(1_000_000), None);
        assert_eq!(million.divided_by(0), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(units in 0..i64::MAX) {
            let text = Money(units).to_string();
            prop_assert_eq!(text.trim_start_matches('$').parse(), Ok(Money(units)));
        }
    }
}
