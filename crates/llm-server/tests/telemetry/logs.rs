//! The lines of the log: what they say, and what neither they nor spans ever say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use crate::collector::Collector;
use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{Connection, post};

/// Waits for the process to end, and gives what it logged.
fn ended(gateway: Gateway) -> Vec<String> {
    gateway.process.signal("TERM");
    gateway.process.wait().1
}

fn lines(log: &[String]) -> Vec<serde_json::Value> {
    let lines = log.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    lines.filter(|line: &serde_json::Value| line["target"] == "llmkit::request").collect()
}

#[test]
fn each_request_leaves_a_line_where_that_is_switched_on() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let more = format!(
        "[server]\napi_keys = [{{ key = \"key\", tenant = \"ann\" }}]\n\
         [observability]\nlog_format = \"json\"\nlog_requests = true\ntracing_endpoint = \"{}\"\n\
         [[models]]\nname = \"fast\"\ntargets = [{{ provider = \"up\", model = \"sim?tokens=5\" }}]\n\
         [resilience]\nretry_attempts = 0\n",
        collector.endpoint()
    );
    let gateway = Gateway::start(&config(upstream.0.addr, &more), &[]);
    let key = ("authorization", "Bearer key");
    let stream = chat_body("fast", "x", ",\"stream\":true");
    let named = [key, ("x-request-id", "mine-1")];
    assert!(post(gateway.addr(), "/v1/chat/completions", &named, stream.as_bytes()).whole);
    assert_eq!(gateway.chat_with("up/sim?status=500", "x", &[key]).status, 502);
    assert_eq!(gateway.chat("fast", "x").status, 401);
    assert_eq!(gateway.chat_with("unknown", "x", &[key]).status, 404);
    let log = lines(&ended(gateway));
    let [streamed, failed, refused, unknown] = log.as_slice() else { panic!("{log:#?}") };
    for (member, value) in [
        ("request_id", "mine-1".into()),
        ("method", "POST".into()),
        ("route", "/v1/chat/completions".into()),
        ("status", 200.into()),
        ("tenant", "ann".into()),
        ("operation", "chat".into()),
        ("model", "fast".into()),
        ("provider", "up".into()),
        ("sharing", "miss".into()),
        ("attempts", 1.into()),
        ("stream", true.into()),
        ("outcome", "ok".into()),
        ("output_tokens", 5.into()),
        ("level", "INFO".into()),
    ] as [(&str, serde_json::Value); 14]
    {
        assert_eq!(streamed[member], value, "{member} in {streamed}");
    }
    let number = |member: &str| streamed[member].as_f64().unwrap_or_else(|| panic!("{member} in {streamed}"));
    assert!(number("duration_ms") >= number("first_token_ms") && number("first_token_ms") > 0.0);
    // The lines of a request and its spans find each other.
    let trace_id = streamed["trace_id"].as_str().unwrap();
    let spans = collector.wait("spans", |taken| taken.spans.len() >= 3).spans;
    assert!(spans.iter().any(|span| crate::collector::hex(&span.trace_id) == trace_id));
    assert_eq!((&failed["status"], &failed["outcome"]), (&502.into(), &"server_error".into()));
    assert_eq!((&refused["status"], &refused["outcome"]), (&401.into(), &"refused".into()));
    assert_eq!((&unknown["outcome"], unknown.get("model")), (&"not_found".into(), None));
}

#[test]
fn without_the_switch_no_request_leaves_a_line() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    for number in 0..5 {
        assert_eq!(gateway.chat("up/sim", &number.to_string()).status, 200);
    }
    let log = ended(gateway);
    assert!(log.iter().all(|line| line.contains("draining")), "{log:#?}");
}

#[test]
fn a_stream_that_breaks_off_is_logged_with_its_request() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[observability]\nlog_format = \"json\"\n");
    let stream = chat_body("up/sim?cut_after=2", "x", ",\"stream\":true");
    post(gateway.addr(), "/v1/chat/completions", &[("x-request-id", "mine-2")], stream.as_bytes());
    let line: serde_json::Value = serde_json::from_str(&gateway.process.wait_for_line("broke off")).unwrap();
    assert_eq!((&line["request_id"], &line["kind"]), (&"mine-2".into(), &"StreamInterrupted".into()));
}

