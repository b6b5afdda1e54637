//! Limits of every level and resource, met by requests.

use std::time::Duration;

use futures_util::StreamExt;
use llm_core::{CallBody, Error, ErrorKind, Frame, Usage};
use llm_pipeline::{Reply, Request, Response, RetryPolicy};
use llm_ratelimit::{CapConfig, LimitConfig, MeterConfig, Resource};
use llm_router::Strategy;

use crate::bench::{Bench, Scripted, Step, body, broken, frame};

const DAY: Duration = Duration::from_secs(86_400);

fn table(level: &str) -> LimitConfig {
    LimitConfig { level: level.into(), name: "*".into(), ..LimitConfig::default() }
}

/// Requests a second, for each name of `level`.
pub(crate) fn requests(level: &str, rate: f64, burst: u32) -> LimitConfig {
    let requests = MeterConfig::Rate { rate, per: Duration::from_secs(1), burst: Some(burst) };
    LimitConfig { requests: Some(requests), ..table(level) }
}

fn concurrency(level: &str, most: u32) -> LimitConfig {
    LimitConfig { concurrency: Some(most), ..table(level) }
}

fn tokens(level: &str, cap: u64) -> LimitConfig {
    LimitConfig { tokens: Some(MeterConfig::Cap(CapConfig { cap, per: DAY })), ..table(level) }
}

fn budget(level: &str, cap: u64) -> LimitConfig {
    LimitConfig { money: Some(CapConfig { cap, per: DAY }), ..table(level) }
}

fn used(input: u64, output: u64) -> Step {
    Step::Used(Usage { input, output, ..Usage::default() })
}

/// How much is left at `level`.
fn left(bench: &Bench, level: &str, resource: Resource) -> Vec<u64> {
    let mut limits = bench.path.limits();
    limits.retain(|limit| *limit.level == *level && limit.resource == resource);
    limits.iter().map(|limit| limit.remaining).collect()
}

fn once(builder: llm_pipeline::PipelineBuilder) -> llm_pipeline::PipelineBuilder {
    builder.retry(RetryPolicy { attempts: 0, ..RetryPolicy::default() })
}

/// The bytes of the body that [`Bench::ask`] sends with an empty text, and so the bound of its input.
const SENT: u64 = 23;
/// Their estimate in tokens.
const ESTIMATE: u64 = 6;

/// A stream of its own.
async fn stream(bench: &Bench) -> Result<Response, Error> {
    bench
        .path
        .handle(Request { cache: llm_pipeline::CacheUse::Bypass, ..bench.request("a", body("fast", "", true)) })
        .await
}

async fn frames(response: Response) -> Vec<Result<Frame, Error>> {
    match response.reply {
        Reply::Frames { frames, .. } => frames.collect().await,
        other => panic!("{other:?}"),
    }
}

fn said(count: usize, usage: Option<Usage>) -> Step {
    let mut frames: Vec<_> = (0..count).map(|_| frame("x", true)).collect();
    let last = Frame { bytes: "end".into(), usage: usage.map(Box::new), last: true, ..Frame::default() };
    frames.push(Ok(last));
    Step::Frames(frames)
}

#[tokio::test(start_paused = true)]
async fn a_denial_names_the_level_the_resource_and_what_is_left() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(vec![requests("key", 1.0, 1)]));
    bench.ask("").await.unwrap();
    let denied = bench.ask("").await.unwrap_err();
    assert_eq!(denied.reasons(), ["limits: requests of key a: 0 of 1 left, enough in 999 ms"]);
    assert_eq!((denied.code(), denied.retry_after()), (Some("rate_limit_exceeded"), Some(Duration::from_millis(999))));
}

