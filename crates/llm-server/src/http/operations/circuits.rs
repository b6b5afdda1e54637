//! The circuits, for whoever runs the gateway: what they have seen, and how to close them.

use axum::Json;
use llm_core::{Error, ErrorKind};
use llm_pipeline::Circuit;
use serde::{Deserialize, Serialize};

use super::access::{Admin, Only, Parameter, Refusal};
use super::health::CircuitHealth;

/// What `/api/v1/circuit-breaker/stats` says.
#[derive(Debug, Serialize)]
pub(crate) struct CircuitsShown {
    circuits: Vec<CircuitShown>,
}

#[derive(Debug, Serialize)]
struct CircuitShown {
    provider: String,
    model: String,
    /// Which of the provider's keys, where it has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(flatten)]
    health: CircuitHealth,
    /// Whether slowness alone has opened it.
    anomaly: bool,
    /// How long it is held, whatever its state: the provider has asked to slow down.
    held_for_secs: Option<f64>,
    request_count: u64,
    error_count: u64,
    error_rate: f64,
    mean_latency_ms: f64,
    p50_latency_ms: f64,
    p95_latency_ms: f64,
    p99_latency_ms: f64,
}

impl From<&Circuit> for CircuitShown {
    fn from(circuit: &Circuit) -> Self {
        let seen = circuit.breaker.health_metrics();
        Self {
            provider: circuit.provider.to_string(),
            model: circuit.model.to_string(),
            key: circuit.key.as_deref().map(str::to_owned),
            health: circuit.into(),
            anomaly: circuit.stats.anomaly,
            held_for_secs: circuit.stats.held_for.map(|span| span.as_secs_f64()),
            request_count: seen.request_count,
            error_count: seen.error_count,
            error_rate: seen.error_rate(),
            mean_latency_ms: seen.mean_latency_ms,
            p50_latency_ms: seen.p50_latency_ms,
            p95_latency_ms: seen.p95_latency_ms,
            p99_latency_ms: seen.p99_latency_ms,
        }
    }
}

pub(crate) async fn show(admin: Admin) -> Json<CircuitsShown> {
    let circuits = admin.app.pipeline.circuits();
    Json(CircuitsShown { circuits: circuits.iter().map(CircuitShown::from).collect() })
}

/// Which circuits are closed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    provider: Option<String>,
}

impl Parameter for Which {
    const NAME: &str = "provider";
}

#[derive(Debug, Serialize)]
pub(crate) struct Reset {
    /// Circuits that are closed now.
    reset: usize,
}

pub(crate) async fn reset(admin: Admin, Only(which): Only<Which>) -> Result<Json<Reset>, Refusal> {
    let closed = admin.app.pipeline.reset_circuits(which.provider.as_deref());
    match which.provider {
        Some(name) if closed == 0 => {
            let error = Error::new(ErrorKind::NotFound, format!("there is no provider `{name}`"));
            Err(admin.refuse(error.with_param("provider")))
        }
        _ => Ok(Json(Reset { reset: closed })),
    }
}
