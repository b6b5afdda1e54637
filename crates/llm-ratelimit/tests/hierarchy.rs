//! Laws of levels of limits, beside a naive list of everything that was charged.

use std::sync::Arc;
use std::time::Duration;

use llm_core::{Clock, ManualClock, Tick};
use llm_ratelimit::{Admission, CapConfig, ConfigError, Cost, Denial, Hierarchy, LimitConfig, MeterConfig, Resource};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn table(level: &str, name: &str) -> LimitConfig {
    LimitConfig { level: level.into(), name: name.into(), ..LimitConfig::default() }
}

fn rate(rate: f64, burst: u32) -> Option<MeterConfig> {
    Some(MeterConfig::Rate { rate, per: MINUTE, burst: Some(burst) })
}

fn cap(cap: u64) -> CapConfig {
    CapConfig { cap, per: MINUTE }
}

fn limits(tables: Vec<LimitConfig>) -> (Hierarchy, ManualClock) {
    let clock = ManualClock::new();
    let limits = Hierarchy::try_new(tables).and_then(|limits| limits.with_clock(Arc::new(clock.clone())));
    (limits.expect("limits"), clock)
}

fn left(limits: &Hierarchy, names: &[(&str, &str)], now: Tick) -> Vec<u64> {
    limits.left(names, now).iter().map(|stats| stats.remaining).collect()
}

fn cost(tokens: u64, money: u64) -> Cost {
    Cost::exact(tokens, money)
}

const BOTH: &[(&str, &str)] = &[("key", "k"), ("model", "m")];

#[test]
fn the_tightest_are_those_with_the_least_share_left() {
    let requests = |cap| Some(MeterConfig::Cap(CapConfig { cap, per: MINUTE }));
    let (limits, clock) = limits(vec![
        LimitConfig { requests: requests(100), ..table("key", "*") },
        LimitConfig { requests: requests(1_000_000), ..table("model", "m") },
    ]);
    let now = clock.now();
    // Of name `n` there are `n` requests gone; of the model all of them, which is a smaller share.
    for name in 0..12_u32 {
        let name_text = name.to_string();
        for _ in 0..name {
            limits.admit(&[("key", &name_text), ("model", "m")], cost(0, 0), now).expect("room").sent();
        }
    }
    let tightest = limits.tightest(3, now);
    let shown: Vec<_> = tightest.limits.iter().map(|limit| (&*limit.name, limit.remaining)).collect();
    assert_eq!(shown, [("11", 89), ("10", 90), ("9", 91)]);
    assert_eq!((tightest.kept, tightest.seen), (12, 12));
    assert_eq!(limits.tightest(0, now).limits, []);
    let mut all = limits.stats(now);
    all.sort_by_key(|limit| limit.remaining * 1_000_000 / limit.limit);
    let shown = limits.tightest(usize::MAX, now).limits;
    assert!(shown.iter().map(|limit| limit.remaining).eq(all.iter().map(|limit| limit.remaining)), "{shown:?}");
}

#[test]
fn however_many_names_there_are_so_many_are_looked_at() {
    let (limits, clock) = limits(vec![LimitConfig { requests: rate(60.0, 5), ..table("key", "*") }]);
    let now = clock.now();
    for name in 0..12_000_u32 {
        limits.admit(&[("key", &name.to_string())], cost(0, 0), now).expect("room").sent();
    }
    let tightest = limits.tightest(50, now);
    assert_eq!((tightest.limits.len(), tightest.kept, tightest.seen), (50, 12_000, 10_000));
}

#[test]
fn a_denial_names_what_is_short_and_changes_nothing() {
    let (limits, clock) = limits(vec![
        LimitConfig { requests: rate(60.0, 5), concurrency: Some(3), ..table("key", "*") },
        LimitConfig { tokens: rate(600.0, 100), money: Some(cap(50)), ..table("model", "m") },
    ]);
    let now = clock.now();
    let before = left(&limits, BOTH, now);
    let denial = limits.admit(BOTH, cost(101, 1), now).unwrap_err();
    let expected = Denial {
        level: "model".into(),
        name: "m".into(),
        resource: Resource::Tokens,
        limit: 100,
        left: 100,
        wait: None,
    };
    assert_eq!(denial, expected);
    let denial = limits.admit(BOTH, cost(1, 51), now).unwrap_err();
    assert_eq!((denial.resource, denial.left, denial.wait), (Resource::Money, 50, None));
    assert_eq!(left(&limits, BOTH, now), before);
}

