//! What spans say of requests, and which requests have some.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use llm_core::{
    AttemptBegun, AttemptRecord, Call, CallBody, Clock, CompletionRequest, ErrorKind, ManualClock, Message, Money,
    Operation, Piece, ProviderId, RequestId, RequestObserver, RequestRecord, ServiceTier, Sharing, StopReason,
    StreamEvent, SystemClock, Tick, Usage,
};
use llm_telemetry::{
    Arrival, ProviderFacts, RemoteContext, Sampling, Span, SpanKind, SpanSink, Telemetry, TelemetryBuilder,
    TracingContext, Value,
};
use parking_lot::Mutex;

/// Keeps what it takes.
#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Span>>);

impl SpanSink for Kept {
    fn take(&self, span: Span) {
        self.0.lock().push(span);
    }

    fn close(&self, _: Duration) {}
}

impl Kept {
    fn only(&self, kind: SpanKind) -> Vec<Span> {
        self.0.lock().iter().filter(|span| span.kind == kind).cloned().collect()
    }
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    let mut found = span.attributes.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
    let value = found.next();
    assert!(found.next().is_none(), "{name} twice");
    value
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned().into())
}

fn traced(adjust: impl FnOnce(TelemetryBuilder) -> TelemetryBuilder) -> (Telemetry, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    let builder = Telemetry::builder().sink(kept.clone()).sampling(Sampling::ALWAYS);
    (adjust(builder).try_build().expect("a sampling"), kept)
}

fn arrival<'a>(headers: &'a HeaderMap, id: &'a RequestId) -> Arrival<'a> {
    let received = SystemClock::new().now();
    Arrival {
        method: &Method::POST,
        route: "/v1/chat/completions",
        path: "/v1/chat/completions",
        headers,
        id,
        received,
    }
}

fn call() -> Call {
    let request = CompletionRequest::new("gpt-5", vec![Message::user("what nobody may see")]);
    Call::new("gpt-5".into(), CallBody::Stream(Box::new(request.with_max_tokens(9).with_temperature(0.5))))
}

const ENDED: AttemptRecord = AttemptRecord {
    operation: Operation::Chat,
    duration: Duration::from_millis(40),
    first_token: Some(Duration::from_millis(10)),
    usage: Some(Usage {
        input: 3,
        audio_input: None,
        cache_read: Some(4),
        cache_write: None,
        cache_write_long: None,
        output: 5,
        audio_output: None,
        reasoning: Some(2),
        searches: None,
        tier: ServiceTier::Standard,
    }),
    cost: Some(Money::from_units(2_000_000_000)),
    error: None,
    upstream_status: None,
};

/// An attempt from its begin to its end; the headers that its provider is sent.
fn attempt(
    follower: &Arc<dyn RequestObserver>,
    provider: &str,
    number: u32,
    at: Tick,
    ended: &AttemptRecord,
) -> HeaderMap {
    let call = call();
    let begun = AttemptBegun { provider: &provider.into(), number, call: &call, at };
    let mut attempt = follower.clone().attempt_started(&begun);
    let mut headers = HeaderMap::new();
    attempt.sends(&mut headers);
    let start = StreamEvent::Start { id: "answer-1".into(), model: "gpt-5-turbo".into(), created: None };
    let said = StreamEvent::Text { choice: 0, text: "what nobody may hear".into() };
    let stop = StreamEvent::Stop { choice: 0, reason: StopReason::Length };
    [start, said, stop].iter().for_each(|event| attempt.hears(Piece::Event(event)));
    attempt.attempt_ended(ended);
    headers
}

fn request_ended(follower: &Arc<dyn RequestObserver>, error: Option<ErrorKind>) {
    follower.request_ended(&RequestRecord {
        operation: Operation::Chat,
        model: Some(&"fast".into()),
        stream: true,
        sharing: Sharing::Miss,
        attempts: 2,
        duration: Duration::from_millis(70),
        saved: None,
        error,
    });
}

