//! Limits of every sort: one bucket, a bucket a model, a budget of tokens, and levels in a client.

use std::sync::Arc;
use std::time::Duration;

use llmkit::{
    BucketConfig, CapConfig, ClientBuilder, CompletionRequest, LimitConfig, Message, RateLimiter, SimConfig,
    SimProvider, TokenBucketConfig, TokenBudgetConfig, TokenBudgetGuard,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // One bucket: a hundred requests a second, fifty at once. Clones share it.
    let limiter = RateLimiter::new(TokenBucketConfig::new(100, 50));
    let mut passed = 0;
    for _ in 0..60 {
        match limiter.check_and_consume() {
            Ok(()) => passed += 1,
            Err(denied) => println!("after {passed}: {denied}"),
        }
        if limiter.is_limited() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    limiter.reset();
    assert_eq!(limiter.available(), 50);

    // A bucket for each of three levels, asked one after the other: what an earlier one gave is not given back when a
    // later one refuses. `with_limits`, below, takes all or nothing.
    let provider_limiter = RateLimiter::new(TokenBucketConfig::per_provider());
    let model_limiter = RateLimiter::new(TokenBucketConfig::per_model());
    let user_limiter = RateLimiter::new(TokenBucketConfig::new(1, 1));
    for _ in 0..2 {
        if provider_limiter.check_and_consume().is_ok()
            && model_limiter.check_and_consume().is_ok()
            && user_limiter.check_and_consume().is_ok()
        {
            println!("allowed at all levels");
        } else {
            println!("limited; the provider's bucket has {} left", provider_limiter.available());
        }
    }
    let unlimited = RateLimiter::new(TokenBucketConfig::unlimited());
    assert_eq!(unlimited.check_n(1_000_000), Ok(()));

    // A bucket a model; a model without one passes and is counted.
    let models = RateLimiter::new(vec![
        BucketConfig { model_id: "large".to_owned(), requests_per_second: 5.0, burst_capacity: 2 },
        BucketConfig { model_id: "small".to_owned(), requests_per_second: 10.0, burst_capacity: 20 },
    ]);
    for _ in 0..3 {
        if let Err(denied) = models.try_acquire("large") {
            println!("large: {denied}");
        }
    }
    models.acquire("large").await?;
    models.try_acquire("another")?;
    for model in models.stats().per_model {
        println!(
            "{}: allowed {}, denied {}, {:.1} left",
            model.model_id, model.requests_allowed, model.requests_denied, model.current_tokens
        );
    }

    // A budget of tokens: an estimate before the call, the truth after it.
    let budget = TokenBudgetGuard::new(TokenBudgetConfig {
        max_tokens_per_request: 4_096,
        max_tokens_per_period: 100_000,
        period: Duration::from_secs(3600),
    });
    let estimated = budget.check("What is 2+2?")?;
    println!("estimated at {estimated} tokens");
    budget.release(estimated, 25);
    assert_eq!(budget.remaining(), 100_000 - 25);
    assert!(budget.check(&"x".repeat(4 * 4_097)).is_err());

    // Levels in a client: each user thirty tokens an hour, the provider two requests at a time.
    let hour = Duration::from_secs(3600);
    let limits = vec![
        LimitConfig {
            level: "user".to_owned(),
            name: "*".to_owned(),
            tokens: Some(llmkit::MeterConfig::Cap(CapConfig { cap: 30, per: hour })),
            ..LimitConfig::default()
        },
        LimitConfig {
            level: "provider".to_owned(),
            name: "sim".to_owned(),
            concurrency: Some(2),
            ..LimitConfig::default()
        },
    ];
    let provider = SimProvider::new("sim", SimConfig::default());
    let client = ClientBuilder::new().with_provider(Arc::new(provider)).with_limits(limits).build()?;
    let mut request = CompletionRequest::new("sim?tokens=10", vec![Message::user("Tell me something.")]);
    for user in ["ann", "ann", "ann", "bob"] {
        request.user = Some(user.to_owned());
        match client.complete(&request).await {
            Ok(response) => println!("{user}: {}", response.text_content()),
            Err(error) => println!("{user}: {error}; {:?}", error.reasons()),
        }
    }
    Ok(())
}
