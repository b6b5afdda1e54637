//! What circuits take of the machine's memory, as the kernel counts it. Linux alone counts it so.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use llm_breaker::{CircuitBreaker, Outcome, Timing};
use llm_core::{Clock, ManualClock};

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_hundred_circuits_that_have_seen_traffic_take_less_than_5_mb() {
    let clock = ManualClock::new();
    let before = resident();
    let circuits: Vec<_> = (0..100).map(|_| CircuitBreaker::builder().build()).collect();
    for call in 0..2000u64 {
        clock.advance(Duration::from_millis(50));
        for circuit in &circuits {
            let timing = Timing {
                latency: Duration::from_micros(100 << (call % 20)),
                first_token: Some(Duration::from_millis(300)),
                token_gap: Some(Duration::from_millis(20)),
            };
            if let Ok(permit) = circuit.admit(clock.now()) {
                permit.record_timed(Outcome::Success, timing, clock.now());
            }
        }
    }
    let all = resident() - before;
    assert!(all <= 5_000_000, "{all} bytes");
}
