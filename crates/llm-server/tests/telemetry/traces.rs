//! The spans of real requests, as a collector gets them.

use std::net::TcpListener;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::collector::{Collector, Trace, attribute, hex};
use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{Connection, get, post};

/// Batches go out soon.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");

/// A configuration that sends to `endpoint`, with further lines of `[observability]` and of other sections.
fn tracing(endpoint: &str, observability: &str, more: &str) -> String {
    format!("[observability]\ntracing_endpoint = \"{endpoint}\"\n{observability}\n{more}")
}

fn gateway(upstream: &Upstream, collector: &Collector, observability: &str, more: &str) -> Gateway {
    let tracing = tracing(&collector.endpoint(), observability, more);
    Gateway::start(&config(upstream.0.addr, &tracing), &[SOON])
}

fn took(span: &Span) -> Duration {
    Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano)
}

fn check(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(attribute(&span.attributes, name).as_deref(), Some(*value), "{name} of {span:#?}");
    }
}

/// All spans of a trace hang together: the exchange holds the request, the request its attempts, in time too.
fn hangs_together(trace: &Trace) {
    let (server, logical) = (trace.server(), trace.logical());
    assert_eq!(logical.parent_span_id, server.span_id);
    for attempt in trace.attempts() {
        assert_eq!(attempt.parent_span_id, logical.span_id);
        assert!(attempt.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(attempt.end_time_unix_nano <= logical.end_time_unix_nano, "{trace:#?}");
    }
    assert!(logical.end_time_unix_nano <= server.end_time_unix_nano, "{trace:#?}");
}

fn traceparent(upstream: &Upstream) -> Option<String> {
    header(&upstream.last(), "traceparent")
}

fn header(request: &serde_json::Value, wanted: &str) -> Option<String> {
    let headers = request["headers"].as_array().expect("headers");
    let found = headers.iter().find(|header| header[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case(wanted)));
    found.and_then(|header| header[1].as_str()).map(str::to_owned)
}

#[test]
fn a_request_with_a_retry_is_one_trace_with_a_span_for_each_attempt() {
    let (bad, good) = (Upstream::scripted("status=503"), Upstream::start());
    let collector = Collector::start();
    let more = format!(
        "[[providers]]\nname = \"good\"\nkind = \"openai_compatible\"\nbase_url = \"http://{}/v1\"\n\
         [[models]]\nname = \"fast\"\nstrategy = \"fallback\"\ntargets = [{{ provider = \"up\", model = \"sim\" }}, \
         {{ provider = \"good\", model = \"sim?tokens=7\", price = {{ input = \"1\", output = \"2\" }} }}]\n",
        good.0.addr
    );
    let gateway = gateway(&bad, &collector, "", &more);
    let body = chat_body("fast", "x", ",\"temperature\":0.25,\"max_tokens\":99,\"n\":1");
    let headers = [("x-request-id", "mine-1")];
    let answer = post(gateway.addr(), "/v1/chat/completions", &headers, body.as_bytes());
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")));

    let trace = collector.trace();
    hangs_together(&trace);
    let names: Vec<_> = trace.0.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    check(
        trace.server(),
        &[
            ("http.request.method", "POST"),
            ("http.route", "/v1/chat/completions"),
            ("http.response.status_code", "200"),
            ("llmkit.request_id", "mine-1"),
        ],
    );
    assert_eq!((&*trace.server().name, &*trace.logical().name), ("POST /v1/chat/completions", "chat fast"));
    check(
        trace.logical(),
        &[("gen_ai.request.model", "fast"), ("gen_ai.provider.name", "good"), ("llmkit.attempts", "2")],
    );
    let attempts = trace.attempts();
    let [first, second] = attempts.as_slice() else { panic!("{attempts:#?}") };
    check(
        first,
        &[
            ("gen_ai.provider.name", "up"),
            ("llmkit.attempt", "1"),
            ("error.type", "overloaded"),
            ("http.response.status_code", "503"),
            ("server.port", &bad.0.addr.port().to_string()),
        ],
    );
    assert_eq!(first.status.as_ref().map(|status| status.code), Some(2));
    let prices: f64 = attribute(&second.attributes, "llmkit.cost_usd").unwrap().parse().unwrap();
    assert!(prices > 0.0);
    check(
        second,
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "good"),
            ("gen_ai.request.model", "sim?tokens=7"),
            ("gen_ai.request.temperature", "0.25"),
            ("gen_ai.request.max_tokens", "99"),
            ("gen_ai.response.finish_reasons", "stop"),
            ("gen_ai.usage.output_tokens", "7"),
            ("server.address", "127.0.0.1"),
            ("llmkit.attempt", "2"),
        ],
    );
    assert!(attribute(&second.attributes, "gen_ai.response.id").is_some());
    assert_eq!(attribute(&second.attributes, "error.type"), None);
    // Each provider was sent its own attempt as the parent.
    for (upstream, span) in [(&bad, first), (&good, second)] {
        let expected = format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        assert_eq!(traceparent(upstream), Some(expected));
    }
    let resource = collector.wait("spans", |taken| !taken.spans.is_empty()).resource;
    assert_eq!(attribute(&resource, "service.name").as_deref(), Some("llmkit"));
    assert!(attribute(&resource, "service.version").is_some());
}

