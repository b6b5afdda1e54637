//! A limiter as the documentation has it: what it is made from, what it says, what clones share.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, ManualClock};
use llm_ratelimit::{BucketConfig, ConfigError, Denied, RateLimiter, TokenBucketConfig};

fn limiter(config: TokenBucketConfig) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    (RateLimiter::new(config).with_clock(Arc::new(clock.clone())), clock)
}

#[test]
fn a_rate_and_a_burst_are_what_they_say() {
    let (limiter, clock) = limiter(TokenBucketConfig::new(100, 50));
    assert!((0..50).all(|_| limiter.check_and_consume().is_ok()));
    assert_eq!(limiter.check_and_consume(), Err(Denied::Until { wait: Duration::from_millis(10) }));
    clock.advance(Duration::from_millis(100));
    assert_eq!(limiter.available(), 10);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(limiter.available(), 50);
}

#[test]
fn the_presets_hold_a_second_of_their_rate() {
    for (preset, rate) in [(TokenBucketConfig::per_provider(), 100), (TokenBucketConfig::per_model(), 10)] {
        assert_eq!(preset, TokenBucketConfig::new(rate, rate));
        let (limiter, _) = limiter(preset);
        assert_eq!((0..1000).filter(|_| limiter.check_and_consume().is_ok()).count(), rate as usize);
    }
    let (limiter, _) = limiter(TokenBucketConfig::unlimited());
    assert!((0..1000).all(|_| limiter.check_n(u32::MAX).is_ok()) && !limiter.is_limited());
}

#[test]
fn who_is_limited_can_be_seen_and_a_reset_ends_it() {
    let (limiter, clock) = limiter(TokenBucketConfig::new(1, 1));
    assert!(!limiter.is_limited());
    assert!(limiter.check_and_consume().is_ok());
    assert!(limiter.is_limited());
    clock.advance(Duration::from_millis(999));
    assert!(limiter.is_limited(), "looking takes nothing, and a part of a unit is none");
    limiter.reset();
    assert!(!limiter.is_limited());
    assert_eq!(limiter.available(), 1);
}

#[test]
fn clones_share_what_is_taken_and_what_is_set() {
    let (limiter, clock) = limiter(TokenBucketConfig::new(1, 3));
    let other = limiter.clone();
    assert!(limiter.check_n(2).is_ok() && other.check_n(1).is_ok());
    assert!(limiter.check_and_consume().is_err() && other.check_and_consume().is_err());
    other.reconfigure(TokenBucketConfig::new(10, 5)).unwrap();
    assert_eq!(limiter.config(), TokenBucketConfig::new(10, 5));
    clock.advance(Duration::from_millis(100));
    assert_eq!(limiter.available(), 3, "three are still missing, less the one that has been refilled");
    assert!(other.reconfigure(TokenBucketConfig::new(0, 5)).is_err());
    assert_eq!(limiter.config(), TokenBucketConfig::new(10, 5));
}

#[test]
fn a_charge_comes_back_unless_it_was_sent_or_is_kept() {
    let (limiter, clock) = limiter(TokenBucketConfig::new(0.001, 4));
    let take = || limiter.take(1, clock.now()).unwrap();
    drop(take());
    assert_eq!(limiter.available(), 4);
    take().give_back(clock.now());
    assert_eq!(limiter.available(), 4);
    take().keep();
    take().sent();
    assert_eq!(limiter.available(), 2);
    let mut charge = take();
    charge.sent();
    charge.unsent();
    drop(charge);
    assert_eq!(limiter.available(), 2);
}

#[test]
fn another_limit_carries_on_from_the_one_before() {
    let (limiter, _) = limiter(TokenBucketConfig::new(1, 10));
    assert!(limiter.check_n(4).is_ok());
    let same = limiter.adopt(TokenBucketConfig::new(1, 10)).unwrap();
    assert!(same.check_n(1).is_ok());
    assert_eq!(limiter.available(), 5, "it is the same bucket");
    let other = limiter.adopt(TokenBucketConfig::new(2, 20)).unwrap();
    assert_eq!(other.available(), 15);
    assert!(other.check_n(1).is_ok());
    assert_eq!(limiter.available(), 5, "it is another bucket");
}

#[test]
fn what_is_no_limit_is_refused_by_its_key() {
    let told = |rate: f64, burst| RateLimiter::try_new(TokenBucketConfig::new(rate, burst)).unwrap_err().to_string();
    assert!(told(0.0, 1).starts_with("rate_per_second: "));
    assert!(told(f64::NAN, 1).starts_with("rate_per_second: "));
    assert!(told(1.0, 0).starts_with("burst: "));
    assert!(told(1.0, u32::MAX).starts_with("rate_per_second: "));
    let panic = catch_unwind(|| RateLimiter::new(TokenBucketConfig::new(-1, 1))).unwrap_err();
    assert_eq!(*panic.downcast::<String>().unwrap(), "rate_per_second: -1 is not above 0");
}

#[test]
fn of_a_list_the_model_and_its_key_are_named() {
    let told = |requests_per_second, burst_capacity| {
        let fine = BucketConfig { model_id: "fine".into(), requests_per_second: 0.5, burst_capacity: 1 };
        let config = BucketConfig { model_id: "gpt".into(), requests_per_second, burst_capacity };
        match RateLimiter::try_new(vec![fine, config]).unwrap_err() {
            ConfigError::Value { key, .. } => key,
            other => panic!("{other}"),
        }
    };
    assert_eq!(told(0.0, 1), "gpt.requests_per_second");
    assert_eq!(told(1e-9, 1), "gpt.requests_per_second");
    assert_eq!(told(1.0, 0), "gpt.burst_capacity");
}
