//! Callers that wait for units, beside a naive queue that is stepped through millisecond by millisecond.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use llm_core::{Clock, Tick, TokioClock};
use llm_ratelimit::{BucketConfig, Charge, Denied, KeyedLimiter, RateLimiter, TokenBucketConfig};
use proptest::prelude::*;
use tokio::task::JoinHandle;

/// A limiter whose units take `millis` each.
fn limiter(millis: u32, burst: u32) -> (RateLimiter, Arc<dyn Clock>) {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
    let limiter = RateLimiter::new(TokenBucketConfig::new(1000.0 / f64::from(millis), burst));
    (limiter.with_clock(clock.clone()), clock)
}

/// Who was served, in order.
#[derive(Clone, Default)]
struct Served(Arc<Mutex<Vec<usize>>>);

impl Served {
    fn now(&self) -> Vec<usize> {
        self.0.lock().unwrap().clone()
    }

    /// Has `number` wait for `cost` units.
    fn wait(&self, limiter: &RateLimiter, number: usize, cost: u32) -> JoinHandle<Result<(), Denied>> {
        let (limiter, served) = (limiter.clone(), self.clone());
        tokio::spawn(async move {
            limiter.acquire(cost).await?;
            served.0.lock().unwrap().push(number);
            Ok(())
        })
    }
}

/// Lets everybody do what can be done by now.
async fn settle() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