#[test]
fn a_request_is_a_span_within_the_exchange_and_each_attempt_one_within_the_request() {
    let (telemetry, kept) = traced(|builder| builder);
    let facts = ProviderFacts { system: "mistral_ai".into(), address: Some("api.example".into()), port: Some(443) };
    telemetry.describe(&ProviderId::from("good"), facts);
    let (headers, id) = (HeaderMap::new(), RequestId::from("r-1"));
    let arrival = arrival(&headers, &id);
    let mut watch = telemetry.watch(&arrival).unwrap();
    let follower = watch.follower();
    let failed = AttemptRecord {
        error: Some(ErrorKind::Overloaded),
        upstream_status: Some(503),
        first_token: None,
        usage: None,
        cost: None,
        ..ENDED
    };
    let first = attempt(&follower, "bad", 1, arrival.received, &failed);
    let later = arrival.received.after(Duration::from_millis(30));
    let second = attempt(&follower, "good", 2, later, &ENDED);
    follower.answered(&"good".into(), &id);
    request_ended(&follower, None);
    watch.answered(StatusCode::OK);
    drop(watch);

    let [server, logical] = [SpanKind::Server, SpanKind::Internal].map(|kind| kept.only(kind).pop().unwrap());
    let clients = kept.only(SpanKind::Client);
    let all: Vec<_> = clients.iter().chain([&server, &logical]).collect();
    assert!(all.iter().all(|span| span.trace_id == server.trace_id && span.start <= span.end));
    assert_eq!((server.parent, logical.parent), (None, Some(server.span_id)));
    assert!(clients.iter().all(|span| span.parent == Some(logical.span_id)));
    let names: Vec<_> = all.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["chat gpt-5", "chat gpt-5", "POST /v1/chat/completions", "chat fast"]);
    assert_eq!(all.iter().map(|span| span.failed).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(clients[1].start - clients[0].start, Duration::from_millis(30));
    assert_eq!(clients[1].end - clients[1].start, ENDED.duration);
    for (sent, span) in [&first, &second].into_iter().zip(&clients) {
        let sent = RemoteContext::of(sent).unwrap();
        assert_eq!((sent.trace_id, sent.span_id, sent.sampled), (span.trace_id, span.span_id, true));
    }

    let expected = [
        ("gen_ai.operation.name", text("chat")),
        ("gen_ai.provider.name", text("mistral_ai")),
        ("gen_ai.request.model", text("gpt-5")),
        ("gen_ai.request.stream", Value::Bool(true)),
        ("gen_ai.request.max_tokens", Value::Int(9)),
        ("gen_ai.request.temperature", Value::Float(0.5)),
        ("gen_ai.response.id", text("answer-1")),
        ("gen_ai.response.model", text("gpt-5-turbo")),
        ("gen_ai.response.finish_reasons", Value::Texts(vec!["length".into()])),
        ("gen_ai.response.time_to_first_chunk", Value::Float(0.01)),
        ("gen_ai.usage.input_tokens", Value::Int(7)),
        ("gen_ai.usage.output_tokens", Value::Int(7)),
        ("gen_ai.usage.cache_read.input_tokens", Value::Int(4)),
        ("gen_ai.usage.reasoning.output_tokens", Value::Int(2)),
        ("server.address", text("api.example")),
        ("server.port", Value::Int(443)),
        ("llmkit.provider", text("good")),
        ("llmkit.attempt", Value::Int(2)),
        ("llmkit.cost_usd", Value::Float(0.002)),
    ];
    for (name, value) in expected {
        assert_eq!(attribute(&clients[1], name), Some(&value), "{name}");
    }
    for (name, value) in [
        ("gen_ai.provider.name", text("bad")),
        ("error.type", text("overloaded")),
        ("http.response.status_code", Value::Int(503)),
    ] {
        assert_eq!(attribute(&clients[0], name), Some(&value), "{name}");
    }
    for (span, name, value) in [
        (&logical, "gen_ai.request.model", text("fast")),
        (&logical, "llmkit.attempts", Value::Int(2)),
        (&logical, "llmkit.sharing", text("miss")),
        (&logical, "llmkit.request_id", text("r-1")),
        (&server, "http.request.method", text("POST")),
        (&server, "http.route", text("/v1/chat/completions")),
        (&server, "http.response.status_code", Value::Int(200)),
    ] {
        assert_eq!(attribute(span, name), Some(&value), "{name}");
    }
    assert!(!format!("{all:?}").contains("nobody"), "content in a span");
}

#[test]
fn a_callers_decision_is_kept() {
    let (telemetry, kept) = traced(|builder| builder.sampling(Sampling::NEVER));
    let id = RequestId::from("r");
    let parent = |flags: &str| {
        let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_str(&parent).unwrap());
        headers.insert("tracestate", HeaderValue::from_static("vendor=1"));
        headers
    };
    assert!(telemetry.watch(&arrival(&HeaderMap::new(), &id)).is_none());
    let sampled = parent("01");
    let watch = telemetry.watch(&arrival(&sampled, &id)).unwrap();
    let sent = attempt(&watch.follower(), "p", 1, Tick::ZERO, &ENDED);
    assert_eq!(sent["tracestate"], "vendor=1");
    assert_ne!(sent["traceparent"], sampled["traceparent"]);
    drop(watch);
    let server = kept.only(SpanKind::Server).pop().unwrap();
    assert_eq!(server.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(server.parent.map(|id| id.to_string()).as_deref(), Some("00f067aa0ba902b7"));
    assert!(server.parent_is_remote && server.state.is_some());

    // What is not recorded is passed on as it came, and leaves no span.
    let before = kept.0.lock().len();
    let not_sampled = parent("00");
    let watch = telemetry.watch(&arrival(&not_sampled, &id)).unwrap();
    assert_eq!(attempt(&watch.follower(), "p", 1, Tick::ZERO, &ENDED), not_sampled);
    request_ended(&watch.follower(), None);
    drop(watch);
    assert_eq!(kept.0.lock().len(), before);
}

