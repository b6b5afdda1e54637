//! Limits beside governor's: alone, in levels, contended, by key. `cargo xtask bench limits`.

use std::hint::black_box;
use std::num::NonZeroU32;

use benches::{Bar, Table};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter as Governor};
use leaky_bucket::RateLimiter as LeakyBucket;
use llm_core::{Clock, SystemClock};
use llm_ratelimit::{Cost, Hierarchy, KeyedLimiter, LimitConfig, MeterConfig, RateLimiter, TokenBucketConfig};
use ratelimit::Ratelimiter as Ratelimit;

/// A rate that no machine here reaches, so that every decision is an admission.
const NEVER: u32 = 1_000_000_000;

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

fn governor() -> DefaultDirectRateLimiter {
    Governor::direct(quota())
}

fn quota() -> Quota {
    Quota::per_second(NonZeroU32::new(NEVER).expect("above zero"))
}

/// Full: it begins empty, and counts the units that may be had in one word.
fn leaky_bucket() -> LeakyBucket {
    LeakyBucket::builder().initial(NEVER as usize).max(NEVER as usize).refill(NEVER as usize).interval(SECOND).build()
}

/// On the clock that the others read.
struct Clocked(SystemClock);

impl ratelimit::Clock for Clocked {
    fn elapsed(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.now().as_nanos())
    }
}

fn ratelimit() -> Ratelimit<Clocked> {
    let builder = ratelimit::Builder::with_clock(NEVER.into(), Clocked(SystemClock::new()));
    builder.initial_available(NEVER.into()).build().expect("a rate")
}

fn ours() -> RateLimiter {
    RateLimiter::new(TokenBucketConfig::new(f64::from(NEVER), NEVER))
}

/// Three levels, each with a limit on requests, and on tokens if so.
fn levels(name: &str, tokens: bool) -> Hierarchy {
    let rate = MeterConfig::Rate { rate: f64::from(NEVER), per: SECOND, burst: Some(NEVER) };
    let table = |level: &str| LimitConfig {
        level: level.into(),
        name: name.into(),
        requests: Some(rate),
        tokens: tokens.then_some(rate),
        ..LimitConfig::default()
    };
    Hierarchy::try_new(["user", "key", "org"].map(table).into()).expect("three tables")
}

const NAMES: [(&str, &str); 3] = [("user", "user-4711"), ("key", "key-0815abcd"), ("org", "acme-incorporated")];

/// Only whether it passed is looked at, as a caller does.
fn done<T, E>(outcome: Result<T, E>) {
    black_box(outcome.is_ok());
}

fn main() {
    let clock = SystemClock::new();
    let table = Table::new();

    let (limiter, peer) = (ours(), governor());
    table.row(
        "one limit",
        Some(Bar::Times(1.0)),
        |count| (0..count).for_each(|_| done(limiter.check_and_consume())),
        |count| (0..count).for_each(|_| done(peer.check())),
    );
    table.row_on_two_threads(
        "one limit, two threads on it",
        Some(Bar::Times(0.8)),
        || done(limiter.check_and_consume()),
        || done(peer.check()),
    );
    let (leaky, bucket) = (leaky_bucket(), ratelimit());
    table.row(
        "one limit; ratelimit, a token bucket on the same clock",
        None,
        |count| (0..count).for_each(|_| done(limiter.check_and_consume())),
        |count| (0..count).for_each(|_| done(bucket.try_wait())),
    );
    table.row(
        "one limit; leaky-bucket, without waiting",
        None,
        |count| (0..count).for_each(|_| done(limiter.check_and_consume())),
        |count| (0..count).for_each(|_| _ = black_box(leaky.try_acquire(1))),
    );

    let peers = [governor(), governor(), governor()];
    let three = || peers.iter().for_each(|peer| done(peer.check()));
    let scope = levels("*", false).scope(&NAMES, clock.now());
    let one = Cost::exact(0, 0);
    table.row(
        "three levels, all or nothing; three governors in a row",
        Some(Bar::Times(0.55)),
        |count| (0..count).for_each(|_| done(scope.check(one, clock.now()))),
        |count| (0..count).for_each(|_| three()),
    );
    let now = clock.now();
    table.row(
        "the same where the request has read the clock already",
        None,
        |count| (0..count).for_each(|_| done(scope.check(one, black_box(now)))),
        |count| (0..count).for_each(|_| three()),
    );
    let six = levels("*", true).scope(&NAMES, clock.now());
    let some = Cost::exact(100, 0);
    table.row(
        "three levels of requests and tokens; three governors in a row",
        Some(Bar::Times(0.9)),
        |count| (0..count).for_each(|_| done(six.check(some, clock.now()))),
        |count| (0..count).for_each(|_| three()),
    );
    table.row_on_two_threads(
        "three levels, two threads on all of them; three governors in a row",
        Some(Bar::Times(0.35)),
        || done(scope.check(one, clock.now())),
        three,
    );

    let keyed = KeyedLimiter::try_each(TokenBucketConfig::new(f64::from(NEVER), NEVER), 100_000).expect("a limit");
    let keyed_peer: DefaultKeyedRateLimiter<String> = Governor::keyed(quota());
    let key = "key-0815abcd".to_owned();
    table.row(
        "one limit by key",
        None,
        |count| (0..count).for_each(|_| done(keyed.check(&key))),
        |count| (0..count).for_each(|_| done(keyed_peer.check_key(&key))),
    );
    let hierarchy = levels("*", false);
    table.row(
        "three levels by key; one governor by key",
        Some(Bar::Times(2.4)),
        |count| (0..count).for_each(|_| done(hierarchy.check(&NAMES, one, clock.now()))),
        |count| (0..count).for_each(|_| done(keyed_peer.check_key(&key))),
    );
}