async fn pass(millis: u64) {
    for _ in 0..millis {
        tokio::time::advance(Duration::from_millis(1)).await;
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_order_whatever_the_costs_and_whoever_does_not_wait() {
    let (limiter, _) = limiter(10, 5);
    assert!(limiter.check_n(5).is_ok());
    let served = Served::default();
    let costs = [3, 1, 5, 1, 2];
    for (number, cost) in costs.into_iter().enumerate() {
        served.wait(&limiter, number, cost);
        settle().await;
    }
    let mut sneaked = 0;
    for millis in 1..=120u32 {
        pass(1).await;
        // The sum of the costs up to each one's, 10 ms a unit.
        let due = [30, 40, 90, 100, 120].iter().filter(|due| **due <= millis).count();
        assert_eq!(served.now(), (0..due).collect::<Vec<_>>(), "{millis} ms");
        sneaked += u32::from(limiter.check_and_consume().is_ok());
    }
    assert_eq!(sneaked, 0, "a hot caller gets nothing before those who wait");
    pass(10).await;
    assert!(limiter.check_and_consume().is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_one_leaves_from_the_middle_those_behind_move_up_and_nobody_overtakes() {
    let (limiter, _) = limiter(10, 1);
    assert!(limiter.check_and_consume().is_ok());
    let served = Served::default();
    let waiting: Vec<_> = (0..4).map(|number| served.wait(&limiter, number, 1)).collect();
    settle().await;
    pass(5).await;
    waiting[1].abort();
    settle().await;
    // Comes after the one has left, and is served after all that were there.
    served.wait(&limiter, 4, 1);
    let due = [(10, 0), (20, 2), (30, 3), (40, 4)];
    for millis in 6..=60 {
        pass(1).await;
        let expected: Vec<_> = due.iter().filter(|(due, _)| *due <= millis).map(|(_, number)| *number).collect();
        assert_eq!(served.now(), expected, "{millis} ms");
    }
    // Of six units since the first, one was not used: the bucket holds one and no more.
    assert_eq!(limiter.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn units_that_are_given_back_go_to_those_who_wait() {
    let (limiter, clock) = limiter(10, 2);
    let charge = limiter.take(2, clock.now()).unwrap();
    let served = Served::default();
    (0..3).for_each(|number| drop(served.wait(&limiter, number, 1)));
    settle().await;
    assert!(served.now().is_empty());
    drop(charge);
    settle().await;
    assert_eq!(served.now(), [0, 1]);
    assert!(limiter.check_and_consume().is_err());
    pass(10).await;
    assert_eq!(served.now(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_by_the_limit_that_is_in_force() {
    let (limiter, _) = limiter(10, 4);
    assert!(limiter.check_n(4).is_ok());
    let served = Served::default();
    let waiting: Vec<_> = [1, 4, 1].into_iter().enumerate().map(|(at, cost)| served.wait(&limiter, at, cost)).collect();
    settle().await;
    pass(5).await;
    // Half of the first unit is there. Slower, and four units are never there at once.
    limiter.reconfigure(TokenBucketConfig::new(10, 2)).unwrap();
    settle().await;
    let [first, second, third] = <[_; 3]>::try_from(waiting).unwrap();
    assert_eq!(second.await.unwrap(), Err(Denied::TooLarge { cost: 4, burst: 2 }));
    // What was missing is cut to the new burst, of which nothing was there yet.
    pass(99).await;
    assert!(served.now().is_empty());
    pass(1).await;
    assert_eq!(served.now(), [0]);
    limiter.reconfigure(TokenBucketConfig::new(1000, 2)).unwrap();
    pass(1).await;
    assert_eq!(served.now(), [0, 2]);
    assert_eq!((first.await.unwrap(), third.await.unwrap()), (Ok(()), Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_reset_serves_those_who_wait_first() {
    let (limiter, _) = limiter(10, 2);
    assert!(limiter.check_n(2).is_ok());
    let served = Served::default();
    (0..3).for_each(|number| drop(served.wait(&limiter, number, 1)));
    settle().await;
    limiter.reset();
    settle().await;
    assert_eq!(served.now(), [0, 1]);
    pass(10).await;
    assert_eq!(served.now(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_cannot_be_met_is_told_at_once() {
    let (limiter, clock) = limiter(1000, 1);
    assert!(limiter.check_and_consume().is_ok());
    let begun = clock.now();
    let denied = limiter.acquire_by(1, begun.after(Duration::from_millis(999))).await;
    assert_eq!(denied, Err(Denied::Until { wait: Duration::from_secs(1) }));
    assert_eq!(clock.now(), begun, "nothing was waited for");
    limiter.acquire_by(1, begun.after(Duration::from_secs(1))).await.unwrap();
    assert_eq!(clock.now().since(begun), Duration::from_secs(1));
    assert_eq!(limiter.acquire(2).await, Err(Denied::TooLarge { cost: 2, burst: 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_too_long_takes_nobody_more_and_says_how_long_it_would_take() {
    const MOST: u32 = 1 << 16;
    let (limiter, _) = limiter(10, 1);
    assert!(limiter.check_and_consume().is_ok());
    let mut waiting: Vec<_> = (0..MOST).map(|_| Box::pin(limiter.acquire(1))).collect();
    assert!(waiting.iter_mut().all(|caller| caller.now_or_never().is_none()));
    let denied = limiter.acquire(1).await;
    assert_eq!(denied, Err(Denied::Until { wait: Duration::from_millis(10) * (MOST + 1) }));
    drop(waiting.pop());
    assert!(limiter.acquire(1).now_or_never().is_none(), "who leaves makes room");
    // From the end on: nobody moves forward.
    waiting.into_iter().rev().for_each(drop);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_when_the_limit_changes_and_what_was_booked_is_free() {
    let (limiter, clock) = limiter(10, 1);
    assert!(limiter.check_and_consume().is_ok());
    let (waiting, deadline) = (limiter.clone(), clock.now().after(Duration::from_millis(50)));
    let waiting = tokio::spawn(async move { waiting.acquire_by(1, deadline).await });
    settle().await;
    limiter.reconfigure(TokenBucketConfig::new(1, 1)).unwrap();
    assert_eq!(waiting.await.unwrap(), Err(Denied::Until { wait: Duration::from_secs(1) }));
    let begun = clock.now();
    limiter.acquire(1).await.unwrap();
    assert_eq!(clock.now().since(begun), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_line_of_its_own() {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
    let bucket = |model: &str, rate: f64| BucketConfig {
        model_id: model.to_owned(),
        requests_per_second: rate,
        burst_capacity: 1,
    };
    let limiter: KeyedLimiter = RateLimiter::new(vec![bucket("slow", 1.0), bucket("fast", 100.0)]);
    let limiter = limiter.with_clock(clock.clone());
    let begun = clock.now();
    let took = |key: &'static str| {
        let (limiter, clock) = (limiter.clone(), clock.clone());
        async move {
            limiter.acquire(key).await.unwrap();
            clock.now().since(begun).as_millis()
        }
    };
    let took = tokio::join!(took("slow"), took("slow"), took("fast"), took("fast"), took("slow"), took("unlimited"));
    assert_eq!(took, (0, 1000, 0, 10, 2000, 0));
    let soon = clock.now().after(Duration::from_millis(999));
    assert!(limiter.acquire_by("slow", soon).await.is_err());
    let left = tokio::time::timeout(Duration::from_millis(1), limiter.acquire("slow")).await;
    assert!(left.is_err());
    limiter.acquire_by("slow", begun.after(Duration::from_secs(3))).await.unwrap();
    let stats = limiter.stats();
    let counts: Vec<_> = stats.per_model.iter().map(|m| (m.requests_allowed, m.requests_denied)).collect();
    assert_eq!((counts, stats.unlimited), (vec![(2, 0), (4, 1)], 1), "who left is in neither count");
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Acquire(u32),
    Leave(usize),
    Check(u32),
    Take(u32),
    GiveBack(usize),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u64..30).prop_map(Step::Wait),
        6 => (1u32..5).prop_map(Step::Acquire),
        3 => any::<usize>().prop_map(Step::Leave),
        2 => (1u32..4).prop_map(Step::Check),
        2 => (1u32..4).prop_map(Step::Take),
        2 => any::<usize>().prop_map(Step::GiveBack),
        1 => Just(Step::Reset),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A bucket in milliseconds of refilling, and those who wait for it.
struct Naive {
    level: u64,
    unit: u64,
    size: u64,
    queue: VecDeque<(usize, u64)>,
    served: Vec<usize>,
}

impl Naive {
    fn serve(&mut self) {
        while let Some((number, cost)) = self.queue.front().copied().filter(|(_, cost)| *cost <= self.level) {
            self.level -= cost;
            self.queue.pop_front();
            self.served.push(number);
        }
    }

    fn give(&mut self, millis: u64) {
        // What is given to those who wait is not cut off by the bucket's size.
        let booked: u64 = self.queue.iter().map(|(_, cost)| cost).sum();
        self.level = (self.level + millis).min(self.size + booked);
        self.serve();
        self.level = self.level.min(self.size);
    }

    fn take(&mut self, cost: u64) -> bool {
        let fits = self.queue.is_empty() && cost <= self.level;
        self.level -= if fits { cost } else { 0 };
        fits
    }
}

async fn follow(unit: u32, burst: u32, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (limiter, clock) = limiter(unit, burst);
    let unit = u64::from(unit);
    let size = unit * u64::from(burst);
    let mut naive = Naive { level: size, unit, size, queue: VecDeque::new(), served: Vec::new() };
    let served = Served::default();
    let mut tasks = Vec::new();
    let mut charges: Vec<(Charge, u64, Tick)> = Vec::new();
    for step in steps {
        match step {
            Step::Wait(millis) => {
                for _ in 0..millis {
                    pass(1).await;
                    naive.give(1);
                    prop_assert_eq!(served.now(), naive.served.clone());
                }
            }
            Step::Acquire(cost) => {
                let number = tasks.len();
                tasks.push(served.wait(&limiter, number, cost));
                settle().await;
                if cost <= burst {
                    naive.queue.push_back((number, unit * u64::from(cost)));
                    naive.serve();
                } else {
                    prop_assert!(tasks[number].is_finished(), "told at once");
                }
            }
            Step::Leave(at) if !naive.queue.is_empty() => {
                let (number, _) = naive.queue.remove(at % naive.queue.len()).unwrap();
                tasks[number].abort();
                settle().await;
                naive.serve();
            }
            Step::Check(cost) => {
                prop_assert_eq!(limiter.check_n(cost).is_ok(), naive.take(unit * u64::from(cost)));
            }
            Step::Take(cost) => {
                let charge = limiter.take(cost, clock.now());
                prop_assert_eq!(charge.is_ok(), naive.take(unit * u64::from(cost)));
                charges.extend(charge.ok().map(|charge| (charge, unit * u64::from(cost), clock.now())));
            }
            Step::GiveBack(at) if !charges.is_empty() => {
                let (charge, cost, taken) = charges.swap_remove(at % charges.len());
                drop(charge);
                settle().await;
                naive.give(cost.saturating_sub(clock.now().since(taken).as_millis() as u64));
            }
            Step::Reset => {
                limiter.reset();
                settle().await;
                // Whoever gives back what was taken before gives it to a full bucket.
                naive.level = naive.size;
                naive.serve();
            }
            Step::Leave(_) | Step::GiveBack(_) => {}
        }
        prop_assert_eq!(served.now(), naive.served.clone());
        let left = if naive.queue.is_empty() { naive.level / naive.unit } else { 0 };
        prop_assert_eq!(u64::from(limiter.available()), left);
    }
    charges.into_iter().for_each(|(charge, ..)| charge.keep());
    Ok(())
}

proptest! {
    #[test]
    fn those_who_wait_are_served_as_in_the_naive_queue(unit in 1u32..12, burst in 1u32..5, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(follow(unit, burst, steps))?;
    }
}