#[tokio::test(start_paused = true)]
async fn a_target_at_its_limit_is_passed_over_and_the_last_denial_is_told() {
    let (a, b) = (Scripted::new("a", vec![Step::Answer("{}")]), Scripted::new("b", vec![Step::Answer("{}")]));
    let tables = vec![requests("key", 1.0, 9), requests("provider", 0.001, 1)];
    let bench = Bench::new(&[&a, &b], Strategy::Fallback, |b| b.limits(tables));
    for provider in ["a", "b"] {
        assert_eq!(bench.ask("").await.unwrap().served.provider, provider);
    }
    let denied = bench.ask("").await.unwrap_err();
    assert_eq!((denied.kind(), a.calls(), b.calls()), (ErrorKind::Denied, 1, 1));
    assert!(denied.reasons()[0].starts_with("limits: requests of provider a"), "{:?}", denied.reasons());
    // What the caller's own limit had given for it came back.
    assert_eq!(left(&bench, "key", Resource::Requests), [7]);
    assert_eq!(bench.path.tallies()[0].denied, 1);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_charged_to_its_target_and_the_request_once_to_its_caller() {
    let (bad, good) = (Scripted::new("bad", vec![Step::Fail(broken(500))]), Scripted::new("good", vec![used(1, 1)]));
    let tables = vec![requests("key", 0.001, 9), requests("provider", 0.001, 9), requests("model", 0.001, 9)];
    let bench = Bench::new(&[&bad, &good], Strategy::Fallback, |b| b.limits(tables));
    bench.ask("").await.unwrap();
    assert_eq!(left(&bench, "key", Resource::Requests), [8]);
    assert_eq!(left(&bench, "provider", Resource::Requests), [8, 8]);
    assert_eq!(left(&bench, "model", Resource::Requests), [7]);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_held_to_the_end_of_the_stream_and_freed_by_leaving() {
    let provider = Scripted::new("p", vec![said(2, None)]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(vec![concurrency("key", 1)]));
    let first = stream(&bench).await.unwrap();
    let denied = stream(&bench).await.unwrap_err();
    assert_eq!((denied.kind(), denied.retry_after()), (ErrorKind::Denied, None));
    drop(first);
    assert_eq!(frames(stream(&bench).await.unwrap()).await.len(), 3);
    assert_eq!(left(&bench, "key", Resource::Concurrency), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_frees_its_place_and_stays_charged() {
    let provider = Scripted::new("p", vec![Step::Hang]);
    let tables = vec![LimitConfig { concurrency: Some(1), ..budget("key", 1000) }];
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(tables));
    let asking = tokio::time::timeout(Duration::from_secs(1), bench.ask("")).await;
    assert!(asking.is_err(), "nobody answers");
    assert_eq!(left(&bench, "key", Resource::Concurrency), [1]);
    assert_eq!(left(&bench, "key", Resource::Money), [1000 - SENT - 100]);
}

#[tokio::test(start_paused = true)]
async fn what_was_reserved_is_replaced_by_what_was_used() {
    let provider =
        Scripted::new("p", vec![used(2, 3), said(1, Some(Usage { input: 4, output: 1, ..Usage::default() }))]);
    let tables = vec![tokens("key", 1000), budget("provider", 1000)];
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(tables));
    bench.ask("").await.unwrap();
    assert_eq!(
        (left(&bench, "key", Resource::Tokens), left(&bench, "provider", Resource::Money)),
        (vec![995], vec![995])
    );
    frames(stream(&bench).await.unwrap()).await;
    assert_eq!(
        (left(&bench, "key", Resource::Tokens), left(&bench, "provider", Resource::Money)),
        (vec![990], vec![990])
    );
}

#[tokio::test(start_paused = true)]
async fn usage_that_nobody_told_leaves_the_reservation_spent() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let tables = vec![tokens("key", 1000), budget("provider", 1000)];
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(tables));
    bench.ask("").await.unwrap();
    assert_eq!(left(&bench, "key", Resource::Tokens), [1000 - ESTIMATE]);
    assert_eq!(left(&bench, "provider", Resource::Money), [1000 - SENT - 100]);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_refuses_charges_nothing() {
    let provider = Scripted::new("p", vec![Step::Fail(broken(500))]);
    let tables = vec![budget("key", 1000), budget("provider", 1000)];
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(tables));
    bench.ask("").await.unwrap_err();
    assert_eq!(
        (left(&bench, "key", Resource::Money), left(&bench, "provider", Resource::Money)),
        (vec![1000], vec![1000])
    );
}

