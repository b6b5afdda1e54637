//! What limits, routing and sharing have come to, for whoever runs the gateway.

use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use llm_breaker::CircuitState;
use llm_core::{Error, ErrorKind, TenantId};
use llm_pipeline::{Explanation, ProviderHealth};
use llm_ratelimit::{LimitStats, Resource};
use llm_router::TargetHealth;
use serde::{Deserialize, Serialize};

use super::access::{Admin, Only, Parameter, Refusal};

/// What `/api/v1/rate-limiter/stats` says.
#[derive(Debug, Serialize)]
pub(crate) struct LimitsShown {
    per_model: Vec<ModelShown>,
    limits: Vec<LimitStats>,
}

#[derive(Debug, Serialize)]
struct ModelShown {
    model_id: String,
    requests_allowed: u64,
    requests_denied: u64,
    /// Requests that its own limit would let pass at the moment; null without one.
    current_tokens: Option<u64>,
}

pub(crate) async fn limits(admin: Admin) -> Json<LimitsShown> {
    let limits = admin.app.pipeline.limits();
    let left = |model: &str| {
        let of_model = |limit: &&LimitStats| {
            *limit.level == *"model" && *limit.name == *model && limit.resource == Resource::Requests
        };
        limits.iter().filter(of_model).map(|limit| limit.remaining).min()
    };
    let per_model = admin.app.pipeline.tallies().into_iter().map(|tally| ModelShown {
        current_tokens: left(tally.model.as_str()),
        model_id: tally.model.to_string(),
        requests_allowed: tally.allowed,
        requests_denied: tally.denied,
    });
    Json(LimitsShown { per_model: per_model.collect(), limits })
}

/// What `/api/v1/load-balancer/stats` says.
#[derive(Debug, Serialize)]
pub(crate) struct BalanceShown {
    models: Vec<BalanceOf>,
    providers: Vec<ProviderShown>,
}

/// How a provider fares, over all of its models.
#[derive(Debug, Serialize)]
struct ProviderShown {
    name: String,
    /// The worst of its circuits'.
    state: CircuitState,
    /// Of the last minute's successes.
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    /// Of the last hour's calls.
    success_rate: Option<f64>,
    calls: u64,
    /// Of the model that has the most.
    consecutive_failures: u32,
    in_flight: u32,
}

impl From<ProviderHealth> for ProviderShown {
    fn from(health: ProviderHealth) -> Self {
        let millis = |span: Option<Duration>| span.map(|span| span.as_secs_f64() * 1e3);
        Self {
            name: health.name.to_string(),
            state: health.state,
            p50_ms: millis(health.p50),
            p95_ms: millis(health.p95),
            success_rate: health.success_rate,
            calls: health.calls,
            consecutive_failures: health.consecutive_failures,
            in_flight: health.in_flight,
        }
    }
}

#[derive(Debug, Serialize)]
struct BalanceOf {
    model_id: String,
    strategy: llm_router::Strategy,
    total_sla_misses: u64,
    targets: Vec<TargetHealth>,
}

pub(crate) async fn balance(admin: Admin) -> Json<BalanceShown> {
    let models = admin.app.pipeline.balance().into_iter().map(|balance| BalanceOf {
        model_id: balance.model.to_string(),
        strategy: balance.strategy,
        total_sla_misses: balance.total_sla_misses,
        targets: balance.targets,
    });
    let providers = admin.app.pipeline.providers().into_iter().map(ProviderShown::from);
    Json(BalanceShown { models: models.collect(), providers: providers.collect() })
}

/// What `/api/v1/cache/stats` says.
#[derive(Debug, Default, Serialize)]
pub(crate) struct CacheShown {
    /// Whether anything is kept at all.
    enabled: bool,
    hit_rate: f64,
    hits: u64,
    misses: u64,
    entries: usize,
    bytes: u64,
    evictions: u64,
    expired: u64,
}

pub(crate) async fn cache(admin: Admin) -> Json<CacheShown> {
    let shown = admin.app.pipeline.answers().map(|stats| CacheShown {
        enabled: true,
        hit_rate: stats.hit_rate,
        hits: stats.hits,
        misses: stats.misses,
        entries: stats.entries,
        bytes: stats.bytes,
        evictions: stats.evictions,
        expired: stats.expired,
    });
    Json(shown.unwrap_or_default())
}

/// Whose finished answers are forgotten.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whose {
    tenant: Option<String>,
}

impl Parameter for Whose {
    const NAME: &str = "tenant";
}

pub(crate) async fn forget(admin: Admin, Only(Whose { tenant }): Only<Whose>) -> Json<Forgotten> {
    let tenant = tenant.map(TenantId::from);
    Json(Forgotten { forgotten: admin.app.pipeline.forget_answers(tenant.as_ref()) })
}

#[derive(Debug, Serialize)]
pub(crate) struct Forgotten {
    forgotten: usize,
}

pub(crate) async fn explain(admin: Admin, Path(about): Path<String>) -> Result<Json<Explanation>, Refusal> {
    admin.app.pipeline.explain(&about).map(Json).ok_or_else(|| {
        let message = format!("no request `{about}` is among the latest; the latest 1,024 are remembered");
        admin.refuse(Error::new(ErrorKind::NotFound, message))
    })
}
