//! `/api/v1/overview`: everything that the dashboard and `llmkit top` show, in one answer.
//!
//! It holds counts since the start: whoever polls it makes rates and percentiles of the difference between two
//! answers. So it keeps nothing, and costs the same whoever else looks.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use llm_breaker::CircuitState;
use llm_core::Clock;
use llm_pipeline::{Circuit, Pipeline};
use llm_ratelimit::{LimitStats, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operations::Admin;
use crate::process::Process;

/// Circuits of a provider that are shown at most: callers choose names of models.
const MOST_CIRCUITS: usize = 20;
/// Limits that are shown at most.
const MOST_LIMITS: usize = 50;

/// What the gateway has counted since its start, and how it stands at the moment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Overview {
    pub(crate) version: String,
    /// `ok`; `degraded` while a circuit is not closed; `draining` while the process ends.
    pub(crate) status: String,
    /// When this was told, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    /// How long the process has run, in seconds. Counts begin anew when it is smaller than before.
    pub(crate) uptime_s: f64,
    /// Whether requests are counted: not in a build without the feature `telemetry`.
    pub(crate) measured: bool,
    pub(crate) requests: Requests,
    pub(crate) usage: Usage,
    pub(crate) sharing: Sharing,
    /// Providers, those of the configuration in its order.
    pub(crate) providers: Vec<Provider>,
    /// The configured models.
    pub(crate) models: Vec<Model>,
    pub(crate) limits: Limits,
    /// The latest changes of circuits, 64 at most, the latest first.
    pub(crate) circuit_changes: Vec<CircuitChange>,
}

/// Requests as their callers see them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Requests {
    /// Requests that have ended, by outcome: `ok`, or what kind of error.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// From the arrival of requests to the end of their answers.
    pub(crate) duration: Distribution,
    /// Our own time of requests, up to the head of their answers.
    pub(crate) overhead: Distribution,
}

/// Tokens and dollars, over all providers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Usage {
    /// Tokens asked with, cached ones included.
    pub(crate) input_tokens: u64,
    /// Tokens answered with, reasoning included.
    pub(crate) output_tokens: u64,
    /// Dollars, where the price is known.
    pub(crate) cost_usd: f64,
    /// Dollars that shared calls and finished answers would have cost.
    pub(crate) saved_usd: f64,
    /// Calls whose tokens have no known price.
    pub(crate) unpriced_calls: u64,
}

/// Requests that needed no call of their own.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Sharing {
    /// Whether identical requests share a call.
    pub(crate) enabled: bool,
    /// Requests that asked whether there is a call to share.
    pub(crate) asked: u64,
    /// Requests answered by a finished answer.
    pub(crate) hits: u64,
    /// Requests that joined a call in flight.
    pub(crate) joined: u64,
    /// Different calls in flight that can be joined.
    pub(crate) in_flight: usize,
    /// Requests that wait for one of these or read from it.
    pub(crate) subscribers: usize,
    /// Finished answers that are kept.
    pub(crate) entries: usize,
    /// Bytes that they take.
    pub(crate) bytes: u64,
    /// Finished answers that were forgotten to make room.
    pub(crate) evictions: u64,
}

/// A provider.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Provider {
    pub(crate) name: String,
    /// The worst state of its circuits: `closed`, `half-open` or `open`; null for one that is no longer configured.
    pub(crate) circuit: Option<String>,
    /// How many circuits it has: one for each of its models, by each of its keys.
    pub(crate) circuit_count: usize,
    /// How many of them are not closed.
    pub(crate) not_closed: usize,
    /// The 20 of them that stand worst, the worst first.
    pub(crate) circuits: Vec<CircuitOf>,
    /// Calls under way.
    pub(crate) in_flight: i64,
    /// From sending a call to the end of its answer.
    pub(crate) duration: Distribution,
    /// From sending a call to its stream's first content.
    pub(crate) first_token: Distribution,
    /// Calls that failed, by what kind of error.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Tokens asked with, cached ones included.
    pub(crate) input_tokens: u64,
    /// Tokens answered with, reasoning included.
    pub(crate) output_tokens: u64,
    /// Dollars, where the price is known.
    pub(crate) cost_usd: f64,
}

/// A circuit of a provider.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct CircuitOf {
    /// The model, as the provider spells it; `*` where one circuit is for many.
    pub(crate) model: String,
    /// Which of the provider's keys, where it has several.
    pub(crate) key: Option<String>,
    /// `closed`, `half-open` or `open`.
    pub(crate) state: String,
    /// Failures in a row.
    pub(crate) failure_count: u32,
    /// How long it stays open, in seconds.
    pub(crate) next_probe_in_s: Option<f64>,
}

