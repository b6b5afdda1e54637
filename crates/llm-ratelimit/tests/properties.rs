//! Laws of a limiter over any schedule, beside a naive bucket of exact fractions.

use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, ManualClock, Tick};
use llm_ratelimit::{Charge, Denied, RateLimiter, TokenBucketConfig};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Wait(Duration),
    Take(u32),
    Keep(usize),
    GiveBack(usize),
    Reconfigure(u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![0u64..1000, 0u64..1_000_000_000, 0u64..10_000_000_000].prop_map(Duration::from_nanos);
    let step = prop_oneof![
        3 => wait.prop_map(Step::Wait),
        5 => (1u32..6).prop_map(Step::Take),
        1 => any::<usize>().prop_map(Step::Keep),
        2 => any::<usize>().prop_map(Step::GiveBack),
        1 => (1u32..2000, 1u32..20).prop_map(|(rate, burst)| Step::Reconfigure(rate, burst)),
    ];
    proptest::collection::vec(step, 1..80)
}

/// The same, with waits of eighths of the time that a unit takes to refill: what is refilled and what is given back
/// meet.
fn steps_in_time(rate: u32) -> impl Strategy<Value = Vec<Step>> {
    let eighth = Duration::from_secs(1) / rate / 8;
    let step = prop_oneof![
        3 => (0u32..16).prop_map(move |eighths| Step::Wait(eighth * eighths)),
        6 => (1u32..3).prop_map(Step::Take),
        1 => any::<usize>().prop_map(Step::Keep),
        3 => any::<usize>().prop_map(Step::GiveBack),
    ];
    proptest::collection::vec(step, 40..200)
}

fn limiter(rate: f64, burst: u32) -> (RateLimiter, ManualClock) {
    let clock = ManualClock::new();
    (RateLimiter::new(TokenBucketConfig::new(rate, burst)).with_clock(Arc::new(clock.clone())), clock)
}

/// A bucket that is filled by the nanosecond, in billionths of a unit.
struct Naive {
    level: u128,
    burst: u128,
    rate: u128,
    seen: Tick,
}

impl Naive {
    fn new(rate: u32, burst: u32, now: Tick) -> Self {
        let burst = u128::from(burst) * 1_000_000_000;
        Self { level: burst, burst, rate: rate.into(), seen: now }
    }

    fn fill(&mut self, now: Tick) {
        self.level = (self.level + self.rate * now.since(self.seen).as_nanos()).min(self.burst);
        self.seen = now;
    }

    /// What is missing stays missing, as far as there is room for it.
    fn reconfigure(&mut self, rate: u32, burst: u32, now: Tick) {
        self.fill(now);
        let (missing, burst) = (self.burst - self.level, u128::from(burst) * 1_000_000_000);
        (self.rate, self.burst, self.level) = (rate.into(), burst, burst - missing.min(burst));
    }

    fn take(&mut self, cost: u32, now: Tick) -> bool {
        self.fill(now);
        let cost = u128::from(cost) * 1_000_000_000;
        let fits = cost <= self.level;
        self.level -= if fits { cost } else { 0 };
        fits
    }
}

proptest! {
    #[test]
    fn a_limiter_decides_as_the_naive_bucket(rate in 1u32..2000, burst in 1u32..20, steps in steps()) {
        let (limiter, clock) = limiter(rate.into(), burst);
        let mut naive = Naive::new(rate, burst, clock.now());
        for step in steps {
            match step {
                Step::Wait(span) => clock.advance(span),
                Step::Take(cost) => {
                    let expected = naive.take(cost, clock.now());
                    let taken = limiter.check_n(cost).is_ok();
                    // The unit is rounded up by less than 1/256 ns: at the very edge the limiter may be later.
                    prop_assert!(!taken || expected);
                    if expected && !taken {
                        prop_assert!(naive.level < 200_000, "refused with {} to spare", naive.level);
                        return Ok(());
                    }
                }
                Step::Reconfigure(rate, burst) => {
                    limiter.reconfigure(TokenBucketConfig::new(rate, burst)).unwrap();
                    naive.reconfigure(rate, burst, clock.now());
                }
                Step::Keep(_) | Step::GiveBack(_) => {}
            }
        }
    }

    #[test]
    fn no_window_admits_more_than_burst_and_rate_allow(
        (rate, burst, steps) in (1u32..2000, prop_oneof![1u32..4, 1u32..20]).prop_flat_map(|(rate, burst)| {
            (Just(rate), Just(burst), prop_oneof![1 => steps(), 3 => steps_in_time(rate)])
        }),
    ) {
        let (limiter, clock) = limiter(rate.into(), burst);
        let mut open: Vec<(Tick, u32, Charge)> = Vec::new();
        let mut kept: Vec<(Tick, u32)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(span) => clock.advance(span),
                Step::Take(cost) => {
                    if let Ok(charge) = limiter.take(cost, clock.now()) {
                        open.push((clock.now(), cost, charge));
                    }
                }
                Step::Keep(at) if !open.is_empty() => {
                    let (when, cost, charge) = open.swap_remove(at % open.len());
                    charge.keep();
                    kept.push((when, cost));
                }
                Step::GiveBack(at) if !open.is_empty() => drop(open.swap_remove(at % open.len())),
                Step::Keep(_) | Step::GiveBack(_) | Step::Reconfigure(..) => {}
            }
        }
        kept.extend(open.iter().map(|(when, cost, _)| (*when, *cost)));
        kept.sort_unstable();
        for from in 0..kept.len() {
            for to in from..kept.len() {
                let admitted: u32 = kept[from..=to].iter().map(|(_, cost)| cost).sum();
                let window = kept[to].0.since(kept[from].0).as_secs_f64();
                let allowed = f64::from(burst) + f64::from(rate) * window;
                prop_assert!(f64::from(admitted) <= allowed + 1e-3, "{admitted} > {allowed}");
            }
        }
    }

    #[test]
    fn waiting_exactly_as_told_is_enough_and_less_is_not(rate in 0.01f64..1e6, burst in 1u32..50, costs in proptest::collection::vec(1u32..50, 1..40)) {
        let (limiter, clock) = limiter(rate, burst);
        for cost in costs {
            match limiter.check_n(cost) {
                Ok(()) => {}
                Err(Denied::Until { wait }) => {
                    prop_assert!(!wait.is_zero());
                    let moment = Duration::from_nanos(1);
                    clock.advance(wait - moment);
                    let denied = limiter.check_n(cost);
                    prop_assert_eq!(denied, Err(Denied::Until { wait: moment }));
                    clock.advance(moment);
                    prop_assert_eq!(limiter.check_n(cost), Ok(()));
                }
                Err(_) => prop_assert!(cost > burst),
            }
        }
    }

    #[test]
    fn a_denial_changes_nothing(rate in 1u32..100, burst in 1u32..10, taken in 0u32..10) {
        let (limiter, clock) = limiter(rate.into(), burst);
        let _ = limiter.check_n(taken.min(burst));
        let before = (limiter.available(), limiter.full_in(clock.now()));
        prop_assert!(limiter.check_n(burst + 1).is_err());
        if limiter.available() < burst {
            prop_assert!(limiter.check_n(burst).is_err());
        }
        prop_assert_eq!((limiter.available(), limiter.full_in(clock.now())), before);
    }
}