#[test]
fn an_admission_that_was_not_sent_is_given_back_whole() {
    let (limits, clock) = limits(vec![LimitConfig {
        requests: rate(60.0, 5),
        tokens: Some(MeterConfig::Cap(cap(100))),
        money: Some(cap(50)),
        concurrency: Some(3),
        ..table("key", "*")
    }]);
    let now = clock.now();
    let before = left(&limits, BOTH, now);
    let admission = limits.admit(BOTH, cost(10, 5), now).unwrap();
    assert_eq!(left(&limits, BOTH, now), [4, 90, 45, 2]);
    drop(admission);
    assert_eq!(left(&limits, BOTH, now), before);
}

#[test]
fn what_was_sent_counts_and_is_settled_by_what_was_used() {
    let (limits, clock) = limits(vec![LimitConfig {
        tokens: rate(60.0, 100),
        money: Some(cap(50)),
        concurrency: Some(3),
        ..table("key", "*")
    }]);
    let now = clock.now();
    let mut less = limits.admit(BOTH, cost(40, 20), now).unwrap();
    less.settle(cost(10, 5), now);
    assert_eq!(left(&limits, BOTH, now), [90, 45, 2]);
    let mut more = limits.admit(BOTH, cost(10, 5), now).unwrap();
    more.settle(cost(200, 60), now);
    assert_eq!(left(&limits, BOTH, now), [0, 0, 1]);
    drop((less, more));
    assert_eq!(left(&limits, BOTH, now), [0, 0, 3]);
    // The debt of 110 tokens is waited for.
    let wait = limits.admit(BOTH, cost(1, 0), now).unwrap_err().wait.unwrap();
    assert_eq!(wait.as_secs(), 111);
}

#[test]
fn a_request_may_reserve_more_until_there_is_no_more() {
    let (limits, clock) = limits(vec![
        LimitConfig { money: Some(cap(100)), ..table("key", "*") },
        LimitConfig { money: Some(cap(50)), ..table("model", "*") },
    ]);
    let now = clock.now();
    let mut admission = limits.admit(BOTH, cost(0, 30), now).unwrap();
    admission.extend(cost(0, 15), now).unwrap();
    let exhausted = admission.extend(cost(0, 15), now).unwrap_err();
    assert_eq!((exhausted.resource, exhausted.limit), (Resource::Money, 50));
    assert_eq!(left(&limits, BOTH, now), [55, 5]);
}

#[test]
fn what_is_reserved_on_top_of_nothing_is_settled_like_the_rest() {
    let (limits, clock) = limits(vec![LimitConfig { money: Some(cap(100)), ..table("key", "*") }]);
    let now = clock.now();
    let mut admission = limits.admit(BOTH, cost(0, 0), now).unwrap();
    admission.extend(cost(0, 40), now).unwrap();
    assert_eq!(left(&limits, BOTH, now), [60]);
    admission.settle(cost(0, 10), now);
    assert_eq!(left(&limits, BOTH, now), [90]);
}

#[test]
fn a_request_that_outlives_its_period_is_charged_to_each_for_what_it_used_there() {
    let (limits, clock) = limits(vec![
        LimitConfig { money: Some(cap(100)), ..table("key", "*") },
        LimitConfig { money: Some(cap(105)), ..table("model", "*") },
    ]);
    let mut admission = limits.admit(BOTH, cost(0, 100), clock.now()).unwrap();
    clock.advance(MINUTE);
    assert_eq!(left(&limits, BOTH, clock.now()), [100, 105]);
    admission.extend(cost(0, 30), clock.now()).unwrap();
    // Short at one level it is undone at the other.
    assert!(admission.extend(cost(0, 72), clock.now()).is_err());
    assert_eq!(left(&limits, BOTH, clock.now()), [70, 75]);
    admission.settle(cost(0, 120), clock.now());
    assert_eq!(left(&limits, BOTH, clock.now()), [80, 85], "100 of the 120 were used before");
    clock.advance(MINUTE);
    admission.settle(cost(0, 110), clock.now());
    assert_eq!(left(&limits, BOTH, clock.now()), [100, 105], "a period that is over is left alone");
}