/// A configured model.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Model {
    pub(crate) name: String,
    /// Who is asked first.
    pub(crate) strategy: String,
    /// Calls that limits let pass.
    pub(crate) allowed: u64,
    /// Requests and calls that limits denied.
    pub(crate) denied: u64,
    pub(crate) targets: Vec<Target>,
}

/// A target of a configured model.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Target {
    /// Provider and model.
    pub(crate) name: String,
    /// `known`, `unknown` (too little is known) or `down`.
    pub(crate) state: String,
    /// The share of the last hour's calls that succeeded, 0 to 1; null without a call.
    pub(crate) success_rate: Option<f64>,
    /// The last hour's calls.
    pub(crate) calls: u64,
    /// Of the last 128 calls, half took at most this long, in milliseconds.
    pub(crate) p50_ms: Option<f64>,
    /// Of the last 128 calls, 95 of a hundred took at most this long, in milliseconds.
    pub(crate) p95_ms: Option<f64>,
    /// Calls begun and not ended.
    pub(crate) in_flight: u32,
}

/// The limits of which the least is left.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Limits {
    /// Names that have a limit at the moment.
    pub(crate) names: usize,
    /// Of these, those that were looked at.
    pub(crate) looked_at: usize,
    /// At most 50, that with the least share left first.
    pub(crate) tightest: Vec<Limit>,
}

/// A limit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Limit {
    /// Who is limited: `key`, `tenant`, `model`, …
    pub(crate) level: String,
    pub(crate) name: String,
    /// What is limited: `requests`, `tokens`, `money` (in dollars) or `concurrency` (requests under way).
    pub(crate) resource: String,
    /// How much there is at most.
    pub(crate) limit: f64,
    /// How much is left.
    pub(crate) remaining: f64,
    /// Milliseconds until it is whole again if nobody comes.
    pub(crate) reset_ms: u64,
}

/// A circuit has changed its state.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct CircuitChange {
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    pub(crate) provider: String,
    /// The model, as the provider spells it; `*` where one circuit is for many.
    pub(crate) model: String,
    /// The state before: `closed`, `half-open` or `open`.
    pub(crate) from: String,
    /// The state since.
    pub(crate) to: String,
    /// Why.
    pub(crate) reason: String,
}

/// How observations of time are spread.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub(crate) struct Distribution {
    /// Upper bounds of the buckets, in seconds, rising; above the last there is one bucket more. Empty where nothing
    /// was ever observed.
    pub(crate) bounds_s: Vec<f64>,
    /// Observations in each bucket, not those below it.
    pub(crate) counts: Vec<u64>,
    /// All that was observed, in seconds.
    pub(crate) sum_s: f64,
}

pub(crate) async fn overview(admin: Admin, State(process): State<Arc<Process>>) -> Json<Overview> {
    Json(Overview::of(&process, &admin.app.pipeline))
}

impl Overview {
    fn of(process: &Process, pipeline: &Pipeline) -> Self {
        let circuits = pipeline.circuits();
        let degraded = circuits.iter().any(|circuit| circuit.stats.state != CircuitState::Closed);
        let status = match (process.is_ready(), degraded) {
            (false, _) => "draining",
            (true, true) => "degraded",
            (true, false) => "ok",
        };
        let counted = process.telemetry.totals();
        let (totals, changes) = counted.unwrap_or_default();
        let mut known = totals.providers;
        let mut providers: Vec<_> = circuits
            .chunk_by(|one, other| one.provider == other.provider)
            .filter_map(|circuits| {
                let name = circuits.first()?.provider.as_str();
                Some(provider(name, circuits, known.remove(name).unwrap_or_default()))
            })
            .collect();
        providers.extend(known.into_iter().map(|(name, totals)| provider(&name, &[], totals)));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            status: status.to_owned(),
            at_ms: millis(process.clock.unix_time()),
            uptime_s: process.clock.now().since(process.started).as_secs_f64(),
            measured: process.telemetry.measures(),
            usage: Usage {
                input_tokens: providers.iter().map(|provider| provider.input_tokens).sum(),
                output_tokens: providers.iter().map(|provider| provider.output_tokens).sum(),
                cost_usd: providers.iter().map(|provider| provider.cost_usd).sum(),
                saved_usd: totals.saved,
                unpriced_calls: totals.unpriced,
            },
            requests: Requests {
                outcomes: totals.outcomes,
                duration: totals.duration.into(),
                overhead: totals.overhead.into(),
            },
            sharing: sharing(pipeline),
            providers,
            models: models(pipeline),
            limits: limits(pipeline),
            circuit_changes: changes.into_iter().map(CircuitChange::from).collect(),
        }
    }
}

fn sharing(pipeline: &Pipeline) -> Sharing {
    let (stats, answers) = (pipeline.sharing(), pipeline.answers());
    Sharing {
        enabled: pipeline.shares(),
        asked: stats.total_submitted,
        hits: stats.hits,
        joined: stats.joined,
        in_flight: stats.active_requests,
        subscribers: stats.total_subscribers,
        entries: answers.as_ref().map_or(0, |answers| answers.entries),
        bytes: answers.as_ref().map_or(0, |answers| answers.bytes),
        evictions: answers.as_ref().map_or(0, |answers| answers.evictions),
    }
}