#[test]
fn the_spans_of_a_stream_end_with_the_stream() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "", "");
    let body = chat_body("up/sim?tokens=6&gap=20ms&ttft=10ms", "x", ",\"stream\":true");
    let answer = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    assert!(answer.whole && answer.events().last().map(String::as_str) == Some("[DONE]"));
    let trace = collector.trace();
    hangs_together(&trace);
    let attempts = trace.attempts();
    let [attempt] = attempts.as_slice() else { panic!("{attempts:#?}") };
    // Five gaps lie between six tokens.
    let gaps = Duration::from_millis(100);
    assert!([trace.server(), trace.logical(), attempt].iter().all(|span| took(span) >= gaps), "{trace:#?}");
    check(
        attempt,
        &[
            ("gen_ai.request.stream", "true"),
            ("gen_ai.usage.output_tokens", "6"),
            ("gen_ai.response.finish_reasons", "stop"),
        ],
    );
    let first: f64 = attribute(&attempt.attributes, "gen_ai.response.time_to_first_chunk").unwrap().parse().unwrap();
    assert!(first >= 0.01 && first < took(attempt).as_secs_f64() - 0.09, "{first}");
}

#[test]
fn a_stream_that_breaks_off_and_a_caller_that_leaves_end_their_spans_as_failed() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "", "");
    let broken = chat_body("up/sim?cut_after=2", "x", ",\"stream\":true");
    assert_eq!(post(gateway.addr(), "/v1/chat/completions", &[], broken.as_bytes()).status, 200);
    let mut leaving = Connection::open(gateway.addr());
    let long = chat_body("up/sim?gap=50ms&tokens=1000", "x", ",\"stream\":true");
    leaving.request("POST", "/v1/chat/completions", &[], long.as_bytes());
    assert_eq!(leaving.head().map(|head| head.status), Some(200));
    leaving.chunk();
    leaving.shutdown();
    let traces = collector.traces(2);
    for (trace, error) in traces.iter().zip(["stream_interrupted", "cancelled"]) {
        hangs_together(trace);
        for span in [trace.logical(), trace.attempts()[0]] {
            check(span, &[("error.type", error)]);
            assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
        }
    }
}

#[test]
fn a_callers_context_is_gone_on_with_and_its_decision_kept() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "traces_per_second = 0", "");
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let ask = |text: &str, parent: &str| {
        let headers = [("traceparent", parent), ("tracestate", "vendor=1,other=2"), ("baggage", "user=ann")];
        assert_eq!(gateway.chat_with("up/sim", text, &headers).status, 200);
        upstream.last()
    };
    // Nobody decides for it: not traced, and nothing is sent.
    let alone = ask("a", "nonsense");
    assert_eq!((header(&alone, "traceparent"), header(&alone, "tracestate")), (None, None));
    // Decided against: passed on as it came.
    let not_sampled = format!("00-{trace}-{span}-00");
    assert_eq!(header(&ask("b", &not_sampled), "traceparent"), Some(not_sampled));
    // Decided for.
    let sent = ask("c", &format!("00-{trace}-{span}-01"));
    let traced = collector.trace();
    hangs_together(&traced);
    assert_eq!((hex(&traced.server().trace_id), hex(&traced.server().parent_span_id)), (trace.into(), span.into()));
    let expected = format!("00-{trace}-{}-01", hex(&traced.attempts()[0].span_id));
    assert_eq!(header(&sent, "traceparent"), Some(expected));
    assert_eq!(header(&sent, "tracestate").as_deref(), Some("vendor=1,other=2"));
    assert_eq!(header(&sent, "baggage"), None);
    assert!(traced.0.iter().all(|span| span.trace_state == "vendor=1,other=2"), "{traced:#?}");
}

#[test]
fn providers_are_sent_no_context_where_that_is_switched_off() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "trace_propagation = false", "");
    assert_eq!(gateway.chat("up/sim", "x").status, 200);
    assert_eq!(traceparent(&upstream), None);
    assert_eq!(collector.trace().attempts().len(), 1);
}

#[test]
fn identical_requests_are_two_traces_and_one_attempt() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "", "");
    let body = chat_body("up/sim?gap=30ms&tokens=10", "same", ",\"stream\":true");
    let mut leader = Connection::open(gateway.addr());
    leader.request("POST", "/v1/chat/completions", &[("x-request-id", "leader")], body.as_bytes());
    let head = leader.head().expect("a head");
    let follower = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    assert!(leader.rest(head).whole && follower.whole);
    assert_eq!(follower.header("x-llmkit-cache"), Some("joined"));
    let traces = collector.traces(2);
    let attempts: Vec<_> = traces.iter().map(|trace| trace.attempts().len()).collect();
    assert_eq!(attempts, [1, 0]);
    check(traces[1].logical(), &[("llmkit.sharing", "joined"), ("llmkit.leader", "leader")]);
}