/// Each attempt that may have been charged keeps its reservation, and the next one needs another.
#[tokio::test(start_paused = true)]
async fn attempts_that_may_have_been_charged_add_up() {
    let silent = Error::new(ErrorKind::Timeout, "too slow");
    let provider = Scripted::new("p", vec![Step::Fail(silent)]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(vec![budget("key", 2 * (SENT + 100) + 5)]));
    assert_eq!(bench.ask("").await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!((provider.calls(), left(&bench, "key", Resource::Money)), (2, vec![5]));
    assert_eq!(bench.ask("").await.unwrap_err().code(), Some("insufficient_quota"));
}

#[tokio::test(start_paused = true)]
async fn a_hard_budget_reserves_what_the_request_cannot_exceed() {
    let provider = Scripted::new("p", vec![used(1, 1)]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(vec![budget("key", SENT + 99)]));
    let denied = bench.ask("").await.unwrap_err();
    assert_eq!((denied.code(), denied.retry_after(), provider.calls()), (Some("insufficient_quota"), None, 0));
    let CallBody::Wire(envelope) = body("fast", "", false) else { panic!("a body") };
    let bounded = |max_output, choices| {
        CallBody::from(llm_core::Envelope { max_output, choices, ..llm_core::Envelope::clone(&envelope) })
    };
    bench.path.handle(bench.request("a", bounded(Some(10), 1))).await.unwrap();
    assert!(bench.path.handle(bench.request("a", bounded(Some(10), 10))).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_has_no_bound_is_refused_with_that_reason() {
    let provider = Scripted::new("p", vec![used(1, 1)]);
    let ask = async |model: &'static str, text: &'static str, soft: bool| {
        let tables = vec![LimitConfig { soft, ..budget("key", 100_000) }];
        let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(tables));
        bench.path.handle(bench.request("a", body(model, text, false))).await.map(drop)
    };
    for (model, text, reason) in [
        ("p/other", "", "no price"),
        ("fast", r#"","type":"image_url"#, "images"),
        ("fast", r#"","type":"\u0069mage_url"#, "images"),
    ] {
        let refused = ask(model, text, false).await.unwrap_err();
        assert_eq!((refused.kind(), refused.code()), (ErrorKind::Denied, Some("unbounded_cost")), "{text}");
        assert!(refused.message().contains(reason), "{}", refused.message());
        ask(model, text, true).await.unwrap();
    }
    ask("p/m", "", false).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_cut_where_its_tokens_end() {
    let provider = Scripted::new("p", vec![said(500, None)]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(vec![tokens("key", ESTIMATE + 128)]));
    let items = frames(stream(&bench).await.unwrap()).await;
    assert_eq!(items.len(), 129);
    let cut = items.last().unwrap().as_ref().unwrap_err();
    assert_eq!((cut.kind(), cut.code()), (ErrorKind::Denied, Some("rate_limit_exceeded")));
    assert_eq!(left(&bench, "key", Resource::Tokens), [0]);
}

/// The provider says more than it was allowed to.
#[tokio::test(start_paused = true)]
async fn a_stream_is_cut_where_its_budget_ends() {
    let provider = Scripted::new("p", vec![said(500, None)]);
    for level in ["key", "provider"] {
        let bench = Bench::new(&[&provider], Strategy::Fallback, |b| b.limits(vec![budget(level, SENT + 100 + 64)]));
        let items = frames(stream(&bench).await.unwrap()).await;
        assert_eq!(items.len(), 165);
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().code(), Some("insufficient_quota"));
        assert_eq!(left(&bench, level, Resource::Money), [0]);
    }
}

#[tokio::test(start_paused = true)]
async fn users_of_different_tenants_are_different() {
    let provider = Scripted::new("p", vec![Step::Answer("{}")]);
    let bench = Bench::new(&[&provider], Strategy::Fallback, |b| once(b).limits(vec![requests("user", 0.001, 1)]));
    let ask = async |tenant: &str, user: &str| {
        let mut request = llm_core::CompletionRequest::new("fast", vec![llm_core::Message::user("x")]);
        request.user = Some(user.to_owned());
        let answer = bench.path.handle(bench.request(tenant, CallBody::Completion(Box::new(request)))).await;
        answer.map_err(|error| error.kind()).map(drop)
    };
    for (tenant, user) in [("a", "ann"), ("b", "ann"), ("a", "bob"), ("default", "ann")] {
        ask(tenant, user).await.unwrap();
        assert_eq!(ask(tenant, user).await, Err(ErrorKind::Denied), "{tenant} {user}");
    }
    let mut names: Vec<_> = bench.path.limits().iter().map(|limit| limit.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["a/ann", "a/bob", "ann", "b/ann"]);
    ask("a", &"x".repeat(100_000)).await.unwrap();
    assert!(bench.path.limits().iter().all(|limit| limit.name.len() < 100));
}