fn provider(name: &str, circuits: &[Circuit], totals: llm_telemetry::ProviderTotals) -> Provider {
    let mut by_state: Vec<_> = circuits.iter().collect();
    by_state.sort_by_key(|circuit| Reverse((rank(circuit.stats.state), circuit.stats.consecutive_failures)));
    let worst = by_state.first().map(|circuit| circuit.stats.state);
    Provider {
        name: name.to_owned(),
        circuit: worst.map(|state| word(state).to_owned()),
        circuit_count: circuits.len(),
        not_closed: circuits.iter().filter(|circuit| circuit.stats.state != CircuitState::Closed).count(),
        circuits: by_state.into_iter().take(MOST_CIRCUITS).map(CircuitOf::from).collect(),
        in_flight: totals.active,
        duration: totals.duration.into(),
        first_token: totals.first_token.into(),
        errors: totals.errors,
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
        cost_usd: totals.cost,
    }
}

fn models(pipeline: &Pipeline) -> Vec<Model> {
    let tallies = pipeline.tallies();
    let balances = pipeline.balance().into_iter();
    let model = |balance: llm_pipeline::ModelBalance| {
        let tally = tallies.iter().find(|tally| tally.model == balance.model);
        Model {
            name: balance.model.to_string(),
            strategy: spelled(&balance.strategy),
            allowed: tally.map_or(0, |tally| tally.allowed),
            denied: tally.map_or(0, |tally| tally.denied),
            targets: balance.targets.into_iter().map(Target::from).collect(),
        }
    };
    balances.map(model).collect()
}

fn limits(pipeline: &Pipeline) -> Limits {
    let tightest = pipeline.tightest_limits(MOST_LIMITS);
    Limits {
        names: tightest.kept,
        looked_at: tightest.seen,
        tightest: tightest.limits.into_iter().map(Limit::from).collect(),
    }
}

impl From<&Circuit> for CircuitOf {
    fn from(circuit: &Circuit) -> Self {
        Self {
            model: circuit.model.to_string(),
            key: circuit.key.as_deref().map(str::to_owned),
            state: word(circuit.stats.state).to_owned(),
            failure_count: circuit.stats.consecutive_failures,
            next_probe_in_s: circuit.stats.next_probe_in.map(|wait| wait.as_secs_f64()),
        }
    }
}

impl From<llm_router::TargetHealth> for Target {
    fn from(health: llm_router::TargetHealth) -> Self {
        let millis = |span: Option<std::time::Duration>| span.map(|span| span.as_secs_f64() * 1000.0);
        Self {
            name: health.name.to_string(),
            state: spelled(&health.state),
            success_rate: health.success_rate,
            calls: health.calls,
            p50_ms: millis(health.p50),
            p95_ms: millis(health.p95),
            in_flight: health.in_flight,
        }
    }
}

impl From<LimitStats> for Limit {
    fn from(limit: LimitStats) -> Self {
        // Money is counted in 10⁻¹² dollars.
        let per_unit = if limit.resource == Resource::Money { 1e12 } else { 1.0 };
        Self {
            level: limit.level.into(),
            name: limit.name.into(),
            resource: limit.resource.as_str().to_owned(),
            limit: limit.limit as f64 / per_unit,
            remaining: limit.remaining as f64 / per_unit,
            reset_ms: limit.reset_ms,
        }
    }
}

impl From<llm_telemetry::CircuitChange> for CircuitChange {
    fn from(change: llm_telemetry::CircuitChange) -> Self {
        Self {
            at_ms: millis(change.at),
            provider: change.provider.to_string(),
            model: change.model.to_string(),
            from: change.transition.from.to_owned(),
            to: change.transition.to.to_owned(),
            reason: change.transition.reason,
        }
    }
}

impl From<llm_telemetry::Distribution> for Distribution {
    fn from(times: llm_telemetry::Distribution) -> Self {
        Self { bounds_s: times.bounds, counts: times.counts, sum_s: times.sum }
    }
}

const fn rank(state: CircuitState) -> u8 {
    match state {
        CircuitState::Closed => 0,
        CircuitState::HalfOpen => 1,
        CircuitState::Open => 2,
    }
}

/// The state in the words of its changes.
const fn word(state: CircuitState) -> &'static str {
    match state {
        CircuitState::Closed => "closed",
        CircuitState::Open => "open",
        CircuitState::HalfOpen => "half-open",
    }
}

/// A word as it is spelled in JSON.
fn spelled(word: &impl Serialize) -> String {
    serde_json::to_value(word).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
