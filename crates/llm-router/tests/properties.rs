//! Laws that hold over any targets, outcomes and calls in flight.

use std::collections::HashMap;
use std::time::Duration;

use llm_core::{Money, Price, ProviderId, Tick};
use llm_router::{Demand, Observed, Reason, RouterConfig, SmartRouter, Strategy, Target, Ticket};
use proptest::collection::vec;
use proptest::prelude::*;

const NOW: Tick = Tick::from_nanos(3_600_000_000_000);

fn config(strategy: Strategy) -> RouterConfig {
    RouterConfig { strategy, exploration: 0.0, seed: Some(1), ..RouterConfig::default() }
}

fn router(config: RouterConfig, targets: usize) -> SmartRouter {
    SmartRouter::try_new(config, &vec![Target { weight: 1 }; targets]).expect("a route")
}

fn took(millis: u64) -> Observed {
    Observed { latency: Duration::from_millis(millis), ..Observed::default() }
}

fn failed(millis: u64) -> Observed {
    Observed { failed: true, ..took(millis) }
}

fn price(units: i64) -> Option<Price> {
    let each = Money::from_units(units);
    Some(Price::per_token(each, each))
}

fn first(router: &SmartRouter, demand: &Demand, now: Tick) -> Option<usize> {
    router.plan_for(demand, now).next(|_| true)
}

/// What the router has to know of a target before it believes it.
fn learn(router: &SmartRouter, target: usize, millis: u64, now: Tick) {
    (0..8).for_each(|_| router.record(target, took(millis), now));
}

fn hold(router: &SmartRouter, target: usize, calls: u32) -> Vec<Ticket> {
    (0..calls).map(|_| router.begin(target, NOW)).collect()
}

