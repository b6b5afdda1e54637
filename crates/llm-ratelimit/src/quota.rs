//! A bucket's rate and size as the machine uses them, and as one word.

use crate::config::{ConfigError, TokenBucketConfig};

/// Binary digits after the nanosecond: without them fast rates are off by up to 1/T.
pub(crate) const FRACTION: u32 = 8;
/// A year, in 1/256 nanosecond.
const YEAR: f64 = 365.0 * 86_400.0 * 1e9 * (1 << FRACTION) as f64;
/// A second, in 1/256 nanosecond.
const SECOND: f64 = 1e9 * (1 << FRACTION) as f64;
/// Binary digits of a unit's time that are kept: its rate is at most 3·10⁻⁸ below the one asked for.
const DIGITS: u32 = 26;

/// A bucket's rate and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// The time that one unit takes to refill, in 1/256 nanosecond; 0 without a limit.
    pub(crate) unit: u64,
    pub(crate) burst: u32,
}

impl Quota {
    /// Of what nothing limits.
    pub(crate) const UNLIMITED: Self = Self { unit: 0, burst: u32::MAX };

    pub(crate) fn try_new(config: TokenBucketConfig) -> Result<Self, ConfigError> {
        let TokenBucketConfig { rate_per_second: rate, burst } = config;
        if rate.is_nan() || rate <= 0.0 {
            return Err(ConfigError::Rate(rate));
        }
        if burst == 0 {
            return Err(ConfigError::Burst);
        }
        let unit = SECOND / rate;
        if unit * f64::from(burst) > YEAR {
            return Err(ConfigError::TooSlow { rate, burst });
        }
        // Rounded up: the rate is never exceeded.
        let (mantissa, exponent) = parts(unit.ceil() as u64);
        Ok(Self { unit: mantissa << exponent, burst })
    }

    /// The units of the quota, in words that people gave them.
    pub(crate) fn config(self) -> TokenBucketConfig {
        let rate = if self.unit == 0 { f64::INFINITY } else { SECOND / self.unit as f64 };
        // Seven digits are what the packing keeps.
        let rate = format!("{rate:.6e}").parse().unwrap_or(rate);
        TokenBucketConfig { rate_per_second: rate, burst: self.burst }
    }

    /// The time that `units` within the burst take to refill: at most a year, rounding aside.
    pub(crate) const fn span(self, units: u32) -> u64 {
        self.unit * units as u64
    }

    /// The time that an empty bucket takes to refill: at most a year, rounding aside.
    pub(crate) const fn size(self) -> u64 {
        self.span(self.burst)
    }

    /// Both in one word, so that nobody sees one of each: `mantissa:26 | exponent:6 | burst:32`. Never 0.
    pub(crate) const fn packed(self) -> u64 {
        let (mantissa, exponent) = parts(self.unit);
        mantissa << (64 - DIGITS) | (exponent as u64) << 32 | self.burst as u64
    }

    pub(crate) const fn unpacked(word: u64) -> Self {
        let (mantissa, exponent) = (word >> (64 - DIGITS), word >> 32 & 63);
        Self { unit: mantissa << exponent, burst: word as u32 }
    }
}

/// `unit` as `mantissa << exponent`, rounded up.
const fn parts(unit: u64) -> (u64, u32) {
    let exponent = (u64::BITS - unit.leading_zeros()).saturating_sub(DIGITS);
    let mantissa = unit.div_ceil(1 << exponent);
    if mantissa == 1 << DIGITS { (mantissa >> 1, exponent + 1) } else { (mantissa, exponent) }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use super::*;

    #[test]
    fn a_packed_quota_is_the_quota() {
        for (rate, burst) in [(0.01, 1), (1.0, 7), (100.0, 50), (1_666.666, 100_000), (3e8, u32::MAX), (1e12, 1)] {
            let config = TokenBucketConfig::new(rate, burst);
            let quota = Quota::try_new(config).unwrap();
            assert_eq!(Quota::unpacked(quota.packed()), quota);
            let told = quota.config();
            assert!(rate > 1e6 || (told.rate_per_second / rate - 1.0).abs() < 1e-6, "{told:?}");
            assert!(SECOND / quota.unit as f64 <= rate, "the rate is not exceeded");
        }
        let unlimited = Quota::try_new(TokenBucketConfig::unlimited()).unwrap();
        assert_eq!((unlimited.unit, unlimited.config()), (0, TokenBucketConfig::unlimited()));
        assert_ne!(unlimited.packed(), 0);
    }

    #[test]
    fn what_is_no_bucket_is_refused() {
        let refused = |rate: f64, burst| Quota::try_new(TokenBucketConfig::new(rate, burst)).unwrap_err();
        for rate in [0.0, -1.0, f64::NEG_INFINITY] {
            assert_eq!(refused(rate, 1), ConfigError::Rate(rate));
        }
        assert!(matches!(refused(f64::NAN, 1), ConfigError::Rate(_)));
        assert_eq!(refused(1.0, 0), ConfigError::Burst);
        assert!(matches!(refused(1e-9, 1), ConfigError::TooSlow { .. }));
        assert!(matches!(refused(1.0, u32::MAX), ConfigError::TooSlow { .. }));
    }
}
