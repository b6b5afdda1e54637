//! The process's log lines, on standard error: how they look, and the line that a request leaves.

use std::io::IsTerminal;
use std::time::Duration;

use llm_core::{ModelId, Money, ProviderId, RequestId, TenantId, Usage};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::context::TraceId;
use crate::span::clipped;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Begins to log. `filter` is in `RUST_LOG`'s syntax; what cannot be read of it is left out. A second call
/// changes nothing.
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::builder().parse_lossy(filter);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match format {
        LogFormat::Pretty => lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // The host program may have a subscriber of its own: it stays.
    drop(set);
}

/// What the log says of a request that has ended: names and numbers, never what was asked or answered.
pub(crate) struct RequestLine<'a> {
    pub(crate) request_id: &'a RequestId,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) method: Option<&'a str>,
    pub(crate) route: Option<&'static str>,
    pub(crate) status: Option<u16>,
    pub(crate) tenant: Option<&'a TenantId>,
    pub(crate) operation: Option<&'static str>,
    pub(crate) model: Option<&'a ModelId>,
    pub(crate) provider: Option<&'a ProviderId>,
    pub(crate) sharing: Option<&'static str>,
    pub(crate) attempts: Option<u32>,
    pub(crate) stream: bool,
    pub(crate) outcome: &'static str,
    pub(crate) duration: Duration,
    pub(crate) first_token: Option<Duration>,
    pub(crate) usage: Option<&'a Usage>,
    pub(crate) cost: Option<Money>,
}

impl RequestLine<'_> {
    /// Writes it; what is not known is left out.
    pub(crate) fn write(&self) {
        tracing::info!(
            target: "llmkit::request",
            request_id = %self.request_id,
            trace_id = self.trace_id.map(tracing::field::display),
            method = self.method,
            route = self.route,
            status = self.status,
            tenant = self.tenant.map(tracing::field::display),
            operation = self.operation,
            model = self.model.map(|model| tracing::field::display(clipped(model.as_str()))),
            provider = self.provider.map(tracing::field::display),
            sharing = self.sharing,
            attempts = self.attempts,
            stream = self.stream,
            outcome = self.outcome,
            duration_ms = millis(self.duration),
            first_token_ms = self.first_token.map(millis),
            input_tokens = self.usage.map(Usage::input_total),
            output_tokens = self.usage.map(Usage::output_total),
            cost_usd = self.cost.map(Money::as_dollars),
            "request"
        );
    }
}

/// To the microsecond.
fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1e3
}
