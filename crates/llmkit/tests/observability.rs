//! What a client measures, and the spans of its requests.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use llmkit::{
    Client, ClientBuilder, CompletionRequest, Exporter, Message, Money, ObservabilityConfig, Price, SimConfig,
    SimProvider, Span, SpanSink, Strategy, TargetConfig, Telemetry, Terms, TracingContext, Value,
};

fn over(adjust: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let sim = Arc::new(SimProvider::new("sim", SimConfig::default()));
    adjust(ClientBuilder::new().with_provider(sim)).build().unwrap()
}

fn ask(model: &str) -> CompletionRequest {
    CompletionRequest::new(model, vec![Message::user("Explain LLMs")])
}

/// The value of a line of Prometheus' text.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("{series} is not in\n{metrics}")).trim().parse().unwrap()
}

const MEASURED: ObservabilityConfig =
    ObservabilityConfig { enable_traces: false, enable_metrics: true, exporter: Exporter::Prometheus };

#[tokio::test]
async fn requests_tokens_costs_and_errors_are_measured() {
    let each = Money::from_units(1_000_000_000);
    let terms = Terms { price: Some(Price::per_token(each, each)), ..Terms::default() };
    let target = TargetConfig { provider: "sim".into(), model: "sim?tokens=7".into(), weight: 1, terms };
    let client =
        over(|builder| builder.with_model("fast", Strategy::Fallback, vec![target]).with_observability(MEASURED));
    let usage = client.complete(ask("fast")).await.unwrap().usage.unwrap();
    assert!(client.complete(ask("sim?status=400")).await.is_err());

    let metrics = client.metrics();
    let series = "llmkit_request_duration_seconds_count{provider=\"sim\",model=\"fast\"}";
    assert_eq!(value(&metrics, series), 1.0);
    let tokens = |direction: &str| {
        value(&metrics, &format!("llmkit_request_tokens_total{{provider=\"sim\",direction=\"{direction}\"}}"))
    };
    assert_eq!((tokens("input"), tokens("output")), (usage.input as f64, 7.0));
    let cost = value(&metrics, "llmkit_request_cost_total{provider=\"sim\",model=\"fast\"}");
    assert!((cost - 0.001 * (usage.input as f64 + 7.0)).abs() < 1e-9, "{cost}");
    assert_eq!(value(&metrics, "llmkit_request_active{provider=\"sim\"}"), 0.0);
    let errors = "llmkit_provider_errors_total{provider=\"sim\",error_type=\"invalid_request\"}";
    assert_eq!(value(&metrics, errors), 1.0);
}

#[tokio::test]
async fn nothing_is_measured_unless_it_is_wanted() {
    let client = over(|builder| builder);
    client.complete(ask("sim")).await.unwrap();
    assert_eq!(client.metrics(), "");
    let client = over(|builder| builder.with_observability(ObservabilityConfig { enable_metrics: false, ..MEASURED }));
    client.complete(ask("sim")).await.unwrap();
    assert!(!client.metrics().contains("provider=\"sim\""));
}

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Span>>);

impl SpanSink for Kept {
    fn take(&self, span: Span) {
        self.0.lock().unwrap().push(span);
    }

    fn close(&self, _: Duration) {}
}

#[tokio::test]
async fn requests_with_a_context_are_in_its_trace_with_its_attributes() {
    let kept = Arc::new(Kept::default());
    let telemetry = Telemetry::builder().sink(kept.clone()).try_build().unwrap();
    let client = over(|builder| builder.with_telemetry(Arc::new(telemetry)));
    let context = TracingContext::new()
        .with_trace_id("request-123")
        .with_span_id("span-456")
        .with_attribute("customer.tier", "gold");
    let trace = context.trace_id();
    client.with_tracing_context(context).complete(ask("sim")).await.unwrap();

    let spans = std::mem::take(&mut *kept.0.lock().unwrap());
    assert!(!spans.is_empty() && spans.iter().all(|span| span.trace_id == trace), "{spans:?}");
    let named = |name: &str| spans.iter().find(|span| span.name == name);
    let whole = named("client.complete").unwrap_or_else(|| panic!("{spans:?}"));
    let said = |name: &str| whole.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(said("customer.tier"), Some(Value::from("gold")));
    assert_eq!(said("llmkit.correlation_id"), Some(Value::from("request-123")));
    assert!(spans.iter().any(|span| span.parent == Some(whole.span_id)), "{spans:?}");

    client.complete(ask("sim")).await.unwrap();
    let others = std::mem::take(&mut *kept.0.lock().unwrap());
    assert!(!others.is_empty() && others.iter().all(|span| span.trace_id != trace), "the client itself is in no trace");
}

#[tokio::test]
async fn a_streams_span_ends_with_the_stream() {
    use futures_util::StreamExt as _;

    let kept = Arc::new(Kept::default());
    let telemetry = Telemetry::builder().sink(kept.clone()).try_build().unwrap();
    let client = over(|builder| builder.with_telemetry(Arc::new(telemetry)));
    let mut events = client.stream(ask("sim?tokens=5")).await.unwrap();
    let ended = || kept.0.lock().unwrap().iter().any(|span| span.name == "client.stream");
    assert!(!ended());
    while let Some(event) = events.next().await {
        event.unwrap();
    }
    drop(events);
    assert!(ended());
}
