//! A circuit beside failsafe's and recloser's. `cargo xtask bench breaker`.

use std::hint::black_box;
use std::time::Duration;

use benches::{Bar, Table};
use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use llm_breaker::{CircuitBreaker, Outcome, Timing};
use llm_core::{Clock, SystemClock};
use recloser::Recloser;

/// What every call is said to have taken.
const LATENCY: Duration = Duration::from_millis(250);

fn ours() -> CircuitBreaker {
    CircuitBreaker::builder().anomaly(None).build()
}

fn failsafe() -> impl failsafe::CircuitBreaker {
    let wait = backoff::constant(Duration::from_secs(60));
    let policy = failure_policy::success_rate_over_time_window(0.5, 20, Duration::from_secs(30), wait);
    failsafe::Config::new().failure_policy(policy).build()
}

/// A call that took so long. The clock is read once: whoever calls knows the time.
fn timed(breaker: &CircuitBreaker, clock: &SystemClock) {
    let now = clock.now();
    let permit = breaker.admit(now).expect("it is closed");
    permit.record_timed(Outcome::Success, black_box(Timing::from(LATENCY)), now);
}

fn fine() -> Result<(), ()> {
    black_box(Ok(()))
}

fn done<T>(result: T) {
    black_box(result);
}

fn main() {
    let clock = SystemClock::new();
    let table = Table::new();
    let (windowed, watching, peer) = (ours(), CircuitBreaker::builder().build(), failsafe());
    let now = clock.now();

    table.row(
        "may a call pass, while closed; failsafe's permit check",
        Some(Bar::Times(0.35)),
        |count| (0..count).for_each(|_| done(black_box(&windowed).is_available(now))),
        |count| (0..count).for_each(|_| done(black_box(&peer).is_call_permitted())),
    );
    table.row(
        "a call, with a failure-rate window, its latency and counted probes; failsafe's windowed call",
        Some(Bar::Times(0.3)),
        |count| (0..count).for_each(|_| timed(&windowed, &clock)),
        |count| (0..count).for_each(|_| done(peer.call(fine))),
    );
    table.row(
        "the same with the anomaly policy",
        None,
        |count| (0..count).for_each(|_| timed(&watching, &clock)),
        |count| (0..count).for_each(|_| done(peer.call(fine))),
    );
    let recloser = Recloser::custom().build();
    table.row(
        "the same; recloser, which has no window in time",
        None,
        |count| (0..count).for_each(|_| timed(&watching, &clock)),
        |count| (0..count).for_each(|_| done(recloser.call(fine))),
    );
    table.row_on_two_threads(
        "the same on two threads; failsafe's",
        None,
        || timed(&watching, &clock),
        || done(peer.call(fine)),
    );
    table.added(
        "what the anomaly policy adds; a read of the clock",
        Some(Bar::Nanos(12.0)),
        |count| (0..count).for_each(|_| timed(&watching, &clock)),
        |count| (0..count).for_each(|_| timed(&windowed, &clock)),
        |count| (0..count).for_each(|_| done(clock.now())),
    );
}