const PROMPT: &str = "secretprompt";
const ANSWER: &str = "secretanswer";
const KEY: &str = "secretkey";

/// Asks in every way that could give something away, with everything on that could tell it: all spans, a line a request,
/// and the log as talkative as it gets.
fn gives_nothing_away(upstream: SocketAddr, what: &str) {
    let collector = Collector::start();
    let more = format!(
        "[server]\napi_keys = [\"{KEY}\"]\n[observability]\nlog_format = \"json\"\nlog_requests = true\n\
         trace_ratio = 1\ntracing_endpoint = \"{}\"\n[resilience]\nretry_base_ms = 1\n",
        collector.endpoint()
    );
    let gateway = Gateway::start(&config(upstream, &more), &[("RUST_LOG", "trace")]);
    let bearer = format!("Bearer {KEY}");
    // A body that is not JSON, and one with its content where none belongs, are refused with words about them.
    let bodies = [
        chat_body("up/sim", PROMPT, ""),
        chat_body("up/sim", PROMPT, ",\"stream\":true"),
        format!("{{\"model\":\"up/sim\",\"{PROMPT}\""),
        format!("{{\"model\":\"up/sim\",\"messages\":\"{PROMPT}\"}}"),
    ];
    for body in bodies {
        let mut connection = Connection::open(gateway.addr());
        connection.request("POST", "/v1/chat/completions", &[("authorization", &bearer)], body.as_bytes());
        connection.answer().expect("an answer");
    }
    gateway.chat_with("up/sim", PROMPT, &[("authorization", &format!("Bearer wrong-{KEY}"))]);
    let log = ended(gateway).join("\n");
    assert!(log.contains("llmkit::request"), "{log}");
    let spans = collector.wait("spans", |taken| taken.spans.len() >= 6).bytes;
    let spans = String::from_utf8_lossy(&spans);
    for secret in [PROMPT, ANSWER, KEY, "provider-secret"] {
        for (place, text) in [("the log", &*log), ("a span", &*spans)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} in {place}: {what}");
        }
    }
}

#[test]
fn no_prompt_no_answer_and_no_key_is_in_any_line_or_span() {
    for script in [
        format!("reply={ANSWER}"),
        format!("reply={ANSWER},cut_after=1"),
        format!("reply={ANSWER},error_event=1"),
        format!("status=400,code={ANSWER}"),
        format!("status=500,code={ANSWER}"),
        "html".to_owned(),
    ] {
        let upstream = Upstream::scripted(&script);
        gives_nothing_away(upstream.0.addr, &script);
    }
}

/// Providers repeat what they were asked in the messages of their errors.
#[test]
fn what_a_providers_error_repeats_is_in_no_line_and_no_span() {
    for status in ["400 Bad Request", "500 Internal Server Error", "200 OK"] {
        gives_nothing_away(parrot(status), status);
    }
}

/// A provider whose answers are errors that repeat what it was asked; a stream begins well.
fn parrot(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut asked = Vec::new();
            let mut piece = [0; 4096];
            while !asked.ends_with(b"}") {
                match stream.read(&mut piece) {
                    Ok(read @ 1..) => asked.extend_from_slice(&piece[..read]),
                    _ => break,
                }
            }
            let asked = String::from_utf8_lossy(&asked).into_owned();
            let error = format!("{{\"error\":{{\"message\":\"{ANSWER} to {PROMPT}\",\"type\":\"{ANSWER}\"}}}}");
            let (kind, body) = if status.starts_with("200") && asked.contains("\"stream\":true") {
                let chunk = format!("{{\"id\":\"a\",\"choices\":[{{\"delta\":{{\"content\":\"{ANSWER}\"}}}}]}}");
                ("text/event-stream", format!("data: {chunk}\n\ndata: {error}\n\n"))
            } else {
                ("application/json", error)
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close\r\n");
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    addr
}