proptest! {
    #[test]
    fn the_worse_of_two_is_never_picked(targets in vec((1u64..10_000, 0u32..6), 2..16), pairs in vec((0usize..16, 0usize..16), 20)) {
        let router = router(config(Strategy::PeakEwma), targets.len());
        let mut held = Vec::new();
        for (index, (millis, calls)) in targets.iter().enumerate() {
            learn(&router, index, *millis, NOW);
            held.extend(hold(&router, index, *calls));
        }
        let load = |index: usize| targets[index].0 * u64::from(targets[index].1 + 1);
        for (a, b) in pairs {
            let (a, b) = (a % targets.len(), b % targets.len());
            let picked = router.plan_for(&Demand::default(), NOW).next(|index| index == a || index == b).unwrap();
            prop_assert!(picked == a || picked == b);
            prop_assert_eq!(load(picked), load(a).min(load(b)));
        }
        let most = (0..targets.len()).map(load).max().unwrap();
        if (0..targets.len()).filter(|index| load(*index) == most).count() == 1 {
            for _ in 0..50 {
                prop_assert_ne!(load(first(&router, &Demand::default(), NOW).unwrap()), most);
            }
        }
    }

    #[test]
    fn arbitrage_takes_the_cheapest_within_the_limit_else_the_fastest(
        targets in vec((1i64..6, vec(1u64..400, 8..300)), 1..8), sla in 1u64..500, usable: u8,
    ) {
        let sla = Duration::from_millis(sla);
        let router = router(RouterConfig { sla: Some(sla), ..config(Strategy::Arbitrage) }, targets.len());
        for (index, (units, samples)) in targets.iter().enumerate() {
            router.set_price(index, price(*units * 1000));
            samples.iter().for_each(|millis| router.record(index, took(*millis), NOW));
        }
        let p95 = |samples: &[u64]| {
            let mut last: Vec<u64> = samples.iter().rev().take(128).copied().collect();
            last.sort_unstable();
            Duration::from_millis(last[(last.len() * 95).div_ceil(100) - 1])
        };
        // The first five count alike; all came in one moment, so the others have the least weight.
        let mean = |samples: &[u64]| {
            let seconds = |millis: &u64| Duration::from_millis(*millis).as_secs_f32();
            samples.iter().zip(1u16..).fold(0.0, |mean, (millis, place)| {
                let weight = if place <= 5 { 1.0 / f32::from(place) } else { 1.0 / 32.0 };
                mean + (seconds(millis) - mean) * weight
            })
        };
        let fits = |index: usize| usable >> index & 1 == 1;
        let all = || (0..targets.len()).filter(|index| fits(*index));
        let within = all().filter(|index| p95(&targets[*index].1) <= sla).min_by_key(|index| targets[*index].0);
        let fastest = || all().min_by(|a, b| mean(&targets[*a].1).total_cmp(&mean(&targets[*b].1)));
        let picked = router.plan_for(&Demand::default(), NOW).next(fits);
        prop_assert_eq!(picked, within.or_else(fastest));
        prop_assert_eq!(router.total_sla_misses(), u64::from(within.is_none() && picked.is_some()));
    }

    #[test]
    fn a_prefix_keeps_its_target_when_another_goes(prefixes in vec(any::<u64>(), 1..200), gone in 0usize..8) {
        let named = |gone: Option<usize>| {
            let names = (0..8).filter(|index| Some(*index) != gone);
            let targets = names.map(|index| (ProviderId::from(format!("p{index}")), Target { weight: 1 }));
            SmartRouter::try_named(config(Strategy::Prefix), targets).unwrap()
        };
        let (whole, less) = (named(None), named(Some(gone)));
        for prefix in prefixes {
            let demand = Demand { prefix, ..Demand::default() };
            let owner = first(&whole, &demand, NOW).unwrap();
            prop_assert_eq!(first(&whole, &demand, NOW), Some(owner));
            if owner != gone {
                let refused = whole.plan_for(&demand, NOW).next(|index| index != gone);
                prop_assert_eq!(refused, Some(owner));
                prop_assert_eq!(&less.names()[first(&less, &demand, NOW).unwrap()], &whole.names()[owner]);
            }
        }
    }

    #[test]
    fn no_target_is_filled_above_its_bound(prefixes in vec(0u64..4, 1..300), targets in 1usize..9) {
        let router = router(config(Strategy::Prefix), targets);
        let mut held: Vec<Ticket> = Vec::new();
        for prefix in prefixes {
            let demand = Demand { prefix, ..Demand::default() };
            let target = first(&router, &demand, NOW).unwrap();
            held.push(router.begin(target, NOW));
            let most = (1.25 * held.len() as f64 / targets as f64).ceil();
            prop_assert!(f64::from(router.health(NOW)[target].in_flight) <= most);
        }
    }

    #[test]
    fn a_decision_is_what_a_close_look_at_all_finds(
        outcomes in vec((0usize..20, 1u64..3000, 0u8..8), 0..400), held in vec(0u32..5, 20), prices in vec(0i64..6, 20),
        pauses in vec((0usize..400, 1u64..40_000), 0..4), count in 1usize..20, usable: u32, late in 100u64..4000,
    ) {
        for strategy in [Strategy::Cost, Strategy::Arbitrage, Strategy::Bandit, Strategy::Latency, Strategy::Reliability] {
            let router = router(RouterConfig { sla: Some(Duration::from_secs(2)), ..config(strategy) }, count);
            (0..count).filter(|target| prices[*target] > 0).for_each(|target| router.set_price(target, price(prices[target] * 100_000)));
            let mut now = NOW;
            for (place, (target, millis, luck)) in outcomes.iter().enumerate() {
                let pause = pauses.iter().find(|(at, _)| *at == place).map_or(1, |(_, millis)| *millis);
                now = now.after(Duration::from_millis(pause));
                let observed = Observed { cost: Some(Money::from_units(1_000_000)), failed: *luck == 0, ..took(*millis) };
                router.record(target % count, observed, now);
                // It also guesses who is the best, and must not go by the guess.
                let _ = first(&router, &Demand::default(), now);
            }
            let _held: Vec<_> = (0..count).flat_map(|target| hold(&router, target, held[target])).collect();
            for within in [None, Some(Duration::from_millis(late))] {
                let demand = Demand { within, ..Demand::default() };
                let fits = |target: usize| usable >> target & 1 == 1;
                let chosen = router.plan_for(&demand, now).next(fits);
                let seen = router.explain(&demand, now);
                let best = seen.iter().find(|candidate| fits(candidate.index));
                prop_assert_eq!(chosen.is_some(), best.is_some());
                let (Some(chosen), Some(best)) = (chosen, best) else { continue };
                let chosen = seen.iter().find(|candidate| candidate.index == chosen).expect("all are explained");
                // What tells near equals apart is a twentieth of the time, which an explanation leaves aside.
                let lucky = matches!(strategy, Strategy::Latency | Strategy::Reliability) && chosen.reason == best.reason;
                let near = lucky && chosen.score <= best.score * 1.06 + 0.001;
                prop_assert!(chosen.index == best.index || near, "{:?}: {:?} {:?}", strategy, chosen, best);
            }
        }
    }

    #[test]
    fn calls_in_flight_are_those_begun_and_not_ended(ops in vec((0usize..4, 0u8..3), 1..200)) {
        let router = router(config(Strategy::Latency), 4);
        let mut held: HashMap<usize, Vec<Ticket>> = HashMap::new();
        for (target, op) in ops {
            let calls = held.entry(target).or_default();
            match op {
                0 => calls.push(router.begin(target, NOW)),
                1 => drop(calls.pop()),
                _ => calls.pop().into_iter().for_each(|ticket| ticket.record(took(5), NOW)),
            }
            let begun = calls.len() as u32;
            prop_assert_eq!(router.health(NOW)[target].in_flight, begun);
        }
        drop(held);
        prop_assert!(router.health(NOW).iter().all(|target| target.in_flight == 0));
    }

    #[test]
    fn every_strategy_gives_each_usable_target_once_a_round(usable: u16, seed: u64, known in vec(0u64..9, 16)) {
        for strategy in ALL {
            let router = router(RouterConfig { seed: Some(seed), exploration: 0.3, ..config(strategy) }, 16);
            for (target, samples) in known.iter().enumerate() {
                (0..*samples).for_each(|millis| router.record(target, took(millis * 7), NOW));
            }
            let fits = |target: usize| usable >> target & 1 == 1;
            let mut plan = router.plan_for(&Demand::default(), NOW);
            for _ in 0..2 {
                let mut given: Vec<_> = std::iter::from_fn(|| plan.next(fits)).collect();
                given.sort_unstable();
                prop_assert_eq!(given, (0..16).filter(|target| fits(*target)).collect::<Vec<_>>(), "{:?}", strategy);
                plan.next_round();
            }
            if let Ok(decision) = router.choose(&Demand::default(), NOW, fits) {
                let mut chain: Vec<_> = decision.fallback_chain.indexes().chain([decision.index]).collect();
                chain.sort_unstable();
                prop_assert_eq!(chain, (0..16).filter(|target| fits(*target)).collect::<Vec<_>>(), "{:?}", strategy);
            }
        }
    }
}

