//! How the process is, for everybody: states only.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use llm_breaker::CircuitState;
use llm_pipeline::Circuit;
use serde::Serialize;

use crate::process::Process;

/// What `/v1/health` says: states only.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
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

/// How a circuit stands.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CircuitHealth {
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

pub(crate) async fn show(State(process): State<Arc<Process>>) -> Json<Health> {
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

pub(crate) async fn ready(State(process): State<Arc<Process>>) -> (StatusCode, &'static str) {
    if process.is_ready() { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "draining\n") }
}
