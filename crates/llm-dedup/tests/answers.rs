//! Answers that are kept, together with the flights that bring them: one claim for both.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream;
use llm_core::{BoxFuture, BoxStream, Clock, ManualClock, TenantId};
use llm_dedup::{Broadcast, CacheConfig, Claim, Flights, Keep, Listener, RequestKey, ResponseCache, Subscriber};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn key(tenant: &str, body: &'static str) -> RequestKey {
    RequestKey::new(TenantId::from(tenant), "route", body)
}

/// A cache on a clock that stands still.
fn cache<T: Clone>(weigh: fn(&T) -> usize) -> (ResponseCache<T>, ManualClock) {
    let clock = ManualClock::new();
    let builder = ResponseCache::builder(CacheConfig::default()).clock(Arc::new(clock.clone()));
    (builder.build_for(weigh), clock)
}

type Number = Result<u32, &'static str>;

fn numbers() -> (Flights<Number>, ManualClock) {
    let (cache, clock) = cache(|_: &Number| 1);
    (Flights::builder(100).answers(cache, |answer| answer.is_ok().then_some(*answer)).build(), clock)
}

/// Asks and waits for the answer; how it came about.
fn ask(flights: &Flights<Number>, body: &'static str, keep: Option<Keep>, answer: Number) -> (Number, &'static str) {
    let wait = |subscriber: Subscriber<Number>| subscriber.now_or_never().unwrap().unwrap();
    match flights.claim(&key("t", body), keep, || Box::pin(async move { answer })) {
        Claim::Hit(answer) => (answer, "hit"),
        Claim::Lead(subscriber) => (wait(subscriber), "lead"),
        Claim::Follow(subscriber) => (wait(subscriber), "follow"),
        Claim::Full => panic!("there is room"),
    }
}

#[test]
fn a_good_answer_is_given_again_until_it_is_too_old() {
    let (flights, clock) = numbers();
    let keep = || Some(Keep { ttl: SECOND, now: clock.now() });
    assert_eq!(ask(&flights, "a", keep(), Ok(1)), (Ok(1), "lead"));
    assert_eq!(ask(&flights, "a", keep(), Ok(2)), (Ok(1), "hit"));
    assert_eq!(ask(&flights, "b", keep(), Ok(3)), (Ok(3), "lead"));
    clock.advance(SECOND);
    assert_eq!(ask(&flights, "a", keep(), Ok(4)), (Ok(4), "lead"));
    let stats = flights.stats();
    assert_eq!((stats.total_submitted, stats.deduplicated, stats.hits, stats.active_requests), (4, 1, 1, 0));
    assert_eq!(flights.answers().unwrap().stats().entries, 2);
}

#[test]
fn an_error_is_not_kept() {
    let (flights, clock) = numbers();
    let keep = Some(Keep { ttl: SECOND, now: clock.now() });
    assert_eq!(ask(&flights, "a", keep, Err("broken")), (Err("broken"), "lead"));
    assert_eq!(ask(&flights, "a", keep, Ok(1)), (Ok(1), "lead"));
}

#[test]
fn who_does_not_want_a_kept_answer_gets_none_and_leaves_none() {
    let (flights, clock) = numbers();
    let keep = Some(Keep { ttl: SECOND, now: clock.now() });
    assert_eq!(ask(&flights, "a", None, Ok(1)).1, "lead");
    assert_eq!(ask(&flights, "a", keep, Ok(2)).1, "lead");
    assert_eq!(ask(&flights, "a", None, Ok(3)), (Ok(3), "lead"));
    let only_read = Some(Keep { ttl: Duration::ZERO, now: clock.now() });
    assert_eq!(ask(&flights, "a", only_read, Ok(4)), (Ok(2), "hit"));
    assert_eq!(ask(&flights, "b", only_read, Ok(5)).1, "lead");
    assert_eq!(ask(&flights, "b", keep, Ok(6)).1, "lead");
}

#[test]
fn a_follower_may_have_the_answer_kept() {
    let (flights, clock) = numbers();
    let keep = Some(Keep { ttl: SECOND, now: clock.now() });
    let Claim::Lead(lead) = flights.claim(&key("t", "a"), None, || Box::pin(async { Ok(1) })) else { panic!() };
    let Claim::Follow(follower) = flights.claim(&key("t", "a"), keep, || unreachable!()) else { panic!() };
    drop(follower);
    assert_eq!(lead.now_or_never(), Some(Ok(Ok(1))));
    assert_eq!(ask(&flights, "a", keep, Ok(2)), (Ok(1), "hit"));
}

#[test]
fn tenants_do_not_meet() {
    let (flights, clock) = numbers();
    let keep = Some(Keep { ttl: SECOND, now: clock.now() });
    assert_eq!(ask(&flights, "a", keep, Ok(1)).1, "lead");
    assert!(matches!(flights.claim(&key("other", "a"), keep, || Box::pin(async { Ok(2) })), Claim::Lead(_)));
}