const ALL: [Strategy; 9] = [
    Strategy::Weighted,
    Strategy::Fallback,
    Strategy::Cost,
    Strategy::Latency,
    Strategy::Reliability,
    Strategy::Arbitrage,
    Strategy::PeakEwma,
    Strategy::Bandit,
    Strategy::Prefix,
];

/// Those that go by how the calls went.
const LEARNING: [Strategy; 5] =
    [Strategy::Latency, Strategy::Reliability, Strategy::Arbitrage, Strategy::PeakEwma, Strategy::Bandit];

#[test]
fn a_plan_holds_no_memory() {
    fn holds_none<T: Copy>() {}
    holds_none::<llm_router::Plan<'_>>();
}

#[test]
fn a_fast_failure_is_no_fast_answer() {
    for strategy in LEARNING {
        let router = router(RouterConfig { sla: Some(Duration::from_secs(1)), ..config(strategy) }, 2);
        learn(&router, 0, 1, NOW);
        learn(&router, 1, 500, NOW);
        assert_eq!(first(&router, &Demand::default(), NOW), Some(0), "{strategy:?} begins with the faster");
        (0..8).for_each(|_| router.record(0, failed(1), NOW));
        assert_eq!(first(&router, &Demand::default(), NOW), Some(1), "{strategy:?} leaves the failing one");
    }
}

#[test]
fn who_would_be_late_stands_behind() {
    let within = |millis| Demand { within: Some(Duration::from_millis(millis)), ..Demand::default() };
    for strategy in [Strategy::Cost, Strategy::Reliability, Strategy::Arbitrage, Strategy::PeakEwma] {
        let router = router(config(strategy), 2);
        router.set_price(0, price(1));
        router.set_price(1, price(1000));
        learn(&router, 0, 4000, NOW);
        learn(&router, 1, 500, NOW);
        for call in 0..256 {
            router.record(0, took(4000), NOW);
            router.record(1, if call % 32 == 16 { failed(500) } else { took(500) }, NOW);
        }
        // By load the slow one needs no other rival than a crowd.
        let _crowd = hold(&router, 1, if strategy == Strategy::PeakEwma { 500 } else { 0 });
        assert_eq!(first(&router, &within(5000), NOW), Some(0), "{strategy:?}");
        assert_eq!(first(&router, &within(2000), NOW), Some(1), "{strategy:?}");
        assert_eq!(first(&router, &Demand::default(), NOW), Some(0), "{strategy:?}");
        let explained = router.explain(&within(2000), NOW);
        let late = if strategy == Strategy::Arbitrage { Reason::MissesSla } else { Reason::MissesDeadline };
        assert_eq!((explained[1].index, explained[1].reason), (0, late), "{strategy:?}");
    }
}

