//! Metrics of a client as Prometheus' text, and requests that are part of a trace. Offline: where no collector is named,
//! spans go nowhere.

use std::sync::Arc;

use llmkit::{
    ClientBuilder, CompletionRequest, Exporter, Message, ObservabilityConfig, SimConfig, SimProvider, TracingContext,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::new()
        .with_provider(Arc::new(SimProvider::new("sim", SimConfig::default())))
        .with_observability(ObservabilityConfig {
            enable_traces: true,
            enable_metrics: true,
            exporter: Exporter::Prometheus,
        })
        .build()?;

    let request = CompletionRequest::new("sim", vec![Message::user("Explain LLMs")]);
    let response = client.complete(&request).await?;
    println!("{}", response.text_content());

    let trace_context = TracingContext::new()
        .with_trace_id("request-123")
        .with_span_id("span-456")
        .with_attribute("customer.tier", "gold");
    let response = client.with_tracing_context(trace_context).complete(request).await?;
    println!("{}", response.text_content());

    for line in client.metrics().lines().filter(|line| line.starts_with("llmkit_request_tokens_total")) {
        println!("{line}");
    }
    Ok(())
}
