//! A router over named providers: it decides, calls along its plan, and learns from how that went.

use std::sync::Arc;
use std::time::Instant;

use llmkit::{CompletionRequest, EchoProvider, Message, Optimization, Provider, SmartRouter};

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "it times a call as its reader would")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = SmartRouter::builder()
        .add_provider("openai", 0.003) // $0.003 per 1K tokens
        .add_provider("anthropic", 0.0015) // $0.0015 per 1K tokens
        .add_provider("groq", 0.0001) // $0.0001 per 1K tokens
        .optimize_for(Optimization::Cost)
        .fallback_providers(vec!["openai".to_string(), "anthropic".to_string()])
        .build()
        .with_providers(
            ["openai", "anthropic", "groq"].map(|name| Arc::new(EchoProvider::new(name)) as Arc<dyn Provider>),
        );

    let request = CompletionRequest::new("auto", vec![Message::user("What is 2+2?")]);
    let decision = router.route(&request).await?;
    println!("provider: {}, since: {}", decision.provider, decision.reason);
    println!("predicted latency: {} ms", decision.predicted_latency_ms);
    println!("predicted cost: ${}", decision.predicted_cost);
    println!("fallbacks: {:?}", decision.fallback_chain);
    assert_eq!(decision.provider, "groq");

    let start = Instant::now();
    let response = router.complete(&request).await?;
    let actual_latency = start.elapsed().as_millis();
    router.update_metrics(&decision.provider, actual_latency as f64);
    println!("{}", response.text_content());
    Ok(())
}