#[test]
fn one_slow_answer_at_the_beginning_decides_nothing() {
    for strategy in [Strategy::Latency, Strategy::Arbitrage, Strategy::Bandit] {
        let router = router(RouterConfig { sla: Some(Duration::from_millis(1)), ..config(strategy) }, 2);
        let mut now = NOW;
        let mut calls = [0; 2];
        for _ in 0..60 {
            let target = first(&router, &Demand::default(), now).unwrap();
            calls[target] += 1;
            // The first answer of the faster one had a connection to wait for.
            let millis = if target == 1 {
                60
            } else if calls[0] == 1 {
                100
            } else {
                2
            };
            now = now.after(Duration::from_millis(millis));
            router.record(target, took(millis), now);
        }
        assert!(calls[0] > 48, "{strategy:?}: {calls:?}");
    }
}

#[test]
fn the_unknown_gets_its_share_of_decisions_and_no_more() {
    for strategy in [Strategy::Latency, Strategy::Reliability, Strategy::Arbitrage] {
        let router = router(RouterConfig { exploration: 0.1, ..config(strategy) }, 3);
        learn(&router, 0, 100, NOW);
        learn(&router, 1, 100, NOW);
        let explored = (0..10_000).filter(|_| first(&router, &Demand::default(), NOW) == Some(2)).count();
        assert!((850..1150).contains(&explored), "{strategy:?}: {explored}");
    }
}

#[test]
fn of_the_unknown_what_failed_is_tried_less_and_tried_all_the_same() {
    let router = router(RouterConfig { exploration: 1.0, ..config(Strategy::Reliability) }, 3);
    for call in 0..64 {
        router.record(1, if call % 2 == 0 { failed(100) } else { took(100) }, NOW);
        router.record(2, took(100), NOW);
    }
    let later = NOW.after(Duration::from_secs(60));
    learn(&router, 0, 100, later);
    let mut firsts = [0u32; 3];
    for _ in 0..10_000 {
        firsts[first(&router, &Demand::default(), later).unwrap()] += 1;
    }
    assert!(firsts[0] == 0 && (500..1500).contains(&firsts[1]), "{firsts:?}");
}

#[test]
fn a_target_that_comes_back_is_not_stampeded() {
    for strategy in [Strategy::Cost, Strategy::Latency, Strategy::Reliability, Strategy::PeakEwma] {
        let router = router(RouterConfig { exploration: 1.0, ..config(strategy) }, 2);
        router.set_price(0, price(1));
        router.set_price(1, price(1000));
        learn(&router, 0, 10, NOW);
        learn(&router, 1, 400, NOW);
        (0..3).for_each(|_| router.record(0, failed(10), NOW));
        // Long enough for every average to be forgotten, and for the other to stay known.
        let later = NOW.after(Duration::from_secs(120));
        learn(&router, 1, 400, later);
        let mut held: Vec<Ticket> = Vec::new();
        for allowed in [1, 2, 4, 8] {
            for _ in 0..100 {
                let target = first(&router, &Demand::default(), later).unwrap();
                held.push(router.begin(target, later));
            }
            let calls = router.health(later)[0].in_flight;
            assert!((1..=allowed).contains(&calls), "{strategy:?}: {calls} calls where {allowed} are allowed");
            let place = held.iter().position(|ticket| ticket.index() == 0).unwrap();
            held.swap_remove(place).record(took(10), later);
            held.clear();
        }
    }
}

#[test]
fn what_is_known_of_a_target_is_forgotten() {
    let router = router(RouterConfig { exploration: 1.0, ..config(Strategy::Latency) }, 2);
    learn(&router, 0, 10_000, NOW);
    learn(&router, 1, 100, NOW);
    let (fresh, stale) = (NOW.after(Duration::from_secs(29)), NOW.after(Duration::from_secs(32)));
    learn(&router, 1, 100, fresh);
    assert_eq!(first(&router, &Demand::default(), fresh), Some(1), "known to be slow");
    assert_eq!(first(&router, &Demand::default(), stale), Some(0), "unknown again");
    let hours = NOW.after(Duration::from_secs(3 * 3600));
    assert_eq!(router.health(hours)[0].success_rate, None);
}

