//! The hot paths, each a number of times with nothing left to chance, for `cargo xtask bench check` to count instructions.
//!
//! Callgrind counts while it is in [`repeated`] alone, and writes a profile each time that it leaves: the n-th profile
//! is the n-th line's. Time is a clock set by hand.

mod routed;

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_breaker::{CircuitBreaker, Outcome, Timing};
use llm_core::{
    Answer, AttemptRecord, BoxFuture, Call, CallBody, Clock, Dialect, Error, Histogram, ManualClock, Money, Observer,
    Operation, Provider, ProviderId, RequestId, RequestRecord, Sharing, TenantId, Tick, Usage, WireAnswer, WireBody,
};
use llm_dedup::{CacheConfig, Claim, Flights, Keep, RequestKey, ResponseCache};
use llm_pipeline::{CacheUse, Caller, DefaultRoute, Pipeline, ProviderConfig, Request};
use llm_providers::wire::openai::{ChatStream, read_chat};
use llm_providers::wire::sse::DEFAULT_LIMIT;
use llm_ratelimit::{Cost, Hierarchy, LimitConfig, MeterConfig};
use llm_router::Strategy;
use llm_telemetry::Telemetry;

use routed::Ours;

/// Each time comes so much later than the one before.
const STEP: Duration = Duration::from_micros(1100);

/// What is counted. Its name is the one that `cargo xtask bench check` gives to callgrind.
#[inline(never)]
fn repeated(times: u64, work: &mut dyn FnMut()) {
    for _ in 0..times {
        work();
    }
}

/// Counts `what`, when it has been done often enough to be in its stride.
fn row(what: &str, times: u64, mut work: impl FnMut()) {
    for _ in 0..times {
        work();
    }
    repeated(times, &mut work);
    println!("{times}\t{what}");
}

fn main() {
    admission();
    circuit();
    sharing();
    routing();
    wire();
    telemetry();
    path();
}

fn admission() {
    const NEVER: u32 = 1_000_000_000;
    let rate = MeterConfig::Rate { rate: f64::from(NEVER), per: Duration::from_secs(1), burst: Some(NEVER) };
    let table = |level: &str| LimitConfig {
        level: level.into(),
        name: "*".into(),
        requests: Some(rate),
        tokens: Some(rate),
        ..LimitConfig::default()
    };
    let levels = Hierarchy::try_new(["user", "key", "org"].map(table).into()).expect("three tables");
    let names = [("user", "user-4711"), ("key", "key-0815abcd"), ("org", "acme-incorporated")];
    let (clock, cost) = (ManualClock::new(), Cost::exact(100, 0));
    let scope = levels.scope(&names, clock.now());
    row("admission: three levels of requests and tokens, by key", 4000, || {
        clock.advance(STEP);
        assert!(levels.check(black_box(&names), cost, clock.now()).is_ok());
    });
    row("admission: the same where the levels are known", 4000, || {
        clock.advance(STEP);
        assert!(scope.check(black_box(cost), clock.now()).is_ok());
    });
}

fn circuit() {
    let (clock, breaker) = (ManualClock::new(), CircuitBreaker::builder().build());
    row("breaker: admit and record", 4000, || {
        clock.advance(STEP);
        let permit = breaker.admit(clock.now()).expect("it is closed");
        permit.record_timed(Outcome::Success, black_box(Timing::from(Duration::from_millis(250))), clock.now());
    });
}

fn sharing() {
    let body = |text: &str| Bytes::from(format!("{text:1024}"));
    let (tenant, clock) = (TenantId::from("tenant"), ManualClock::new());
    let key = |body: &Bytes| RequestKey::new(tenant.clone(), Bytes::from_static(b"chat\nopenai"), body.clone());
    let cache = ResponseCache::builder(CacheConfig::default()).build_for(|_: &u64| 8);
    let flights = Flights::<u64>::builder(10_000).answers(cache.clone(), |answer| Some(*answer)).build();
    let cx = &mut Context::from_waker(Waker::noop());

    let (alone, asked, kept) = (body("alone"), body("asked"), body("kept"));
    row("sharing: lead a flight of 1 KB and end it", 2000, || {
        match flights.claim(&key(black_box(&alone)), None, || Box::pin(async { 7 })) {
            Claim::Lead(lead) => assert!(pin!(lead).poll(cx).is_ready()),
            other => panic!("nobody else is there: {other:?}"),
        }
    });
    let Claim::Lead(mut lead) = flights.claim(&key(&asked), None, || Box::pin(std::future::pending())) else {
        panic!("nobody else is there");
    };
    assert!(pin!(&mut lead).poll(cx).is_pending());
    row("sharing: follow it and leave", 2000, || {
        match flights.claim(&key(black_box(&asked)), None, || unreachable!("the leader is there")) {
            Claim::Follow(follower) => drop(black_box(follower)),
            other => panic!("the leader is there: {other:?}"),
        }
    });
    let ttl = Duration::from_secs(3600);
    assert!(cache.put(&key(&kept), 7, ttl, clock.now()));
    row("sharing: a finished answer", 2000, || {
        let keep = Some(Keep { ttl, now: clock.now() });
        let claim = flights.claim(&key(black_box(&kept)), keep, || unreachable!("it is kept"));
        assert!(matches!(claim, Claim::Hit(7)));
    });
}