#[test]
fn what_is_refused_before_the_path_has_a_span_too() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "", "[server]\napi_keys = [\"key\"]\n");
    assert_eq!(gateway.chat("up/sim", "x").status, 401);
    let trace = collector.trace();
    check(trace.server(), &[("http.response.status_code", "401")]);
    assert_eq!(trace.0.len(), 1, "{trace:#?}");
}

#[test]
fn the_configuration_names_the_collector_before_the_environment_does() {
    let upstream = Upstream::start();
    let [configured, standard, jaeger] = [(); 3].map(|()| Collector::start());
    let variables = |collectors: &[(&'static str, &Collector)]| {
        let named = collectors.iter().map(|(name, collector)| (*name, collector.endpoint()));
        named.chain([(SOON.0, SOON.1.to_owned())]).collect::<Vec<_>>()
    };
    let both = [("OTEL_EXPORTER_OTLP_ENDPOINT", &standard), ("JAEGER_ENDPOINT", &jaeger)];
    let sends_to = |more: &str, variables: &[(&'static str, String)], expected: &Collector| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let gateway = Gateway::start(&config(upstream.0.addr, more), &variables);
        assert_eq!(gateway.chat("up/sim", "x").status, 200);
        expected.trace();
    };
    sends_to(&tracing(&configured.endpoint(), "", ""), &variables(&both), &configured);
    sends_to("", &variables(&both), &standard);
    sends_to("", &variables(&both[1..]), &jaeger);
}

#[test]
fn a_collector_may_ask_for_an_encrypted_connection() {
    let (upstream, (collector, certificate)) = (Upstream::start(), Collector::encrypted());
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, certificate).unwrap();
    let tracing = tracing(&format!("https://localhost:{}", collector.addr.port()), "", "");
    let variables = [SOON, ("SSL_CERT_FILE", trusted.to_str().unwrap())];
    let gateway = Gateway::start(&config(upstream.0.addr, &tracing), &variables);
    assert_eq!(gateway.chat("up/sim", "x").status, 200);
    assert_eq!(collector.trace().0.len(), 3);
}

#[test]
fn a_collector_of_the_environment_that_is_none_keeps_nothing_from_starting() {
    let gateway = Gateway::without_file(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]);
    gateway.process.wait_for_line("OTEL_EXPORTER_OTLP_ENDPOINT");
    assert_eq!(gateway.chat("echo", "x").status, 200);
}

#[test]
fn what_is_left_of_spans_is_sent_before_the_end() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let config = config(upstream.0.addr, &tracing(&collector.endpoint(), "", ""));
    let gateway = Gateway::start(&config, &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    assert_eq!(gateway.chat("up/sim", "x").status, 200);
    gateway.process.signal("TERM");
    assert!(gateway.process.wait().0.success());
    assert_eq!(collector.trace().0.len(), 3);
}

/// What a gateway's `/metrics` says of spans, by outcome.
fn spans(gateway: &Gateway, outcome: &str) -> u64 {
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    let name = format!("llmkit_spans_total{{outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a count"))
}

#[test]
fn a_dead_or_silent_collector_slows_nobody_and_its_queue_is_bounded() {
    let upstream = Upstream::start();
    // Bound and never accepted: whoever connects waits for an answer that does not come.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for endpoint in [silent.local_addr().unwrap(), nobody] {
        let tracing = tracing(&format!("http://{endpoint}"), "trace_ratio = 1", "");
        let variables = [SOON, ("OTEL_BSP_MAX_QUEUE_SIZE", "16"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")];
        let gateway = Gateway::start(&config(upstream.0.addr, &tracing), &variables);
        let mut connection = Connection::open(gateway.addr());
        for number in 0..300 {
            let body = chat_body("up/sim?fixed", &number.to_string(), "");
            connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
            assert_eq!(connection.answer().expect("an answer").status, 200);
        }
        assert_eq!((spans(&gateway, "made"), spans(&gateway, "sent")), (900, 0));
        gateway.process.signal("TERM");
        let (status, _) = gateway.process.wait();
        assert!(status.success(), "{status}");
    }
}

#[test]
fn spans_are_counted_by_what_becomes_of_them() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "", "");
    assert_eq!(gateway.chat("up/sim", "x").status, 200);
    collector.trace();
    // The collector has them; the gateway hears so a moment later.
    assert_eq!(spans(&gateway, "made"), 3);
    assert_eq!(spans(&gateway, "failed"), 0);
}

#[test]
fn a_busy_gateway_traces_ten_requests_a_second() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let gateway = gateway(&upstream, &collector, "", "");
    let mut connection = Connection::open(gateway.addr());
    for number in 0..200 {
        let body = chat_body("up/sim?fixed", &number.to_string(), "");
        connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
        assert_eq!(connection.answer().expect("an answer").status, 200);
    }
    let traced = spans(&gateway, "made") / 3;
    // Ten at once, and one each tenth of a second: the run would have to take 10 s for more than 110.
    assert!((10..110).contains(&traced), "{traced} of 200");
    assert!(collector.traces(10).len() >= 10);
}
