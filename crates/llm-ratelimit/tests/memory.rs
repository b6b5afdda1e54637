//! What limiters take of the machine's memory, as the kernel counts it. Linux alone counts it so.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use llm_ratelimit::{KeyedLimiter, RateLimiter, TokenBucketConfig};

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn an_idle_limiter_takes_64_bytes_and_a_key_what_is_documented() {
    const LIMITERS: usize = 100_000;
    let before = resident();
    // Their handles are counted, too.
    let limiters: Vec<_> = (0..LIMITERS).map(|_| RateLimiter::new(TokenBucketConfig::per_model())).collect();
    let each = (resident() - before) / LIMITERS;
    assert!(each <= 64, "{each} bytes: 1,000 of them are to fit 64 KB");
    assert!(limiters.iter().all(|limiter| !limiter.is_limited()));

    let keyed = KeyedLimiter::try_each(TokenBucketConfig::new(0.001, 2), LIMITERS).unwrap();
    let before = resident();
    for key in 0..LIMITERS {
        keyed.check(&format!("user-{key:05}")).unwrap();
    }
    let each = (resident() - before) / LIMITERS;
    assert!(each <= 160, "{each} bytes");
}
