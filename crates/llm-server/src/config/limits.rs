//! `[[limits]]`: what callers, models and providers may use.

use llm_core::Money;
use llm_ratelimit::{CapConfig, ConfigError, Hierarchy, LimitConfig, MeterConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::span::Span;

/// A table of `[[limits]]`. A request must pass every table that it matches; it is charged to all of them or to none.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Whose names the table matches. Levels of the caller are charged once a request, those of the target once an
    /// attempt.
    pub level: Level,
    /// The name; `*` is every name, each with limits of its own.
    pub name: String,
    /// Requests.
    pub requests: Option<Meter>,
    /// Tokens, in and out.
    pub tokens: Option<Meter>,
    /// Dollars.
    pub money: Option<Budget>,
    /// Requests under way at once, to the end of a stream; at least 1.
    pub concurrency: Option<u32>,
}

/// Whose names a table matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The body's `safety_identifier`, else its `user`, as `tenant/user`; without keys as it is.
    User,
    /// The caller's key, as `key-` and 8 digits of its SHA-256; without keys `default`.
    Key,
    /// The key's team.
    Team,
    /// The key's organisation.
    Org,
    /// What the caller asked for: a name of `[[models]]`, or `provider/model`.
    Model,
    /// Who is asked.
    Provider,
    /// By which of its keys: what `providers.api_keys` says of a key.
    #[serde(skip)]
    ProviderKey,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
            Self::Team => "team",
            Self::Org => "org",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::ProviderKey => "provider_key",
        }
    }
}

/// A rate, `{ rate, per, burst }`, or a cap over a period, `{ cap, per }`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// So many a period on average, above 0.
    pub rate: Option<f64>,
    /// So many a period and no more, at least 1. The period begins with its first charge.
    pub cap: Option<u64>,
    /// The period.
    pub per: Span,
    /// Of a rate: how many at once, at least 1. Default: a period's worth.
    pub burst: Option<u32>,
}

impl Meter {
    fn config(self, key: &str) -> Result<MeterConfig, ConfigError> {
        let Self { rate, cap, per, burst } = self;
        let wrong = |what: &str| ConfigError::Value { key: key.into(), what: what.into() };
        match (rate, cap) {
            (Some(rate), None) => Ok(MeterConfig::Rate { rate, per: per.0, burst }),
            (None, Some(_)) if burst.is_some() => Err(wrong("`burst` goes with `rate`, not with `cap`")),
            (None, Some(cap)) => Ok(MeterConfig::Cap(CapConfig { cap, per: per.0 })),
            _ => Err(wrong("either `rate` or `cap` is needed")),
        }
    }
}

/// Dollars a period.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Dollars, as decimal text such as `"5.00"`, above 0.
    pub cap: String,
    /// The period, which begins with its first charge.
    pub per: Span,
    /// Whether a request reserves what it cannot exceed, so that the cap is never passed; else what it is expected to
    /// cost. A hard budget refuses what has no price or no bound.
    #[serde(default = "hard")]
    pub hard: bool,
}

const fn hard() -> bool {
    true
}

impl Limit {
    /// The table as the limiter takes it.
    pub(crate) fn table(&self) -> Result<LimitConfig, ConfigError> {
        let meter = |key: &str, meter: Option<Meter>| meter.map(|meter| meter.config(key)).transpose();
        let money = self.money.as_ref().map(|budget| {
            let cap = budget
                .cap
                .parse::<Money>()
                .map_err(|error| ConfigError::Value { key: "money.cap".into(), what: error.to_string() })?;
            Ok(CapConfig { cap: u64::try_from(cap.units()).unwrap_or(0), per: budget.per.0 })
        });
        let table = LimitConfig {
            level: self.level.as_str().into(),
            name: self.name.clone(),
            requests: meter("requests", self.requests)?,
            tokens: meter("tokens", self.tokens)?,
            money: money.transpose()?,
            soft: self.money.as_ref().is_some_and(|budget| !budget.hard),
            concurrency: self.concurrency,
        };
        Hierarchy::try_new(vec![table.clone()])?;
        Ok(table)
    }
}
