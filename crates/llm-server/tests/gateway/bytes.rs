//! Bytes are left alone: what goes up, what comes down, and what is refused before it goes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::process::{Gateway, Upstream, chat_body};
use crate::wire::{Connection, get, post};

const ODD: &str = "{ \"zzz\" : 1.0,\t\"model\":\"fast\",\"big\":9007199254740993, \"e\":1E+2 ,\n\"messages\":[ {\"content\":\"\\u00e9\\ud83d\\ude00\",\"role\":\"user\", \"x\":{}} ],\"zzz2\":[1.10,-0, {\"a\" :null}]  }";

const MODELS: &str = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"sim?tokens=2\" }]";

#[test]
fn a_body_reaches_the_upstream_byte_for_byte_but_for_the_models_name() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, MODELS);
    let answer = post(gateway.addr(), "/v1/chat/completions", &[("content-type", "application/json")], ODD.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = STANDARD.decode(upstream.last()["body_base64"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(sent).unwrap(), ODD.replace("\"fast\"", "\"sim?tokens=2\""));
}

#[test]
fn a_stream_gains_only_the_question_for_its_usage() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, MODELS);
    let body = ODD.replace("{ \"zzz\"", "{ \"stream\": true, \"zzz\"");
    let answer = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.text().contains("\"usage\":{"), "{}", answer.text());
    let sent = STANDARD.decode(upstream.last()["body_base64"].as_str().unwrap()).unwrap();
    let sent = String::from_utf8(sent).unwrap();
    let asked = "\"stream_options\":{\"include_usage\":true}";
    assert!(sent.contains(asked), "{sent}");
    let without = sent.replace(&format!("{asked},"), "").replace(asked, "");
    assert_eq!(without, body.replace("\"fast\"", "\"sim?tokens=2\""));
}

#[test]
fn a_long_body_and_a_chunked_one_arrive_whole() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, MODELS);
    let body = chat_body("up/sim", &"x".repeat(5 << 20), "");
    assert_eq!(post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes()).status, 200);
    let sent = STANDARD.decode(upstream.last()["body_base64"].as_str().unwrap()).unwrap();
    assert!(sent == body.replace("up/sim", "sim").as_bytes());

    let body = chat_body("up/sim", "hello", "");
    let mut connection = Connection::open(gateway.addr());
    connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    for byte in body.as_bytes() {
        connection.send(format!("1\r\n{}\r\n", char::from(*byte)).as_bytes());
    }
    connection.send(b"0\r\n\r\n");
    assert_eq!(connection.answer().unwrap().status, 200);
    let sent = STANDARD.decode(upstream.last()["body_base64"].as_str().unwrap()).unwrap();
    assert_eq!(sent, body.replace("up/sim", "sim").as_bytes());
}

#[test]
fn malformed_bodies_are_refused_in_the_callers_shape_and_never_sent_on() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, MODELS);
    let cases = include_str!("../../../llm-providers/tests/data/malformed_chat.jsonl");
    let mut count = 0;
    let mut connection = Connection::open(gateway.addr());
    for case in cases.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let body = STANDARD.decode(case["body"].as_str().unwrap()).unwrap();
        connection.request("POST", "/v1/chat/completions", &[], &body);
        let answer = connection.answer().unwrap_or_else(|| panic!("no answer to {}", case["name"]));
        assert_eq!(answer.status, 400, "{}: {}", case["name"], answer.text());
        let error = answer.error();
        assert_eq!(error["type"], "invalid_request_error", "{}", case["name"]);
        assert_eq!(error["param"], case["param"], "{}: {}", case["name"], answer.text());
        count += 1;
    }
    assert!(count >= 200, "{count}");
    assert_eq!(upstream.count("requests"), 0);
    assert_eq!(get(gateway.addr(), "/readyz", &[]).status, 200);
}

#[test]
fn keys_go_neither_up_nor_down() {
    let upstream = Upstream::start();
    let config = crate::process::config(upstream.0.addr, "[server]\napi_keys = [\"client-secret\"]\n");
    let gateway = Gateway::start(&config, &[("RUST_LOG", "trace")]);
    let body = chat_body("up/sim", "hello", "");
    for header in [("authorization", "Bearer client-secret"), ("x-api-key", "client-secret")] {
        let headers = [
            header,
            ("cookie", "session=client-secret"),
            ("x-llmkit-cache", "bypass"),
            ("x-goog-api-key", "client-secret"),
        ];
        let answer = post(gateway.addr(), "/v1/chat/completions", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = upstream.last().to_string();
        assert!(!seen.contains("client-secret") && !seen.contains("x-llmkit"), "{seen}");
        assert!(seen.contains("Bearer provider-secret"), "{seen}");
        assert!(!format!("{answer:?}").contains("provider-secret"));
    }
    // A refused provider key is told of, and not told.
    let answer = post(
        gateway.addr(),
        "/v1/chat/completions",
        &[("x-api-key", "client-secret")],
        chat_body("up/sim?auth=other", "x", "").as_bytes(),
    );
    assert_eq!((answer.status, answer.error()["code"].as_str()), (502, Some("upstream_auth_error")));
    assert!(!answer.text().contains("provider-secret"));
    gateway.process.signal("TERM");
    let (status, lines) = gateway.process.wait();
    assert!(status.success());
    let told = lines.iter().find(|line| line.contains("client-secret") || line.contains("provider-secret"));
    assert_eq!(told, None);
}
