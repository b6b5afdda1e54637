//! Durations in configuration: `"250ms"`, `"10s"`, `"1m30s"`.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// There is nothing to read, or no number before a unit.
    #[error("a number with a unit is expected, such as \"250ms\" or \"1m30s\"")]
    Missing,
    /// The unit is not one of `us`, `ms`, `s`, `m`, `h`, `d`.
    #[error("unknown unit `{0}`: use us, ms, s, m, h or d")]
    Unit(String),
    /// More than a duration holds.
    #[error("the duration is too long")]
    TooLong,
}

/// Units, longest first, in nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Reads a duration: whole numbers with a unit (`us`, `ms`, `s`, `m`, `h`, `d`), one after the other.
///
/// # Errors
/// [`DurationError`] says what is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(DurationError::Missing);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(DurationError::Missing);
        }
        let number: u64 = rest[..digits].parse().map_err(|_| DurationError::TooLong)?;
        rest = &rest[digits..];
        let letters = rest.chars().take_while(|c| !c.is_ascii_digit()).map(char::len_utf8).sum();
        let (unit, after) = rest.split_at(letters);
        let scale = UNITS
            .iter()
            .find_map(|(name, scale)| (*name == unit.trim()).then_some(*scale))
            .ok_or_else(|| DurationError::Unit(unit.trim().into()))?;
        total = number.checked_mul(scale).and_then(|n| total.checked_add(n)).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

/// Writes a duration as [`parse_duration`] reads it, rounded down to a microsecond.
#[must_use]
pub fn format_duration(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in UNITS {
        if rest / scale > 0 {
            text.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration(" 2h "), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(parse_duration(""), Err(DurationError::Missing));
        assert_eq!(parse_duration("ms"), Err(DurationError::Missing));
        assert_eq!(parse_duration("10"), Err(DurationError::Unit(String::new())));
        assert_eq!(parse_duration("5fortnights"), Err(DurationError::Unit("fortnights".into())));
        assert_eq!(parse_duration("99999999999999999999s"), Err(DurationError::TooLong));
        assert_eq!(parse_duration("10µ"), Err(DurationError::Unit("µ".into())));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(micros in 0..u64::MAX / 1000) {
            let span = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
        }
    }
}
