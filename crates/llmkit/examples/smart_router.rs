//! A router by hand and in a client: the cheapest provider first, the others behind it, and what each call teaches.
#![expect(clippy::disallowed_methods, reason = "an example's own time is the machine's")]

use std::sync::Arc;

use llmkit::{ClientBuilder, CompletionRequest, Message, Optimization, Provider, SimConfig, SimProvider, SmartRouter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = |name: &str| Arc::new(SimProvider::new(name, SimConfig::default())) as Arc<dyn Provider>;
    let router = SmartRouter::builder()
        .add_provider("openai", 0.003) // dollars per 1,000 tokens
        .add_provider("anthropic", 0.0015)
        .add_provider("groq", 0.0001)
        .optimize_for(Optimization::Cost)
        .fallback_providers(vec!["openai".to_string(), "anthropic".to_string()])
        .build()
        .with_providers(["openai", "anthropic", "groq"].map(provider));

    let request = CompletionRequest::new("auto", vec![Message::user("What is 2+2?")]);
    let decision = router.route(&request).await?;
    println!("selected provider: {}, because {:?}", decision.provider, decision.reason);
    println!("predicted latency: {} ms", decision.predicted_latency_ms);
    println!("predicted cost: ${}", decision.predicted_cost);
    println!("fallbacks: {:?}", decision.fallback_chain);
    assert_eq!(decision.provider, "groq");

    let start = std::time::Instant::now();
    let response = router.complete(&request).await?;
    let actual_latency = start.elapsed().as_millis();
    router.update_metrics(&decision.provider, actual_latency as f64);
    println!("{}", response.text_content());

    // In a client: each goal has its order, and a provider that fails is passed over.
    for goal in [Optimization::Cost, Optimization::Latency, Optimization::Reliability] {
        let router =
            SmartRouter::builder().add_provider("dear", 0.003).add_provider("cheap", 0.0001).optimize_for(goal).build();
        let client = ClientBuilder::new()
            .with_provider(provider("dear"))
            .with_provider(provider("cheap"))
            .with_smart_router(router.clone())
            .build()?;
        for _ in 0..8 {
            client.complete(&request).await?;
        }
        let decision = router.route(&request).await?;
        println!("{goal:?}: {} next, about {:.0} ms", decision.provider, decision.predicted_latency_ms);
    }
    Ok(())
}