#[test]
fn a_judgement_that_panics_keeps_nothing_and_leaves_nobody_waiting() {
    let (cache, clock) = cache(|_: &u32| 1);
    let flights = Flights::builder(10).answers(cache, |_| panic!("on purpose")).build();
    let keep = Some(Keep { ttl: SECOND, now: clock.now() });
    let Claim::Lead(lead) = flights.claim(&key("t", "a"), keep, || Box::pin(async { 1 })) else { panic!() };
    let Claim::Follow(follower) = flights.claim(&key("t", "a"), keep, || unreachable!()) else { panic!() };
    assert_eq!((lead.now_or_never(), follower.now_or_never()), (Some(Ok(1)), Some(Ok(1))));
    assert!(matches!(flights.claim(&key("t", "a"), keep, || Box::pin(async { 2 })), Claim::Lead(_)));
}

#[test]
fn beyond_its_bound_of_subscribers_the_next_caller_leads_a_flight_that_others_join() {
    let flights: Flights<u32> = Flights::builder(10).subscribers(2).build();
    let claim = || flights.claim(&key("t", "a"), None, || Box::pin(std::future::pending()));
    let claims: Vec<_> = (0..6).map(|_| claim()).collect();
    let leads: Vec<_> = claims.iter().map(|claim| matches!(claim, Claim::Lead(_))).collect();
    assert_eq!(leads, [true, false, true, false, true, false]);
    let stats = flights.stats();
    assert_eq!((stats.active_requests, stats.total_subscribers), (3, 6));
    drop(claims);
    let stats = flights.stats();
    assert_eq!((stats.active_requests, stats.total_subscribers), (0, 0));
}

#[test]
fn a_closed_flight_keeps_who_is_in_it_and_takes_nobody_more() {
    let flights: Flights<u32> = Flights::new(10);
    let claim = || flights.claim(&key("t", "a"), None, || Box::pin(async { 1 }));
    let (Claim::Lead(first), Claim::Follow(second)) = (claim(), claim()) else { panic!() };
    assert!(flights.close(&key("t", "a")));
    assert!(!flights.close(&key("t", "a")));
    let Claim::Lead(other) = claim() else { panic!() };
    drop(first);
    assert_eq!((second.now_or_never(), other.now_or_never()), (Some(Ok(1)), Some(Ok(1))));
    assert_eq!(flights.stats().active_requests, 0);
}

type Log = Broadcast<u32, &'static str>;

/// Flights of streams, kept when they are whole.
fn streams() -> (Flights<Log>, ManualClock) {
    let (cache, clock) = cache(Log::bytes);
    let builder = Flights::builder(100).ongoing(|log: &Log| Some(log));
    (builder.answers(cache, |log| log.is_complete().then(|| log.clone())).build(), clock)
}

