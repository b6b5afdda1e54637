//! The routes beside the data plane: models, health, metrics.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use http::{HeaderMap, Method, StatusCode, header};
use llm_breaker::CircuitState;
use llm_core::{Dialect, Error, ErrorKind, RequestId, TenantId};
use llm_pipeline::Circuit;
use llm_providers::wire::openai;
use llm_ratelimit::{LimitStats, Resource};
use llm_router::TargetHealth;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::auth::presented;
use super::error::{render, wrong_method};
use super::sessions;
use crate::config::Scope;
use crate::process::Process;

/// All routes that are not the data plane's.
pub(crate) fn routes(process: Arc<Process>) -> Router {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/stream/sse", get(sessions::listen))
        .route("/v1/health", get(health))
        .route("/v1/circuit-breaker/reset", post(reset))
        .route("/api/v1/rate-limiter/stats", get(limits))
        .route("/api/v1/load-balancer/stats", get(balance))
        .route("/api/v1/cache/stats", get(cache))
        .route("/api/v1/cache", delete(forget))
        .route("/api/v1/explain/{id}", get(explain))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .merge(metrics_routes())
        .method_not_allowed_fallback(async |id: Extension<RequestId>, method: Method| {
            refusal(&wrong_method(&method), &id)
        })
        .fallback(unknown)
        .with_state(process)
}

/// What the listener of `metrics_port` serves.
pub(crate) fn metrics_only(process: Arc<Process>) -> Router {
    metrics_routes().fallback(unknown).with_state(process)
}

fn metrics_routes() -> Router<Arc<Process>> {
    Router::new().route("/metrics", get(metrics))
}

/// An error in its caller's format; these routes speak OpenAI's.
pub(super) fn refusal(error: &Error, id: &RequestId) -> Response {
    let rendered = render(Dialect::OpenAi, error, id);
    (rendered.status, rendered.headers, Body::from(rendered.body)).into_response()
}

async fn unknown(Extension(id): Extension<RequestId>, method: Method, OriginalUri(uri): OriginalUri) -> Response {
    let error = Error::new(ErrorKind::NotFound, format!("unknown request URL: {method} {}", uri.path()));
    refusal(&error.with_code("unknown_url"), &id)
}

async fn models(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    let app = process.app.load();
    match app.keys.authenticate(&headers, Scope::Inference) {
        Ok(_) => json(openai::encode_models(&app.pipeline.models())),
        Err(error) => refusal(&error, &id),
    }
}

async fn model(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let app = process.app.load();
    let found = app.keys.authenticate(&headers, Scope::Inference).and_then(|_| app.pipeline.model(&name));
    match found {
        Ok(model) => json(openai::encode_model(&model)),
        Err(error) => refusal(&error, &id),
    }
}

fn json(body: bytes::Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

/// What `/v1/health` says: states only.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    circuit_breaker: Option<CircuitHealth>,
    providers: Vec<ProviderHealth>,
}

#[derive(Debug, Serialize)]
struct ProviderHealth {
    name: String,
    /// The worst of its models'.
    circuit_breaker: CircuitHealth,
    models: Vec<ModelHealth>,
}

#[derive(Debug, Serialize)]
struct ModelHealth {
    model: String,
    /// Which of the provider's keys, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    circuit_breaker: CircuitHealth,
}

#[derive(Clone, Debug, Serialize)]
struct CircuitHealth {
    state: CircuitState,
    failure_count: u32,
    probe_failures: u32,
    next_probe_in_secs: Option<f64>,
}

impl From<&Circuit> for CircuitHealth {
    fn from(circuit: &Circuit) -> Self {
        let stats = &circuit.stats;
        Self {
            state: stats.state,
            failure_count: stats.consecutive_failures,
            probe_failures: stats.probe_failures,
            next_probe_in_secs: stats.next_probe_in.map(|wait| wait.as_secs_f64()),
        }
    }
}

async fn health(State(process): State<Arc<Process>>) -> Json<Health> {
    let circuits = process.app.load().pipeline.circuits();
    let rank = |state: CircuitState| match state {
        CircuitState::Closed => 0,
        CircuitState::HalfOpen => 1,
        CircuitState::Open => 2,
    };
    let worst_of = |circuits: &[Circuit]| circuits.iter().max_by_key(|circuit| rank(circuit.stats.state)).cloned();
    let worst = worst_of(&circuits);
    let degraded = worst.as_ref().is_some_and(|circuit| circuit.stats.state != CircuitState::Closed);
    let status = match (process.is_ready(), degraded) {
        (false, _) => "draining",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    Json(Health {
        status,
        version: env!("CARGO_PKG_VERSION"),
        circuit_breaker: worst.as_ref().map(CircuitHealth::from),
        providers: circuits
            .chunk_by(|one, other| one.provider == other.provider)
            .filter_map(|circuits| {
                let model = |circuit: &Circuit| ModelHealth {
                    model: circuit.model.to_string(),
                    key: circuit.key.as_deref().map(str::to_owned),
                    circuit_breaker: circuit.into(),
                };
                Some(ProviderHealth {
                    name: circuits.first()?.provider.to_string(),
                    circuit_breaker: (&worst_of(circuits)?).into(),
                    models: circuits.iter().map(model).collect(),
                })
            })
            .collect(),
    })
}

/// Which circuits are closed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    provider: Option<String>,
}

