//! What a table of limits says, checked and ready for use.

use std::time::Duration;

use crate::config::{ConfigError, TokenBucketConfig};
use crate::quota::Quota;

/// A table of limits: it applies to each name of its level that it matches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitConfig {
    /// The level, such as `key` or `model`.
    pub level: String,
    /// The name; `*` is every name, each with limits of its own.
    pub name: String,
    /// Requests, by rate or by period.
    pub requests: Option<MeterConfig>,
    /// Tokens, by rate or by period.
    pub tokens: Option<MeterConfig>,
    /// Money, in units of 10⁻¹² dollars, by period.
    pub money: Option<CapConfig>,
    /// Whether the cap on money reserves what is expected instead of what cannot be exceeded.
    pub soft: bool,
    /// Requests under way at once, at least 1.
    pub concurrency: Option<u32>,
}

/// How much of a resource may be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeterConfig {
    /// So much a period on average, and `burst` at once (default: a period's worth).
    Rate {
        /// Units a period, above 0.
        rate: f64,
        /// The period.
        per: Duration,
        /// Units at once, at least 1.
        burst: Option<u32>,
    },
    /// So much a period and no more. The period begins with its first charge.
    Cap(CapConfig),
}

/// A cap over a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapConfig {
    /// Units a period, at least 1.
    pub cap: u64,
    /// The period.
    pub per: Duration,
}

/// A resource of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Requests.
    Requests,
    /// Tokens.
    Tokens,
    /// Money, in units of 10⁻¹² dollars.
    Money,
    /// Requests under way.
    Concurrency,
}

impl Resource {
    /// The resource's name in configuration and errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Money => "money",
            Self::Concurrency => "concurrency",
        }
    }
}

/// A [`LimitConfig`] that was checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(crate) requests: Option<Meter>,
    pub(crate) tokens: Option<Meter>,
    pub(crate) money: Option<CapConfig>,
    pub(crate) soft: bool,
    pub(crate) concurrency: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meter {
    Rate(Quota),
    Cap(CapConfig),
}

impl Rules {
    pub(crate) fn try_new(config: &LimitConfig) -> Result<Self, ConfigError> {
        let meter = |key: &str, meter: Option<MeterConfig>| meter.map(|meter| Meter::try_new(key, meter)).transpose();
        if let Some(money) = config.money {
            check("money", money)?;
        }
        if config.concurrency == Some(0) {
            return Err(ConfigError::value("concurrency", "at least 1 is needed"));
        }
        let rules = Self {
            requests: meter("requests", config.requests)?,
            tokens: meter("tokens", config.tokens)?,
            money: config.money,
            soft: config.soft,
            concurrency: config.concurrency,
        };
        let metered = rules.requests.or(rules.tokens).is_some();
        if !metered && rules.money.is_none() && rules.concurrency.is_none() {
            return Err(ConfigError::value("level", "the table limits nothing"));
        }
        Ok(rules)
    }
}

impl Rules {
    /// Of requests and of tokens; unlimited where no rate limits them.
    pub(crate) fn quotas(&self) -> [Quota; 2] {
        [self.requests, self.tokens].map(|meter| match meter {
            Some(Meter::Rate(quota)) => quota,
            Some(Meter::Cap(_)) | None => Quota::UNLIMITED,
        })
    }

    /// Whether something is capped by period.
    pub(crate) const fn has_caps(&self) -> bool {
        self.money.is_some()
            || matches!(self.requests, Some(Meter::Cap(_)))
            || matches!(self.tokens, Some(Meter::Cap(_)))
    }

    /// Whether nothing is limited but by rates.
    pub(crate) const fn has_only_rates(&self) -> bool {
        !self.has_caps() && self.concurrency.is_none()
    }
}

impl Meter {
    fn try_new(key: &str, config: MeterConfig) -> Result<Self, ConfigError> {
        let (rate, per, burst) = match config {
            MeterConfig::Cap(cap) => return check(key, cap).map(|()| Self::Cap(cap)),
            MeterConfig::Rate { rate, per, burst } => (rate, per, burst),
        };
        period(key, per)?;
        if rate.is_nan() || rate <= 0.0 {
            return Err(ConfigError::value(format!("{key}.rate"), format!("{rate} is not above 0")));
        }
        let whole = rate.floor().clamp(1.0, f64::from(u32::MAX)) as u32;
        let quota = TokenBucketConfig { rate_per_second: rate / per.as_secs_f64(), burst: burst.unwrap_or(whole) };
        Quota::try_new(quota).map(Self::Rate).map_err(|error| match error {
            ConfigError::Burst => ConfigError::value(format!("{key}.burst"), "at least 1 is needed"),
            _ => ConfigError::value(format!("{key}.rate"), "the burst takes longer than a year to refill"),
        })
    }
}

fn check(key: &str, cap: CapConfig) -> Result<(), ConfigError> {
    if cap.cap == 0 {
        return Err(ConfigError::value(format!("{key}.cap"), "at least 1 is needed"));
    }
    period(key, cap.per)
}

fn period(key: &str, per: Duration) -> Result<(), ConfigError> {
    if per.is_zero() || per > Duration::from_secs(366 * 86_400) {
        return Err(ConfigError::value(format!("{key}.per"), "a period above zero, of a year at most, is needed"));
    }
    Ok(())
}