fn begin(items: Vec<Result<u32, &'static str>>, most: usize) -> BoxFuture<'static, Log> {
    let source: BoxStream<_> = Box::pin(stream::iter(items));
    Box::pin(async move { Broadcast::new(source, most, |_| 1) })
}

fn next(listener: &mut Listener<u32, &'static str>) -> Poll<Option<Result<u32, ()>>> {
    listener.poll_item(&mut Context::from_waker(Waker::noop())).map(|item| item.map(|item| item.map_err(drop)))
}

fn rest(mut listener: Listener<u32, &'static str>) -> Vec<u32> {
    std::iter::from_fn(|| match next(&mut listener) {
        Poll::Ready(Some(Ok(item))) => Some(item),
        _ => None,
    })
    .collect()
}

#[test]
fn a_whole_stream_is_kept_and_replayed_and_until_then_it_is_joined() {
    let (flights, clock) = streams();
    let keep = Some(Keep { ttl: SECOND, now: clock.now() });
    let started = AtomicUsize::new(0);
    let claim = || {
        let start = || {
            started.fetch_add(1, SeqCst);
            begin(vec![Ok(1), Ok(2), Ok(3)], 100)
        };
        match flights.claim(&key("t", "a"), keep, start) {
            Claim::Hit(log) => (log, None),
            Claim::Lead(mut subscriber) | Claim::Follow(mut subscriber) => {
                let log = (&mut subscriber).now_or_never().unwrap().unwrap();
                (log, Some(subscriber))
            }
            Claim::Full => panic!("there is room"),
        }
    };
    let (log, _lead) = claim();
    let mut first = log.listen().unwrap();
    for number in 1..=3 {
        assert_eq!(next(&mut first), Poll::Ready(Some(Ok(number))));
        let (joined, place) = claim();
        assert!(place.is_some() && joined.listen().is_some(), "the end has not come");
    }
    assert_eq!(next(&mut first), Poll::Ready(None));
    let (kept, place) = claim();
    assert!(place.is_none());
    assert_eq!((rest(kept.listen().unwrap()), rest(kept.listen().unwrap())), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!((kept.items(), started.load(SeqCst)), (Some(vec![1, 2, 3]), 1));
    assert_eq!(flights.stats().active_requests, 0);
}

#[test]
fn a_stream_that_broke_off_or_was_too_long_is_not_kept() {
    let (flights, clock) = streams();
    let keep = Some(Keep { ttl: SECOND, now: clock.now() });
    let broken: Vec<_> = vec![Ok(1), Err("broken")];
    let long: Vec<_> = (0..10).map(Ok).collect();
    for items in [broken, long] {
        let Claim::Lead(mut lead) = flights.claim(&key("t", "a"), keep, || begin(items.clone(), 5)) else { panic!() };
        let log = (&mut lead).now_or_never().unwrap().unwrap();
        let listener = log.listen().unwrap();
        lead.release_start();
        let heard = rest(listener);
        assert_eq!(heard.len(), items.iter().filter(|item| item.is_ok()).count());
        drop(lead);
        assert_eq!((flights.stats().active_requests, flights.answers().unwrap().stats().entries), (0, 0));
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Asks, with an answer to be kept or not.
    Ask(usize, bool),
    /// The call under way ends, well or badly.
    End(usize, bool),
    Leave(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..3, any::<bool>()).prop_map(|(key, keep)| Step::Ask(key, keep)),
        3 => (0usize..3, any::<bool>()).prop_map(|(key, good)| Step::End(key, good)),
        1 => any::<usize>().prop_map(Step::Leave),
        2 => (1u64..900).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Beside a naive model: at most one call of a key at a time, none while a kept answer is fresh.
    #[test]
    fn a_claim_is_a_hit_a_follow_or_a_lead_as_a_list_would_say(steps in steps()) {
        const BODIES: [&str; 3] = ["a", "b", "c"];
        let (flights, clock) = numbers();
        let mut subscribers: Vec<(usize, Subscriber<Number>)> = Vec::new();
        let mut gates: [Option<Arc<std::sync::Mutex<Option<Number>>>>; 3] = Default::default();
        // The model: for each key the callers of its flight and whether it is to be kept, and what is kept until when.
        let mut flying = [(0usize, false); 3];
        let mut kept: [Option<(u32, u64)>; 3] = [None; 3];
        let (mut now, mut number) = (0u64, 0u32);
        for step in steps {
            match step {
                Step::Ask(at, wants) => {
                    let keep = wants.then(|| Keep { ttl: SECOND, now: clock.now() });
                    let gate = Arc::new(std::sync::Mutex::new(None));
                    let call = { let gate = gate.clone(); move || -> BoxFuture<'static, Number> {
                        Box::pin(std::future::poll_fn(move |_| match *gate.lock().unwrap() {
                            Some(answer) => Poll::Ready(answer),
                            None => Poll::Pending,
                        }))
                    }};
                    let fresh = kept[at].filter(|(_, until)| wants && now < *until);
                    match flights.claim(&key("t", BODIES[at]), keep, call) {
                        Claim::Hit(answer) => prop_assert_eq!(Some(answer), fresh.map(|(answer, _)| Ok(answer))),
                        Claim::Follow(subscriber) => {
                            prop_assert!(fresh.is_none() && flying[at].0 > 0);
                            flying[at] = (flying[at].0 + 1, flying[at].1 || wants);
                            subscribers.push((at, subscriber));
                        }
                        Claim::Lead(subscriber) => {
                            prop_assert!(fresh.is_none() && flying[at].0 == 0);
                            flying[at] = (1, wants);
                            gates[at] = Some(gate);
                            subscribers.push((at, subscriber));
                        }
                        Claim::Full => prop_assert!(false, "there is room"),
                    }
                }
                Step::End(at, good) if flying[at].0 > 0 => {
                    number += 1;
                    let answer = if good { Ok(number) } else { Err("broken") };
                    *gates[at].as_ref().unwrap().lock().unwrap() = Some(answer);
                    let (ended, others) = std::mem::take(&mut subscribers).into_iter().partition(|(of, _)| *of == at);
                    subscribers = others;
                    let ended: Vec<(usize, Subscriber<Number>)> = ended;
                    for (_, mut subscriber) in ended {
                        // The call is polled here for the first time: nobody needs to be woken.
                        prop_assert_eq!((&mut subscriber).now_or_never(), Some(Ok(answer)));
                    }
                    if good && flying[at].1 {
                        kept[at] = Some((number, now + 1000));
                    }
                    flying[at] = (0, false);
                }
                Step::Leave(at) if !subscribers.is_empty() => {
                    let (at, subscriber) = subscribers.swap_remove(at % subscribers.len());
                    drop(subscriber);
                    flying[at].0 -= 1;
                }
                Step::Wait(millis) => {
                    clock.advance(Duration::from_millis(millis));
                    now += millis;
                }
                Step::End(..) | Step::Leave(_) => {}
            }
            let active = flying.iter().filter(|(callers, _)| *callers > 0).count();
            let stats = flights.stats();
            prop_assert_eq!((stats.active_requests, stats.total_subscribers), (active, subscribers.len()));
        }
    }
}