async fn reset(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    which: Result<Query<Which>, QueryRejection>,
) -> Response {
    let app = process.app.load();
    if let Err(error) = app.keys.authenticate(&headers, Scope::Admin) {
        return refusal(&error, &id);
    }
    let Ok(Query(Which { provider })) = which else {
        let error = Error::new(ErrorKind::InvalidRequest, "the only parameter is `provider`, the name of a provider");
        return refusal(&error.with_param("provider"), &id);
    };
    let closed = app.pipeline.reset_circuits(provider.as_deref());
    match provider {
        Some(name) if closed == 0 => {
            let error = Error::new(ErrorKind::NotFound, format!("there is no provider `{name}`"));
            refusal(&error.with_param("provider"), &id)
        }
        _ => Json(Reset { reset: closed }).into_response(),
    }
}

#[derive(Debug, Serialize)]
struct Reset {
    /// Circuits that are closed now.
    reset: usize,
}

/// What `/api/v1/rate-limiter/stats` says.
#[derive(Debug, Serialize)]
struct LimitsShown {
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

async fn limits(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    let app = process.app.load();
    if let Err(error) = app.keys.authenticate(&headers, Scope::Admin) {
        return refusal(&error, &id);
    }
    let limits = app.pipeline.limits();
    let left = |model: &str| {
        let of_model = |limit: &&LimitStats| {
            *limit.level == *"model" && *limit.name == *model && limit.resource == Resource::Requests
        };
        limits.iter().filter(of_model).map(|limit| limit.remaining).min()
    };
    let per_model = app.pipeline.tallies().into_iter().map(|tally| ModelShown {
        current_tokens: left(tally.model.as_str()),
        model_id: tally.model.to_string(),
        requests_allowed: tally.allowed,
        requests_denied: tally.denied,
    });
    Json(LimitsShown { per_model: per_model.collect(), limits }).into_response()
}

/// What `/api/v1/load-balancer/stats` says.
#[derive(Debug, Serialize)]
struct BalanceShown {
    models: Vec<BalanceOf>,
}

#[derive(Debug, Serialize)]
struct BalanceOf {
    model_id: String,
    strategy: llm_router::Strategy,
    total_sla_misses: u64,
    targets: Vec<TargetHealth>,
}

async fn balance(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    let app = process.app.load();
    if let Err(error) = app.keys.authenticate(&headers, Scope::Admin) {
        return refusal(&error, &id);
    }
    let models = app.pipeline.balance().into_iter().map(|balance| BalanceOf {
        model_id: balance.model.to_string(),
        strategy: balance.strategy,
        total_sla_misses: balance.total_sla_misses,
        targets: balance.targets,
    });
    Json(BalanceShown { models: models.collect() }).into_response()
}

/// What `/api/v1/cache/stats` says.
#[derive(Debug, Default, Serialize)]
struct CacheShown {
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

async fn cache(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
) -> Response {
    let app = process.app.load();
    if let Err(error) = app.keys.authenticate(&headers, Scope::Admin) {
        return refusal(&error, &id);
    }
    let shown = app.pipeline.answers().map(|stats| CacheShown {
        enabled: true,
        hit_rate: stats.hit_rate,
        hits: stats.hits,
        misses: stats.misses,
        entries: stats.entries,
        bytes: stats.bytes,
        evictions: stats.evictions,
        expired: stats.expired,
    });
    Json(shown.unwrap_or_default()).into_response()
}

/// Whose finished answers are forgotten.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    tenant: Option<String>,
}

async fn forget(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Response {
    let app = process.app.load();
    if let Err(error) = app.keys.authenticate(&headers, Scope::Admin) {
        return refusal(&error, &id);
    }
    let Ok(Query(Whose { tenant })) = whose else {
        let error = Error::new(ErrorKind::InvalidRequest, "the only parameter is `tenant`, the name of a tenant");
        return refusal(&error.with_param("tenant"), &id);
    };
    let tenant = tenant.map(TenantId::from);
    Json(Forgotten { forgotten: app.pipeline.forget_answers(tenant.as_ref()) }).into_response()
}

#[derive(Debug, Serialize)]
struct Forgotten {
    forgotten: usize,
}

async fn explain(
    State(process): State<Arc<Process>>,
    Extension(id): Extension<RequestId>,
    Path(about): Path<String>,
    headers: HeaderMap,
) -> Response {
    let app = process.app.load();
    if let Err(error) = app.keys.authenticate(&headers, Scope::Admin) {
        return refusal(&error, &id);
    }
    match app.pipeline.explain(&about) {
        Some(explanation) => Json(explanation).into_response(),
        None => {
            let message = format!("no request `{about}` is among the latest; the latest 1,024 are remembered");
            refusal(&Error::new(ErrorKind::NotFound, message), &id)
        }
    }
}

async fn ready(State(process): State<Arc<Process>>) -> (StatusCode, &'static str) {
    if process.is_ready() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "draining\n") }
}

async fn metrics(
    State(process): State<Arc<Process>>,
    id: Option<Extension<RequestId>>,
    headers: HeaderMap,
) -> Response {
    if let Some(expected) = &process.metrics_key {
        let given = presented(&headers).unwrap_or_default();
        if !bool::from(given.as_bytes().ct_eq(expected.expose_secret().as_bytes())) {
            let error = Error::new(ErrorKind::Unauthenticated, "metrics need the key of METRICS_API_KEY");
            let id = id.map_or_else(|| RequestId::from("metrics"), |id| id.0);
            return refusal(&error.with_code("invalid_api_key"), &id);
        }
    }
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match process.telemetry.show(&process.app.load().pipeline, accept) {
        Some((content_type, text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        None => (StatusCode::NOT_IMPLEMENTED, "this build measures nothing\n").into_response(),
    }
}
