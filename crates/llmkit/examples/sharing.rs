//! One call for many: streams that are shared, finished answers, near-duplicates, sessions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use llmkit::{
    CacheConfig, ClientBuilder, CompletionRequest, Message, PromptCache, SemanticDeduplicator, SimConfig, SimProvider,
    StreamAggregator, StreamChunk, StreamEvent, StreamingMultiplexer,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // By hand: both subscribers hear one stream.
    let multiplexer = StreamingMultiplexer::new();
    let request = CompletionRequest::new(
        "claude-sonnet-4-20250514",
        vec![Message::user("Explain quantum computing in 100 words")],
    );
    let stream1 = multiplexer.subscribe(&request).await?;
    let stream2 = multiplexer.subscribe(&request).await?;
    let stats = multiplexer.stats().await;
    println!("active requests: {}, subscribers: {}", stats.active_requests, stats.total_subscribers);
    multiplexer.publish(&request, StreamEvent::Text { choice: 0, text: "It is strange.".to_string() });
    multiplexer.complete_request(&request).await;
    assert_eq!((stream1.count().await, stream2.count().await), (1, 1));

    // In a client: identical calls at one time are one.
    let provider = Arc::new(SimProvider::new("sim", SimConfig::default()));
    let client = ClientBuilder::new()
        .with_provider(provider.clone())
        .with_streaming_multiplexer(StreamingMultiplexer::new())
        .build()?;
    let asked = CompletionRequest::new("sim?tokens=5&ttft=20ms", vec![Message::user("What is 2+2?")]);
    let answers = futures_util::future::join_all((0..10).map(|_| client.complete(&asked))).await;
    let texts: Vec<_> = answers.into_iter().map(|answer| answer.map(|answer| answer.text_content())).collect();
    assert!(texts.iter().all(Result::is_ok));
    println!("{} answers, {} call upstream", texts.len(), provider.stats().total.requests);

    // Finished answers, by model and prompt.
    let cache = PromptCache::new(CacheConfig {
        max_entries: 1024,
        default_ttl: Duration::from_secs(300),
        max_prompt_len: 16_384,
    });
    cache.insert("gpt-4o", "What is 2+2?", vec!["4".to_string()], None);
    println!("kept: {:?}, hit rate {:.2}", cache.get("gpt-4o", "What is 2+2?"), cache.stats().hit_rate);
    cache.flush();

    // Near-duplicates: true is new.
    let dedup = SemanticDeduplicator::new(3, Duration::from_secs(300));
    assert!(dedup.check_and_register("What is the capital of France?"));
    let is_novel = dedup.check_and_register("What is the capital of France");
    assert!(!is_novel);
    assert!(dedup.check_and_register("What is the capital of Germany?"));

    // A session's output, for whoever subscribes.
    let aggregator = StreamAggregator::new();
    aggregator.feed(StreamChunk::new("session", "Hello, "));
    let heard = aggregator.subscribe("session");
    aggregator.feed(StreamChunk::new("session", "world"));
    println!("{}; {:?}", aggregator.complete("session"), aggregator.stats());
    assert_eq!(heard.count().await, 2);
    Ok(())
}
