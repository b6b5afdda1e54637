//! A circuit by hand: calls through it, what is usual learnt from them, a slow one that stands out, and the way back.

use std::sync::Arc;
use std::time::Duration;

use llmkit::{
    Anomaly, CircuitBreaker, CircuitBreakerConfig, CircuitState, ClientBuilder, CompletionRequest, Message, SimConfig,
    SimProvider,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = SimProvider::new("sim", SimConfig::default());
    let client = ClientBuilder::new().with_provider(Arc::new(provider)).build()?;
    let request = |model: &str| CompletionRequest::new(model, vec![Message::user("What is 2+2?")]);

    let breaker = CircuitBreaker::builder()
        .failure_threshold_z_score(2.5)
        .success_threshold(5)
        .half_open_requests(10)
        .timeout_seconds(60)
        .build();
    match breaker.call(async { client.complete(request("sim?tokens=3")).await }).await {
        Ok(response) => println!("answered: {}", response.text_content()),
        Err(error) => println!("not answered: {error}"),
    }

    // Calls that fail in a row open it, and it refuses at once.
    for _ in 0..5 {
        let failing = client.complete(request("sim?status=400"));
        println!("failed: {}", breaker.call(failing).await.is_err());
    }
    match breaker.state() {
        CircuitState::Closed => println!("closed: all calls pass"),
        CircuitState::Open => println!("open: {}", breaker.call(async { Ok::<_, ()>(()) }).await.is_err()),
        CircuitState::HalfOpen => println!("half-open: a few calls pass, to see"),
    }
    breaker.reset();

    // A hundred calls of a few milliseconds each, then one of five seconds: it stands out, and alone it opens
    // nothing, unless a single outlier is to be enough.
    let strict = CircuitBreakerConfig {
        anomaly: Some(Anomaly { z: 2.0, outliers: Some(1) }),
        ..CircuitBreakerConfig::default()
    };
    for (name, config) in [("production", CircuitBreakerConfig::production()), ("one is enough", strict)] {
        let breaker = CircuitBreaker::builder().config(config).build();
        for _ in 0..100 {
            let answered = client.complete(request("sim?tokens=1&ttft=2ms")).await.ok();
            breaker.record_success(answered.as_ref());
        }
        breaker.record_success(Duration::from_secs(5));
        println!("{name}: {:?} after one call of 5 s", breaker.state());
    }

    let metrics = breaker.health_metrics();
    println!(
        "{} calls, {} failed ({:.0} %), {:.1} ms on average, p99 {:.1} ms",
        metrics.request_count,
        metrics.error_count,
        metrics.error_rate() * 100.0,
        metrics.mean_latency_ms,
        metrics.p99_latency_ms
    );
    Ok(())
}
