//! Routing, a limit and a circuit in one client: a provider that fails is left out, and a caller that is too
//! fast is told how long to wait.

use std::sync::Arc;

use llmkit::{
    CircuitBreaker, CircuitState, ClientBuilder, CompletionRequest, Exporter, Message, ObservabilityConfig,
    Optimization, RateLimiter, SimConfig, SimProvider, SmartRouter, Strategy, StreamingMultiplexer, TargetConfig,
    TokenBucketConfig,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let breaker = CircuitBreaker::builder().success_threshold(5).half_open_requests(10).timeout_seconds(60).build();
    let target = |provider: &str, model: &str| TargetConfig {
        provider: provider.into(),
        model: model.into(),
        weight: 1,
        terms: Default::default(),
    };
    let client = ClientBuilder::new()
        .with_provider(Arc::new(SimProvider::new("flaky", SimConfig::default())))
        .with_provider(Arc::new(SimProvider::new("steady", SimConfig::default())))
        .with_model(
            "fast",
            Strategy::Fallback,
            vec![target("flaky", "sim?error_rate=1"), target("steady", "sim?tokens=5")],
        )
        .with_streaming_multiplexer(StreamingMultiplexer::new())
        .with_smart_router(
            SmartRouter::builder()
                .add_provider("flaky", 0.003)
                .add_provider("steady", 0.003)
                .optimize_for(Optimization::Cost)
                .build(),
        )
        .with_rate_limiter(RateLimiter::new(TokenBucketConfig::new(2, 3)))
        .with_circuit_breaker(breaker.clone())
        .with_observability(ObservabilityConfig {
            enable_traces: true,
            enable_metrics: true,
            exporter: Exporter::Prometheus,
        })
        .build()?;

    let request = CompletionRequest::new("fast", vec![Message::user("What is 2+2?")]);
    for number in 1..=4 {
        match client.complete(&request).await {
            Ok(response) => println!("{number}: {}", response.text_content()),
            Err(error) => println!("{number}: {error}; try again in {:?}", error.retry_after()),
        }
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    Ok(())
}
