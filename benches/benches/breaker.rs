//! A circuit beside failsafe's and recloser's. `cargo xtask bench breaker`.

use std::hint::black_box;
use std::time::Duration;

use benches::{Bar, Table};
use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use llm_breaker::{CircuitBreaker, Outcome, Timing};
use llm_core::{Clock, Histogram, SlidingHistogram, SystemClock};
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
    if let Ok(leave) = breaker.pass(now) {
        leave.record_timed(Outcome::Success, black_box(Timing::from(LATENCY)), now);
    }
}

/// The same with a permit of its own, as a call needs that goes elsewhere.
fn owned(breaker: &CircuitBreaker, clock: &SystemClock) {
    let now = clock.now();
    if let Ok(permit) = breaker.admit(now) {
        permit.record_timed(Outcome::Success, black_box(Timing::from(LATENCY)), now);
    }
}

/// Times that lie all over a histogram.
fn times() -> [Duration; 1024] {
    std::array::from_fn(|at| {
        let at = at as u64;
        Duration::from_nanos((1 << 14 << (at % 20)) + at.wrapping_mul(0x9e37_79b9) % 16_384)
    })
}

/// What `record` takes of so many times, one after the other.
fn each(count: u64, times: &[Duration; 1024], record: impl Fn(Duration)) {
    (0..count).for_each(|at| record(times[at as usize % 1024]));
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
        "the same with a permit that owns its circuit",
        None,
        |count| (0..count).for_each(|_| owned(&windowed, &clock)),
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

    let (times, span) = (times(), Duration::from_secs(60));
    let (histogram, sliding) = (Histogram::new(), SlidingHistogram::new(span));
    // Two digits, and the same range: 8 µs to 146 minutes.
    let hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1 << 13, 1 << 43, 2).expect("bounds");
    let hdr = parking_lot::Mutex::new(hdr);
    table.row(
        "a time in a histogram; hdrhistogram's in parking_lot's mutex",
        Some(Bar::Times(0.35)),
        |count| each(count, &times, |time| histogram.record(time)),
        |count| each(count, &times, |time| done(hdr.lock().record(time.as_nanos() as u64))),
    );
    table.row(
        "a time in a sliding histogram; the same, which does not slide",
        None,
        |count| each(count, &times, |time| sliding.record(time, now)),
        |count| each(count, &times, |time| done(hdr.lock().record(time.as_nanos() as u64))),
    );
}