#[test]
fn providers_are_told_nothing_where_that_is_not_wanted() {
    let (telemetry, kept) = traced(|builder| builder.propagates(false));
    let (headers, id) = (HeaderMap::new(), RequestId::from("r"));
    let watch = telemetry.watch(&arrival(&headers, &id)).unwrap();
    assert!(attempt(&watch.follower(), "p", 1, Tick::ZERO, &ENDED).is_empty());
    assert_eq!(kept.only(SpanKind::Client).len(), 1);
}

#[test]
fn without_traces_and_lines_nobody_is_followed() {
    let telemetry = Telemetry::new();
    let (mut headers, id) = (HeaderMap::new(), RequestId::from("r"));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", HeaderValue::from_static(parent));
    assert!(telemetry.watch(&arrival(&headers, &id)).is_none());
    let context = TracingContext::new();
    assert!(telemetry.follow(Some(&context), "client.complete", &id, Tick::ZERO).is_none());
}

#[test]
fn a_caller_that_leaves_ends_its_spans_as_cancelled() {
    let (telemetry, kept) = traced(|builder| builder);
    let (headers, id) = (HeaderMap::new(), RequestId::from("r"));
    let watch = telemetry.watch(&arrival(&headers, &id)).unwrap();
    request_ended(&watch.follower(), Some(ErrorKind::Cancelled));
    drop(watch);
    for kind in [SpanKind::Server, SpanKind::Internal] {
        let span = kept.only(kind).pop().unwrap();
        assert_eq!(attribute(&span, "error.type"), Some(&text("cancelled")));
        assert!(span.failed);
    }
}

#[test]
fn a_context_of_the_library_names_the_trace_and_is_traced_whatever_the_sampling() {
    let (telemetry, kept) = traced(|builder| builder.sampling(Sampling::NEVER));
    let (id, now) = (RequestId::from("r"), ManualClock::new().now());
    assert!(telemetry.follow(None, "client.complete", &id, now).is_none());
    let context = TracingContext::new()
        .with_trace_id("request-123")
        .with_span_id("span-456")
        .with_attribute("customer.tier", "gold");
    for _ in 0..2 {
        let follower = telemetry.follow(Some(&context), "client.complete", &id, now).unwrap();
        attempt(&follower, "p", 1, now, &ENDED);
        request_ended(&follower, None);
    }
    let spans = kept.0.lock().clone();
    assert!(spans.iter().all(|span| span.trace_id == context.trace_id()));
    let logical = kept.only(SpanKind::Internal);
    assert_eq!((spans.len(), logical.len(), &*logical[0].name), (4, 2, "client.complete"));
    for (name, value) in [
        ("llmkit.correlation_id", "request-123"),
        ("llmkit.correlation_span_id", "span-456"),
        ("customer.tier", "gold"),
    ] {
        assert_eq!(attribute(&logical[0], name), Some(&text(value)), "{name}");
    }
    assert_eq!(logical[0].parent, None);
}

#[test]
fn a_context_with_valid_ids_is_gone_on_with() {
    let (telemetry, kept) = traced(|builder| builder);
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let context = TracingContext::new().with_trace_id(trace).with_span_id(span);
    let follower = telemetry.follow(Some(&context), "client.embed", &RequestId::from("r"), Tick::ZERO).unwrap();
    request_ended(&follower, None);
    let logical = kept.only(SpanKind::Internal).pop().unwrap();
    assert_eq!(logical.trace_id.to_string(), trace);
    assert_eq!(logical.parent.map(|id| id.to_string()).as_deref(), Some(span));
    assert!(logical.parent_is_remote);
}

#[test]
fn long_texts_of_callers_are_clipped() {
    let (telemetry, kept) = traced(|builder| builder);
    let context = TracingContext::new().with_attribute("note", "é".repeat(10_000));
    let follower = telemetry.follow(Some(&context), "client.complete", &RequestId::from("r"), Tick::ZERO).unwrap();
    request_ended(&follower, None);
    let Some(Value::Text(note)) = attribute(&kept.only(SpanKind::Internal)[0], "note").cloned() else { panic!() };
    assert_eq!(note.len(), 1024);
}