#[test]
fn a_surplus_of_tokens_is_credited_whole_while_others_use_the_rate() {
    let (limits, clock) = limits(vec![LimitConfig { tokens: rate(6000.0, 1000), ..table("key", "*") }]);
    // 600 tokens are under way before it, and it takes three seconds, in which 300 are refilled.
    limits.admit(BOTH, cost(600, 0), clock.now()).unwrap().sent();
    let mut long = limits.admit(BOTH, cost(400, 0), clock.now()).unwrap();
    clock.advance(Duration::from_secs(3));
    long.settle(cost(100, 0), clock.now());
    assert_eq!(left(&limits, BOTH, clock.now()), [600]);
}

#[test]
fn hard_caps_reserve_the_bound_and_refuse_what_has_none() {
    let tables = |soft| vec![LimitConfig { money: Some(cap(100)), soft, ..table("key", "*") }];
    let cost = |bound| Cost { tokens: 0, money: 10, bound };
    let (hard, clock) = limits(tables(false));
    let admission = hard.admit(BOTH, cost(Some(70)), clock.now()).unwrap();
    assert_eq!(left(&hard, BOTH, clock.now()), [30]);
    drop(admission);
    let denial = hard.admit(BOTH, cost(None), clock.now()).unwrap_err();
    assert_eq!((denial.resource, denial.left, denial.wait), (Resource::Money, 100, None));
    let (soft, clock) = limits(tables(true));
    soft.admit(BOTH, cost(None), clock.now()).unwrap().sent();
    assert_eq!(left(&soft, BOTH, clock.now()), [90]);
}

#[test]
fn every_name_has_its_own_and_a_name_of_its_own_has_both() {
    let (limits, clock) = limits(vec![
        LimitConfig { requests: rate(1.0, 2), ..table("key", "*") },
        LimitConfig { requests: rate(1.0, 1), ..table("key", "special") },
    ]);
    let now = clock.now();
    let admit = |name: &str| limits.admit(&[("key", name)], Cost::default(), now).map(|mut a: Admission| a.sent());
    assert!(admit("one").is_ok() && admit("one").is_ok() && admit("one").is_err() && admit("two").is_ok());
    assert!(admit("special").is_ok());
    assert_eq!(admit("special").unwrap_err().limit, 1);
    assert!(limits.admit(&[("user", "one")], Cost::default(), now).is_ok(), "no table is for users");
}

#[test]
fn a_reload_keeps_what_was_used() {
    let tables = |burst| {
        vec![
            LimitConfig { requests: rate(60.0, burst), ..table("key", "*") },
            LimitConfig { money: Some(cap(50)), ..table("model", "m") },
        ]
    };
    let (limits, clock) = limits(tables(10));
    let now = clock.now();
    limits.admit(BOTH, cost(0, 20), now).unwrap().sent();
    let same = limits.adopt(tables(10), now).unwrap();
    assert_eq!(left(&same, BOTH, now), [9, 30]);
    let other = same.adopt(tables(20), now).unwrap();
    assert_eq!(left(&other, BOTH, now), [19, 30]);
}

#[test]
fn what_is_no_limit_is_refused_by_its_key() {
    let of = |table: LimitConfig| match Hierarchy::try_new(vec![table]).unwrap_err() {
        ConfigError::Value { key, .. } => key,
        other => panic!("{other}"),
    };
    let hour = Duration::from_secs(3600);
    assert_eq!(of(table("key", "*")), "level");
    assert_eq!(of(LimitConfig { concurrency: Some(0), ..table("key", "*") }), "concurrency");
    assert_eq!(of(LimitConfig { requests: rate(0.0, 1), ..table("key", "*") }), "requests.rate");
    assert_eq!(of(LimitConfig { tokens: rate(1.0, 0), ..table("key", "*") }), "tokens.burst");
    assert_eq!(of(LimitConfig { tokens: rate(1e-9, 100), ..table("key", "*") }), "tokens.rate");
    let money = Some(CapConfig { cap: 0, per: hour });
    assert_eq!(of(LimitConfig { money, ..table("key", "*") }), "money.cap");
    let money = Some(CapConfig { cap: 1, per: Duration::ZERO });
    assert_eq!(of(LimitConfig { money, ..table("key", "*") }), "money.per");
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Admit { key: usize, tokens: u64, money: u64 },
    Drop(usize),
    Settle { at: usize, tokens: u64, money: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => prop_oneof![0u64..1000, 0u64..90_000].prop_map(Step::Wait),
        5 => (0usize..2, 0u64..8, 0u64..8).prop_map(|(key, tokens, money)| Step::Admit { key, tokens, money }),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => (any::<usize>(), 0u64..8, 0u64..8).prop_map(|(at, tokens, money)| Step::Settle { at, tokens, money }),
    ];
    proptest::collection::vec(step, 1..100)
}

