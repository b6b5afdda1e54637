//! Who listens to a session hears the text of its answers.

use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{Connection, get, post};

const PATH: &str = "/v1/stream/sse";
const STREAM: &str = ",\"stream\":true";
const KEYS: &str = "[server]\napi_keys = [\"one\", \"two\", { key = \"ops\", scopes = [\"admin\"] }]\n";

/// A listener whose answer's head has come: from here on it hears everything.
fn listen(gateway: &Gateway, key: &str, session: &str) -> Connection {
    let mut connection = Connection::open(gateway.addr());
    connection.request("GET", PATH, &[("x-api-key", key), ("x-session-id", session)], b"");
    let head = connection.head().expect("an answer");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
    connection
}

/// The text that a listener hears, and its last event.
fn heard(connection: &mut Connection) -> (String, String) {
    let said = connection.chunks_left();
    let events: Vec<_> = said.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    let text = events.iter().filter_map(|event| serde_json::from_str::<serde_json::Value>(event).ok());
    let text = text.filter_map(|event| event["text"].as_str().map(str::to_owned)).collect();
    (text, events.last().expect("an end").to_string())
}

fn ask(gateway: &Gateway, key: &str, session: &str, model: &str, more: &str) -> crate::wire::Answer {
    let body = chat_body(model, "x", more);
    let headers = [("x-api-key", key), ("x-session-id", session)];
    post(gateway.addr(), "/v1/chat/completions", &headers, body.as_bytes())
}

#[test]
fn who_listens_hears_streams_and_whole_answers_and_no_other_tenants() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, KEYS), &[]);
    let mut elsewhere = [listen(&gateway, "two", "s"), listen(&gateway, "one", "t")];
    for more in [STREAM, ""] {
        let mut listeners = [listen(&gateway, "one", "s"), listen(&gateway, "one", "s")];
        let answer = ask(&gateway, "one", "s", "up/sim?reply=one \\\"two\\\" three", more);
        assert_eq!((answer.status, answer.whole), (200, true));
        for listener in &mut listeners {
            assert_eq!(heard(listener), ("one \"two\" three".to_owned(), "[DONE]".to_owned()), "{more}");
        }
    }
    // Neither was told anything: what they hear is the answer to their own.
    assert_eq!(ask(&gateway, "two", "s", "up/sim?reply=theirs", STREAM).status, 200);
    assert_eq!(ask(&gateway, "one", "t", "up/sim?reply=theirs", "").status, 200);
    for listener in &mut elsewhere {
        assert_eq!(heard(listener), ("theirs".to_owned(), "[DONE]".to_owned()));
    }
}

#[test]
fn who_listens_hears_answers_of_every_format() {
    let upstream = Upstream::start();
    let model = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"sim?reply=one two\" }]\n";
    let gateway = Gateway::before(&upstream, model);
    let anthropic = r#"{"model":"fast","max_tokens":9,"messages":[{"role":"user","content":"x"}]"#;
    let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}]}"#.to_owned();
    for (path, body) in [
        ("/v1/messages", format!("{anthropic}}}")),
        ("/v1/messages", format!("{anthropic},\"stream\":true}}")),
        ("/v1beta/models/fast:generateContent", gemini.clone()),
        ("/v1beta/models/fast:streamGenerateContent?alt=sse", gemini.clone()),
        ("/v1beta/models/fast:streamGenerateContent", gemini.clone()),
    ] {
        let mut listener = listen(&gateway, "", "s");
        let answer = post(gateway.addr(), path, &[("x-session-id", "s")], body.as_bytes());
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(heard(&mut listener), ("one two".to_owned(), "[DONE]".to_owned()), "{path}");
    }
    // Vectors are no text.
    let mut listener = listen(&gateway, "", "s");
    let vectors = br#"{"model":"fast","input":"x"}"#;
    assert_eq!(post(gateway.addr(), "/v1/embeddings", &[("x-session-id", "s")], vectors).status, 200);
    assert_eq!(ask(&gateway, "", "s", "fast", "").status, 200);
    assert_eq!(heard(&mut listener).0, "one two");
}

#[test]
fn who_comes_late_hears_the_start_and_who_leaves_harms_nobody() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?tokens=40&gap=20ms", "x", STREAM);
    let mut asker = Connection::open(gateway.addr());
    let leaves = listen(&gateway, "", "s");
    asker.request("POST", "/v1/chat/completions", &[("x-session-id", "s")], body.as_bytes());
    let head = asker.head().unwrap();
    assert!(asker.chunk().is_some());
    let mut late = listen(&gateway, "", "s");
    leaves.shutdown();
    // Another answer meanwhile is not heard, nor does it end the first.
    assert_eq!(ask(&gateway, "", "s", "up/sim?reply=between", "").status, 200);
    let mut silent = listen(&gateway, "", "s");
    let answer = asker.rest(head);
    assert!(answer.whole);
    let (text, last) = heard(&mut late);
    assert_eq!(last, "[DONE]");
    assert!(text.split_whitespace().count() >= 39, "{text}");
    assert_eq!(heard(&mut silent), (text, last));
}

#[test]
fn an_answer_that_breaks_off_or_whose_asker_leaves_breaks_off_for_the_session() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let mut listener = listen(&gateway, "", "s");
    assert_eq!(ask(&gateway, "", "s", "up/sim?tokens=9&cut_after=3", STREAM).status, 200);
    let (text, last) = heard(&mut listener);
    assert!(!text.is_empty() && last.contains("broke off") && last.contains("\"error\""), "{text} {last}");
    let mut listener = listen(&gateway, "", "s");
    let mut asker = Connection::open(gateway.addr());
    let body = chat_body("up/sim?stall_after=2", "x", STREAM);
    asker.request("POST", "/v1/chat/completions", &[("x-session-id", "s")], body.as_bytes());
    asker.head().unwrap();
    assert!(asker.chunk().is_some());
    asker.shutdown();
    assert!(heard(&mut listener).1.contains("broke off"));
}

#[test]
fn a_session_needs_a_name_and_a_key_for_inference() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, KEYS), &[]);
    for headers in [&[("x-api-key", "one")][..], &[("x-api-key", "one"), ("x-session-id", "with space")]] {
        let refused = get(gateway.addr(), PATH, headers);
        assert_eq!((refused.status, refused.error()["param"].as_str()), (400, Some("x-session-id")));
    }
    assert_eq!(get(gateway.addr(), PATH, &[("x-session-id", "s")]).status, 401);
    assert_eq!(get(gateway.addr(), PATH, &[("x-api-key", "ops"), ("x-session-id", "s")]).status, 403);
    assert_eq!(post(gateway.addr(), PATH, &[("x-api-key", "one"), ("x-session-id", "s")], b"").status, 405);
}

#[test]
fn a_shutdown_waits_for_nobody_who_waits_for_nothing() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let mut listener = listen(&gateway, "", "s");
    gateway.process.signal("TERM");
    assert!(heard(&mut listener).1.contains("shutting down"));
    assert!(gateway.process.wait().0.success());
}