#[test]
fn a_target_over_the_limit_begins_anew_after_a_silence() {
    let router = router(RouterConfig { sla: Some(Duration::from_secs(1)), ..config(Strategy::Arbitrage) }, 1);
    (0..128).for_each(|_| router.record(0, took(5000), NOW));
    let later = NOW.after(Duration::from_secs(60));
    learn(&router, 0, 100, later);
    assert_eq!(router.health(later)[0].p95, Some(Duration::from_millis(100)));
    assert_eq!(first(&router, &Demand::default(), later), Some(0));
    assert_eq!(router.total_sla_misses(), 0);
}

#[test]
fn few_calls_an_hour_are_remembered_all_the_same() {
    let router = router(config(Strategy::Cost), 2);
    router.set_price(0, price(1));
    router.set_price(1, price(1000));
    let mut now = NOW;
    for _ in 0..10 {
        now = now.after(Duration::from_secs(300));
        let held: Vec<_> = (0..3).map(|_| router.begin(0, now)).collect();
        assert_eq!(first(&router, &Demand::default(), now), Some(0), "a few at once stay with the cheapest");
        held.into_iter().zip([100, 200, 300]).for_each(|(ticket, millis)| ticket.record(took(millis), now));
    }
    assert_eq!(router.health(now)[0].p50, Some(Duration::from_millis(200)));
}

#[test]
fn a_cheap_target_is_tried_again_after_its_outage() {
    let router = router(config(Strategy::Cost), 2);
    router.set_price(0, price(100));
    router.set_price(1, price(300));
    (0..200).for_each(|_| router.record(0, failed(10), NOW));
    learn(&router, 1, 10, NOW);
    assert_eq!(first(&router, &Demand::default(), NOW), Some(1));
    let later = NOW.after(Duration::from_secs(300));
    assert_eq!(first(&router, &Demand::default(), later), Some(0));
    let _tried = router.begin(0, later);
    assert_eq!(first(&router, &Demand::default(), later), Some(1), "one call finds out");
}

#[test]
fn what_is_down_is_not_asked_first_after_a_quiet_hour() {
    for strategy in [Strategy::Latency, Strategy::Reliability, Strategy::Arbitrage, Strategy::Bandit] {
        let router = router(config(strategy), 2);
        learn(&router, 0, 10, NOW);
        learn(&router, 1, 900, NOW);
        (0..3).for_each(|_| router.record(0, failed(10), NOW));
        let later = NOW.after(Duration::from_secs(2 * 3600));
        assert_eq!(first(&router, &Demand::default(), later), Some(1), "{strategy:?}");
    }
}

#[test]
fn three_failures_in_a_row_outweigh_a_good_average() {
    let router = router(config(Strategy::Latency), 2);
    learn(&router, 0, 10, NOW);
    learn(&router, 1, 20_000, NOW);
    (0..2).for_each(|_| router.record(0, failed(10), NOW));
    assert_eq!(first(&router, &Demand::default(), NOW), Some(0));
    router.record(0, failed(10), NOW);
    assert_eq!(first(&router, &Demand::default(), NOW), Some(1));
}

#[test]
fn equals_are_drawn_equally_often() {
    let router = router(config(Strategy::PeakEwma), 5);
    let mut firsts = [0u32; 5];
    for _ in 0..10_000 {
        firsts[first(&router, &Demand::default(), NOW).unwrap()] += 1;
    }
    assert!(firsts.iter().all(|count| count.abs_diff(2000) < 200), "{firsts:?}");
}

#[test]
fn an_explanation_says_what_a_decision_does() {
    for strategy in
        [Strategy::Fallback, Strategy::Latency, Strategy::Cost, Strategy::Arbitrage, Strategy::Bandit, Strategy::Prefix]
    {
        let router = router(config(strategy), 5);
        for target in 0..5 {
            router.set_price(target, price(100 * (7 * target as i64 % 5 + 1)));
            learn(&router, target, 100 * (3 * target as u64 % 5 + 1), NOW);
        }
        let demand = Demand { prefix: 77, ..Demand::default() };
        let decision = router.choose(&demand, NOW, |_| true).unwrap();
        let explained = router.explain(&demand, NOW);
        let order: Vec<_> = std::iter::once(decision.index).chain(decision.fallback_chain.indexes()).collect();
        assert_eq!(explained.iter().map(|candidate| candidate.index).collect::<Vec<_>>(), order, "{strategy:?}");
        assert_eq!(explained[0].reason, decision.reason, "{strategy:?}");
        let explained = explained[0].predicted_latency.unwrap().as_secs_f64() * 1000.0;
        assert!((explained - decision.predicted_latency_ms).abs() < 0.001, "{strategy:?}");
    }
}