/// A cap and a number of places, counted one by one.
#[derive(Default)]
struct Naive {
    began: Option<Tick>,
    spent: u64,
    running: u32,
}

impl Naive {
    fn roll(&mut self, now: Tick) {
        if self.began.is_some_and(|began| now >= began.after(MINUTE)) {
            (self.began, self.spent) = (None, 0);
        }
    }

    fn settle(&mut self, window: Option<Tick>, reserved: u64, used: u64, now: Tick) -> Option<Tick> {
        if window.is_some() && window != self.began {
            return window;
        }
        self.spent = self.spent - window.map_or(0, |_| reserved) + used;
        self.began = if self.spent == 0 { None } else { self.began.or(Some(now)) };
        self.began.filter(|_| used > 0)
    }
}

/// An admission still held: what it reserved, and the window of each of its caps.
struct Open {
    key: usize,
    admission: Admission,
    reserved: u64,
    windows: [Option<Tick>; 2],
    sent: bool,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    Wait(u32),
    Admit(u64),
    Settle(usize, u64),
    Drop(usize),
}

proptest! {
    /// Of what was used, by when it was admitted, no window holds more tokens than burst and rate allow; whatever is
    /// given back, whenever and in whatever order.
    #[test]
    fn no_window_uses_more_tokens_than_burst_and_rate_allow(
        burst in 2u32..8,
        turns in proptest::collection::vec(
            prop_oneof![
                3 => (0u32..16).prop_map(Turn::Wait),
                6 => (1u64..4).prop_map(Turn::Admit),
                2 => (any::<usize>(), 0u64..4).prop_map(|(at, used)| Turn::Settle(at, used)),
                2 => any::<usize>().prop_map(Turn::Drop),
            ],
            40..160,
        ),
    ) {
        // A token a second, and waits of eighths of it.
        let (limits, clock) = limits(vec![LimitConfig { tokens: rate(60.0, burst), ..table("key", "*") }]);
        let mut open: Vec<(Tick, u64, Admission)> = Vec::new();
        let mut used: Vec<(Tick, u64)> = Vec::new();
        for turn in turns {
            match turn {
                Turn::Wait(eighths) => clock.advance(Duration::from_secs(1) / 8 * eighths),
                Turn::Admit(tokens) => {
                    let admitted = limits.admit(BOTH, cost(tokens, 0), clock.now());
                    open.extend(admitted.ok().map(|admission| (clock.now(), tokens, admission)));
                }
                Turn::Settle(at, least) if !open.is_empty() => {
                    let (when, tokens, mut admission) = open.swap_remove(at % open.len());
                    admission.settle(cost(least.min(tokens), 0), clock.now());
                    used.push((when, least.min(tokens)));
                }
                Turn::Drop(at) if !open.is_empty() => drop(open.swap_remove(at % open.len())),
                Turn::Settle(..) | Turn::Drop(_) => {}
            }
        }
        used.extend(open.iter().map(|(when, tokens, _)| (*when, *tokens)));
        used.sort_unstable();
        for from in 0..used.len() {
            for to in from..used.len() {
                let sum: u64 = used[from..=to].iter().map(|(_, tokens)| tokens).sum();
                let allowed = f64::from(burst) + used[to].0.since(used[from].0).as_secs_f64();
                prop_assert!(sum as f64 <= allowed + 1e-3, "{} > {}", sum, allowed);
            }
        }
    }

    /// Caps and places at two levels, in any order of admissions, ends and settlements.
    #[test]
    fn caps_and_places_are_those_of_the_naive_count(steps in steps()) {
        const CAP: [u64; 2] = [20, 30];
        const PLACES: [u32; 2] = [3, 4];
        const KEYS: [&str; 2] = ["a", "b"];
        let tables = vec![
            LimitConfig { money: Some(cap(CAP[0])), concurrency: Some(PLACES[0]), ..table("key", "*") },
            LimitConfig { money: Some(cap(CAP[1])), concurrency: Some(PLACES[1]), ..table("model", "m") },
        ];
        let (limits, clock) = limits(tables);
        // Two keys, then the model that both use.
        let mut naive = [Naive::default(), Naive::default(), Naive::default()];
        let mut open: Vec<Open> = Vec::new();
        for step in steps {
            let now = clock.now();
            naive.iter_mut().for_each(|naive| naive.roll(now));
            match step {
                Step::Wait(millis) => clock.advance(Duration::from_millis(millis)),
                Step::Admit { key, tokens, money } => {
                    let fits = [(key, 0), (2, 1)].iter().all(|(at, level)| {
                        (money == 0 || naive[*at].spent + money <= CAP[*level]) && naive[*at].running < PLACES[*level]
                    });
                    let admitted = limits.admit(&[("key", KEYS[key]), ("model", "m")], cost(tokens, money), now);
                    prop_assert_eq!(admitted.is_ok(), fits);
                    if let Ok(admission) = admitted {
                        for at in [key, 2] {
                            naive[at].spent += money;
                            naive[at].running += 1;
                            if money > 0 {
                                naive[at].began.get_or_insert(now);
                            }
                        }
                        let windows = [key, 2].map(|at| naive[at].began.filter(|_| money > 0));
                        open.push(Open { key, admission, reserved: money, windows, sent: false });
                    }
                }
                Step::Settle { at, tokens, money } if !open.is_empty() => {
                    let at = at % open.len();
                    let Open { key, admission, reserved, windows, sent } = &mut open[at];
                    admission.settle(cost(tokens, money), now);
                    for (naive_at, window) in [*key, 2].into_iter().zip(windows.iter_mut()) {
                        *window = naive[naive_at].settle(*window, *reserved, money, now);
                    }
                    (*reserved, *sent) = (money, true);
                }
                Step::Drop(at) if !open.is_empty() => {
                    let Open { key, admission, reserved, windows, sent } = open.swap_remove(at % open.len());
                    drop(admission);
                    for (naive_at, window) in [(key, windows[0]), (2, windows[1])] {
                        if !sent {
                            naive[naive_at].settle(window, reserved, 0, now);
                        }
                        naive[naive_at].running -= 1;
                    }
                }
                Step::Settle { .. } | Step::Drop(_) => {}
            }
            let now = clock.now();
            naive.iter_mut().for_each(|naive| naive.roll(now));
            for (key, name) in KEYS.iter().enumerate() {
                let expected = [
                    CAP[0].saturating_sub(naive[key].spent), u64::from(PLACES[0] - naive[key].running),
                    CAP[1].saturating_sub(naive[2].spent), u64::from(PLACES[1] - naive[2].running),
                ];
                prop_assert_eq!(left(&limits, &[("key", name), ("model", "m")], now), expected);
            }
        }
    }

    /// Whatever is denied for a time is admitted after exactly that time, and not a moment earlier.
    #[test]
    fn waiting_exactly_as_told_is_enough_and_less_is_not(
        rate in 1u32..6000, burst in 1u32..20, tokens in proptest::collection::vec(1u64..20, 1..40)
    ) {
        let requests = Some(MeterConfig::Rate { rate: rate.into(), per: MINUTE, burst: Some(burst) });
        let (limits, clock) = limits(vec![LimitConfig { tokens: requests, ..table("key", "*") }]);
        for tokens in tokens {
            let now = clock.now();
            match limits.admit(BOTH, cost(tokens, 0), now) {
                Ok(mut admission) => admission.sent(),
                Err(Denial { wait: None, .. }) => prop_assert!(tokens > burst.into()),
                Err(Denial { wait: Some(wait), .. }) => {
                    let early = now.after(wait - Duration::from_nanos(1));
                    prop_assert!(limits.admit(BOTH, cost(tokens, 0), early).is_err());
                    clock.advance(wait);
                    let mut admission = limits.admit(BOTH, cost(tokens, 0), clock.now()).unwrap();
                    admission.sent();
                }
            }
        }
    }
}
