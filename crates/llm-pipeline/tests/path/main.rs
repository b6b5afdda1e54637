//! The path with a scripted provider, on paused time.

mod bench;
mod bounds;
mod circuits;
mod following;
mod limits;
mod prices;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use llm_breaker::CircuitBreakerConfig;
use llm_core::{Clock, Error, ErrorKind, Sharing, TokioClock};
use llm_pipeline::{DefaultRoute, Pipeline, ProviderConfig, Reply, Request, RetryPolicy};
use llm_router::Strategy;

use bench::{Bench, Scripted, Step, body, broken, frame, text};
use limits::requests;

#[tokio::test(start_paused = true)]
async fn a_failed_candidate_is_followed_by_the_next_at_once() {
    let (bad, good) =
        (Scripted::new("bad", vec![Step::Fail(broken(500))]), Scripted::new("good", vec![Step::Answer("{}")]));
    let bench = Bench::new(&[&bad, &good], Strategy::Fallback, |b| b);
    let begun = bench.clock.now();
    let response = bench.ask("x").await.unwrap();
    assert_eq!((response.served.provider.as_str(), response.served.attempts), ("good", 2));
    assert!(bench.clock.now().since(begun) < Duration::from_millis(5), "no pause");
}

#[tokio::test(start_paused = true)]
async fn the_attempts_are_one_budget_over_all_candidates() {
    let (a, b) = (Scripted::new("a", vec![Step::Fail(broken(500))]), Scripted::new("b", vec![Step::Fail(broken(503))]));
    let bench = Bench::new(&[&a, &b], Strategy::Fallback, |b| b);
    let error = bench.ask("x").await.unwrap_err();
    assert_eq!((a.calls() + b.calls(), error.attempts()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_callers_mistake_is_tried_once_and_never_opens_the_circuit() {
    let mistaken = Error::new(ErrorKind::InvalidRequest, "bad").with_upstream(400, None);
    let provider = Scripted::new("p", vec![Step::Fail(mistaken)]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    for call in 1..=20 {
        assert_eq!(bench.ask("x").await.unwrap_err().kind(), ErrorKind::InvalidRequest);
        assert_eq!(provider.calls(), call);
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_retry_after_is_waited_for() {
    let slow_down = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(2));
    let provider = Scripted::new("p", vec![Step::Fail(slow_down), Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let begun = bench.clock.now();
    bench.ask("x").await.unwrap();
    assert_eq!(bench.clock.now().since(begun).as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_refuses_and_says_when_it_will_be_probed() {
    let provider = Scripted::new("p", vec![Step::Fail(broken(500))]);
    let bench =
        Bench::new(&[&provider], Strategy::Fallback, |b| b.retry(RetryPolicy { attempts: 0, ..Default::default() }));
    for _ in 0..5 {
        assert_eq!(bench.ask("x").await.unwrap_err().kind(), ErrorKind::Upstream);
    }
    let refused = bench.ask("x").await.unwrap_err();
    assert_eq!((refused.kind(), provider.calls()), (ErrorKind::CircuitOpen, 5));
    assert_eq!(refused.reasons().len(), 1);
    tokio::time::sleep(refused.retry_after().unwrap()).await;
    assert_eq!(bench.ask("x").await.unwrap_err().kind(), ErrorKind::Upstream);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_passed_over_while_another_candidate_is_closed() {
    let (bad, good) =
        (Scripted::new("bad", vec![Step::Fail(broken(500))]), Scripted::new("good", vec![Step::Answer("{}")]));
    let bench = Bench::new(&[&bad, &good], Strategy::Fallback, |b| b);
    for _ in 0..10 {
        bench.ask("x").await.unwrap();
    }
    assert_eq!((bad.calls(), good.calls()), (5, 10));
}

#[tokio::test(start_paused = true)]
async fn a_denial_says_the_wait_and_waiting_as_told_is_enough() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(vec![requests("tenant", 10.0, 1)]));
    bench.ask("x").await.unwrap();
    let denied = bench.ask("x").await.unwrap_err();
    assert_eq!((denied.kind(), provider.calls()), (ErrorKind::Denied, 1));
    bench.path.handle(bench.request("b", body("fast", "x", false))).await.unwrap();
    tokio::time::sleep(denied.retry_after().unwrap()).await;
    bench.ask("x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_reached_nobody_costs_no_quota() {
    let unreachable = Error::new(ErrorKind::Connection, "refused").unsent();
    let provider = Scripted::new("p", vec![Step::Fail(unreachable), Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| {
        b.limits(vec![requests("tenant", 0.001, 1)]).retry(RetryPolicy { attempts: 0, ..Default::default() })
    });
    assert_eq!(bench.ask("x").await.unwrap_err().kind(), ErrorKind::Connection);
    bench.ask("x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn identical_calls_in_flight_are_one_and_tenants_never_meet() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let calls = (0..100).map(|i| {
        let tenant = if i < 50 { "a" } else { "b" };
        bench.path.handle(bench.request(tenant, body("fast", "x", false)))
    });
    let answers = futures_util::future::join_all(calls).await;
    let joined = answers.iter().filter(|answer| answer.as_ref().unwrap().served.sharing == Sharing::Joined).count();
    assert!(answers.iter().all(|answer| text(answer.as_ref().unwrap()) == b"{}"));
    assert_eq!((provider.calls(), joined), (2, 98));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sessions_that_ask_the_same_are_one_call() {
    let provider = Scripted::new("p", vec![Step::After(Duration::from_secs(1))]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let calls = (0..10_000).map(|_| bench.path.handle(bench.request("a", body("fast", "x", false))));
    let answers = futures_util::future::join_all(calls).await;
    let first = text(answers[0].as_ref().unwrap());
    assert!(answers.iter().all(|answer| text(answer.as_ref().unwrap()) == first));
    assert_eq!(provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn any_caller_may_leave_and_the_last_cancels() {
    let provider = Scripted::new("p", vec![Step::Hang]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let mut first = Box::pin(bench.ask("x"));
    let mut second = Box::pin(bench.ask("x"));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    assert_eq!(provider.cancelled.load(SeqCst), 0);
    assert!(second.as_mut().now_or_never().is_none());
    drop(second);
    assert_eq!((provider.calls(), provider.cancelled.load(SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_declines_sharing_calls_alone() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b);
    let alone = || {
        let request = Request { cache: llm_pipeline::CacheUse::Bypass, ..bench.request("a", body("fast", "x", false)) };
        bench.path.handle(request)
    };
    let (one, other) = tokio::join!(alone(), alone());
    assert_eq!((one.unwrap().served.sharing, other.unwrap().served.sharing), (Sharing::Bypass, Sharing::Bypass));
    assert_eq!(provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_before_its_first_content_is_tried_elsewhere() {
    let cut = || Err(Error::new(ErrorKind::StreamInterrupted, "cut"));
    let early = Scripted::new("early", vec![Step::Frames(vec![frame("role", false), cut()])]);
    let good = Scripted::new("good", vec![Step::Frames(vec![frame("role", false), frame("hi", true), cut()])]);
    let bench = Bench::new(&[&early, &good], Strategy::Fallback, |b| b);
    let response = bench.path.handle(bench.request("a", body("fast", "x", true))).await.unwrap();
    let Reply::Frames { frames, .. } = response.reply else { panic!("frames") };
    let seen: Vec<_> = frames.map(|frame| frame.map(|f| f.bytes).map_err(|e| e.kind())).collect().await;
    let expected = vec![Ok(Bytes::from("role")), Ok(Bytes::from("hi")), Err(ErrorKind::StreamInterrupted)];
    assert_eq!((response.served.attempts, seen), (2, expected));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_silent_call_and_a_silent_stream() {
    let silent = Scripted::new("p", vec![Step::Hang]);
    let bench = Bench::new(&[&silent], Strategy::Fallback, |b| b);
    let deadline = Some(bench.clock.now().after(Duration::from_millis(30)));
    let request = Request { deadline, ..bench.request("a", body("fast", "x", false)) };
    assert_eq!(bench.path.handle(request).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(silent.cancelled.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn who_would_answer_after_the_deadline_is_not_asked_first() {
    let takes = |seconds| vec![Step::After(Duration::from_secs(seconds))];
    let (slow, quick) = (Scripted::new("slow", takes(4)), Scripted::new("quick", takes(1)));
    let bench = Bench::new(&[&slow, &quick], Strategy::Cost, |b| b);
    let ask = async |prompt: String, within: Option<u64>| {
        let deadline = within.map(|seconds| bench.clock.now().after(Duration::from_secs(seconds)));
        let request = Request { deadline, ..bench.request("a", body("fast", &prompt, false)) };
        bench.path.handle(request).await.map(|response| response.served.provider.to_string())
    };
    // Their prices are equal: the first listed, as long as that is in time.
    for call in 0..8 {
        assert_eq!(ask(format!("any {call}"), None).await.unwrap(), "slow");
        assert_eq!(ask(format!("soon {call}"), Some(2)).await.unwrap(), "quick");
    }
    assert_eq!((slow.calls(), quick.calls()), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_in_order() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Weighted, |b| b);
    for name in ["fast", "p/anything/at-all", "auto"] {
        bench.path.handle(bench.request("a", body(name, "x", false))).await.unwrap();
    }
    for name in ["slow", "q/m", "p/"] {
        let error = bench.path.handle(bench.request("a", body(name, "x", false))).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("model_not_found")), "{name}");
    }
    let bench = Bench::new(&[&provider], Strategy::Weighted, |b| b.default_route(DefaultRoute::Provider("p".into())));
    bench.path.handle(bench.request("a", body("org/model", "x", false))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_buckets_and_circuits() {
    let provider = Scripted::new("p", vec![Step::Fail(broken(500))]);
    let rebuild = |old: Option<&Pipeline>, clock: &Arc<TokioClock>| {
        Pipeline::builder()
            .clock(clock.clone())
            .provider(ProviderConfig::new(provider.clone(), CircuitBreakerConfig::default()))
            .retry(RetryPolicy { attempts: 0, ..Default::default() })
            .limits(vec![requests("tenant", 0.001, 6)])
            .build(old)
            .unwrap()
    };
    let clock = Arc::new(TokioClock::new());
    let bench = Bench { path: rebuild(None, &clock), clock };
    let ask = |path: Pipeline, tenant: &str| {
        let request = bench.request(tenant, body("p/m", "x", false));
        async move { path.handle(request).await.unwrap_err().kind() }
    };
    for _ in 0..5 {
        assert_eq!(ask(bench.path.clone(), "a").await, ErrorKind::Upstream);
    }
    let reloaded = rebuild(Some(&bench.path), &bench.clock);
    assert_eq!(ask(reloaded.clone(), "b").await, ErrorKind::CircuitOpen);
    assert_eq!(ask(reloaded.clone(), "a").await, ErrorKind::CircuitOpen);
    // An open circuit sends nothing: the sixth unit was given back and is still there.
    assert_eq!(ask(reloaded, "a").await, ErrorKind::CircuitOpen);
}
