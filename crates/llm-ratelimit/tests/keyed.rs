//! One bucket for each of many keys.

use std::sync::Arc;
use std::time::Duration;

use llm_core::ManualClock;
use llm_ratelimit::{BucketConfig, Denied, KeyedLimiter, RateLimiter, TokenBucketConfig};

fn each(burst: u32, max_keys: usize) -> (KeyedLimiter, ManualClock) {
    let clock = ManualClock::new();
    let limiter = KeyedLimiter::try_each(TokenBucketConfig::new(1, burst), max_keys).expect("limits");
    (limiter.with_clock(Arc::new(clock.clone())), clock)
}

#[test]
fn keys_do_not_share() {
    let (limiter, _) = each(1, 100);
    assert!(limiter.check("a").is_ok());
    assert!(limiter.check("a").is_err());
    assert!(limiter.check("b").is_ok());
}

#[test]
fn a_list_limits_the_keys_it_names_and_counts_the_others() {
    let limiter = RateLimiter::new(vec![
        BucketConfig { model_id: "gpt-4o".to_string(), requests_per_second: 10.0, burst_capacity: 2 },
        BucketConfig { model_id: "claude".to_string(), requests_per_second: 5.0, burst_capacity: 1 },
    ]);
    let limiter = limiter.with_clock(Arc::new(ManualClock::new()));
    assert!(limiter.try_acquire("gpt-4o").is_ok() && limiter.try_acquire("gpt-4o").is_ok());
    let denied = limiter.try_acquire("gpt-4o").unwrap_err();
    assert_eq!(denied, Denied::Until { wait: Duration::from_millis(100) });
    assert!((0..100).all(|_| limiter.try_acquire("other").is_ok()));
    let stats = limiter.stats();
    assert_eq!(stats.unlimited, 100);
    let shown: Vec<_> = stats
        .per_model
        .iter()
        .map(|m| (m.model_id.as_str(), m.requests_allowed, m.requests_denied, m.current_tokens))
        .collect();
    assert_eq!(shown, [("claude", 0, 0, 1.0), ("gpt-4o", 2, 1, 0.0)]);
    let json = serde_json::to_value(&stats.per_model[1]).unwrap();
    let expected =
        serde_json::json!({"model_id": "gpt-4o", "requests_allowed": 2, "requests_denied": 1, "current_tokens": 0.0});
    assert_eq!(json, expected);
}

#[test]
fn a_key_may_have_a_bucket_of_its_own_kind() {
    let (limiter, _) = each(2, 100);
    assert!(limiter.check("vip").is_ok());
    limiter.set("vip", TokenBucketConfig::new(1, 10)).unwrap();
    assert_eq!((limiter.available("vip"), limiter.available("other")), (Some(9), Some(2)));
    assert!(limiter.set("vip", TokenBucketConfig::new(1, 0)).is_err());
    assert_eq!(limiter.available("vip"), Some(9));
}

#[test]
fn memory_is_bounded_and_forgetting_grants_nothing() {
    let (limiter, clock) = each(1, 100);
    let admitted = (0..2000).filter(|key: &i32| limiter.check(&key.to_string()).is_ok()).count();
    // One each for those that are kept, and one that all others share.
    assert_eq!((limiter.len(), admitted), (100, 101));
    assert!((0..100).all(|key: i32| limiter.check(&key.to_string()).is_err()));
    clock.advance(Duration::from_secs(1));
    assert!(limiter.check("new").is_ok(), "those that are full again make room");
    assert_eq!(limiter.len(), 1);
}