fn routing() {
    let begin = ManualClock::new().now();
    for (name, strategy) in
        [("peak_ewma", Strategy::PeakEwma), ("latency", Strategy::Latency), ("cost", Strategy::Cost)]
    {
        let (ours, mut at) = (Ours::new(strategy, 16, begin), begin.as_nanos());
        row(&format!("routing: one of 16 by {name}, the call and its outcome"), 2000, || ours.calls(1, &mut at));
    }
}

fn request(number: u64, text: usize) -> Bytes {
    asking(number, &"every word of a prompt ".repeat(text.div_ceil(23)))
}

fn asking(number: u64, text: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"model":"fast","temperature":0.7,"messages":[{{"role":"user","content":"{number:08} {text}"}}]}}"#
    ))
}

fn wire() {
    let escaped = asking(0, &r#"a \"word\" of a prompt with escapes in it,\n"#.repeat((32 << 10) / 43));
    let bodies = [
        ("1 KB", 1000, request(0, 1 << 10)),
        ("32 KB", 200, request(0, 32 << 10)),
        ("32 KB with escapes", 200, escaped),
    ];
    for (name, times, body) in bodies {
        row(&format!("wire: what is needed of a request of {name}"), times, || {
            black_box(read_chat(black_box(&body).clone()).expect("a request"));
        });
    }
    let event = Bytes::from_static(
        b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\
          \"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
    );
    let mut stream = ChatStream::new(true, DEFAULT_LIMIT);
    row("wire: a stream's event, passed through", 2000, || {
        stream.push(black_box(&event).clone());
        black_box(stream.next_frame().expect("a frame").expect("no error"));
    });
}

fn telemetry() {
    let (histogram, mut nanos) = (Histogram::new(), 1 << 14);
    row("telemetry: a time in a histogram", 4000, || {
        nanos = (nanos * 3 + 7) % (1 << 33);
        histogram.record(black_box(Duration::from_nanos(nanos)));
    });
    let telemetry = Telemetry::new();
    let (target, model) = (telemetry.target(&"openai".into(), &"fast".into()), "fast".into());
    let attempt = AttemptRecord {
        operation: Operation::Chat,
        duration: Duration::from_millis(250),
        first_token: Some(Duration::from_millis(80)),
        usage: Some(Usage { input: 1000, output: 120, ..Usage::default() }),
        cost: Some(Money::from_units(180_000_000)),
        error: None,
        upstream_status: None,
    };
    let ended = RequestRecord {
        operation: Operation::Chat,
        model: Some(&model),
        stream: true,
        sharing: Sharing::Miss,
        attempts: 1,
        saved: None,
        duration: Duration::from_millis(251),
        error: None,
    };
    row("telemetry: a request of one attempt", 2000, || {
        target.attempt_started();
        target.attempt_ended(black_box(&attempt));
        telemetry.request_ended(black_box(&ended));
    });
}

/// Has its answer ready.
struct Ready(ProviderId);

impl Provider for Ready {
    fn id(&self) -> &ProviderId {
        &self.0
    }

    fn speaks(&self, _: Dialect) -> bool {
        true
    }

    fn send(&self, _: Call) -> BoxFuture<'_, Result<Answer, Error>> {
        let usage = Some(Usage { input: 300, output: 1, ..Usage::default() });
        let body = WireBody::Whole { bytes: Bytes::from_static(b"{}"), usage };
        Box::pin(async { Ok(Answer::from(WireAnswer { headers: HeaderMap::new(), body })) })
    }
}

/// A whole request on the path, from its bytes to its answer's: sharing, routing, circuit, telemetry; no HTTP.
fn path() {
    let clock = ManualClock::new();
    let path = Pipeline::builder()
        .clock(Arc::new(clock.clone()))
        .observer(Arc::new(Telemetry::new()))
        .provider(ProviderConfig::new(Arc::new(Ready("ready".into())), Default::default()))
        .default_route(DefaultRoute::Provider("ready".into()))
        .build(None)
        .expect("one provider");
    let caller = Arc::new(Caller::new("tenant"));
    let ask = |body: Bytes, received: Tick| Request {
        caller: caller.clone(),
        id: RequestId::from_random(4711),
        body: CallBody::from(read_chat(body).expect("a request")),
        headers: HeaderMap::new(),
        cache: CacheUse::default(),
        idempotency_key: None,
        last_frame: None,
        received,
        deadline: None,
        follower: None,
    };
    // What deadlines there are want a runtime's clock; nothing waits for it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let mut number = 0;
    row("path: a request of 1 KB that nobody shares, the answer ready", 1000, || {
        clock.advance(STEP);
        number += 1;
        let request = ask(request(number, 1 << 10), clock.now());
        let handled = pin!(path.handle(request)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(black_box(handled), Poll::Ready(Ok(_))), "the answer is ready");
    });
}
