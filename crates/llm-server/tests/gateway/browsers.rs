//! Browsers: which pages may call, and what their browsers are told.

use std::fs;

use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{Answer, Connection, get, post};

const PAGE: (&str, &str) = ("origin", "https://app.example.com");
const OTHER: (&str, &str) = ("origin", "https://evil.example");

fn gateway(upstream: &Upstream, origins: &str) -> Gateway {
    let server = format!("[server]\napi_keys = [\"k\"]\ncors_origins = {origins}\n");
    Gateway::start(&config(upstream.0.addr, &server), &[])
}

fn ask(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut connection = Connection::open(gateway.addr());
    let headers = [headers, &[("access-control-request-method", "POST")]].concat();
    connection.request("OPTIONS", path, &headers, b"");
    connection.answer().expect("an answer")
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[test]
fn a_page_of_a_known_origin_asks_and_calls() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "[\"https://app.example.com\"]");
    let headers = ("access-control-request-headers", "authorization,content-type,x-stainless-lang,x-llmkit-cache");
    for path in ["/v1/chat/completions", "/v1/models", "/v1/messages", "/api/v1/explain/x"] {
        // A browser asks without a key.
        let answer = ask(&gateway, path, &[PAGE, headers]);
        assert_eq!((answer.status, allowed(&answer)), (204, Some(PAGE.1)), "{path}");
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
        let may = answer.header("access-control-allow-headers").unwrap();
        assert_eq!(may, "authorization, content-type, x-stainless-lang, x-llmkit-cache");
        assert!(answer.header("vary").unwrap().starts_with("origin") && answer.body.is_empty());
        assert!(answer.header("access-control-allow-credentials").is_none());
    }
    let key = ("x-api-key", "k");
    let stream = chat_body("up/sim", "x", ",\"stream\":true");
    let (whole, unknown) = (chat_body("up/sim", "x", ""), chat_body("nobody", "x", ""));
    for (headers, body, status) in [
        (&[PAGE, key][..], &whole, 200),
        (&[PAGE, key], &stream, 200),
        (&[PAGE], &whole, 401),
        (&[PAGE, key], &unknown, 404),
    ] {
        let answer = post(gateway.addr(), "/v1/chat/completions", headers, body.as_bytes());
        assert_eq!((answer.status, allowed(&answer)), (status, Some(PAGE.1)), "{}", answer.text());
        assert_eq!(answer.header("vary"), Some("origin"));
        let shown = answer.header("access-control-expose-headers").unwrap();
        assert!(shown.contains("x-request-id"), "{shown}");
        assert_eq!(shown.contains("x-llmkit-provider"), status == 200, "{shown}");
    }
    let answer = get(gateway.addr(), "/v1/models", &[PAGE, key]);
    assert_eq!((answer.status, allowed(&answer)), (200, Some(PAGE.1)));
}

#[test]
fn another_origin_is_told_nothing_and_its_pages_are_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "[\"https://app.example.com\"]");
    let answer = ask(&gateway, "/v1/chat/completions", &[OTHER]);
    assert_eq!((answer.status, allowed(&answer)), (403, None));
    assert_eq!(answer.error()["code"], "origin_not_allowed");
    let body = chat_body("up/sim", "x", "");
    let key = ("x-api-key", "k");
    // What browsers say of a page's call; a program may name whatever origin it likes.
    let answer =
        post(gateway.addr(), "/v1/chat/completions", &[OTHER, key, ("sec-fetch-site", "cross-site")], body.as_bytes());
    assert_eq!((answer.status, allowed(&answer)), (403, None));
    assert_eq!(upstream.count("requests"), 0);
    let answer = post(gateway.addr(), "/v1/chat/completions", &[OTHER, key], body.as_bytes());
    assert_eq!((answer.status, allowed(&answer), answer.header("vary")), (200, None, Some("origin")));
    assert!(answer.header("access-control-expose-headers").is_none());
}

#[test]
fn without_origins_there_are_no_such_headers_and_no_page_spends_anything() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let none = |answer: &Answer| {
        let shown = format!("{answer:?}");
        assert!(!shown.contains("access-control") && !shown.contains("\"vary\""), "{shown}");
    };
    let asked = ask(&gateway, "/v1/chat/completions", &[PAGE]);
    assert_eq!((asked.status, asked.error()["code"].as_str()), (405, Some("method_not_supported")));
    none(&asked);
    let answer = gateway.chat_with("up/sim", "x", &[PAGE]);
    assert_eq!(answer.status, 200);
    none(&answer);
    let answer = gateway.chat_with("up/sim", "x", &[PAGE, ("sec-fetch-site", "cross-site")]);
    assert_eq!((answer.status, answer.error()["code"].as_str()), (403, Some("origin_not_allowed")));
    none(&answer);
    assert_eq!(upstream.count("requests"), 1);
}

#[test]
fn all_origins_may_be_let_in_and_a_reload_changes_who_is() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "[\"*\"]");
    for origin in [PAGE, OTHER] {
        let answer = ask(&gateway, "/v1/chat/completions", &[origin]);
        assert_eq!((answer.status, allowed(&answer)), (204, Some("*")));
        let answer = get(gateway.addr(), "/v1/health", &[origin, ("sec-fetch-site", "cross-site")]);
        assert_eq!((answer.status, allowed(&answer)), (200, Some("*")));
    }
    let only = "[server]\ncors_origins = [\"https://evil.example\"]\n";
    fs::write(gateway.file(), config(upstream.0.addr, only)).unwrap();
    gateway.process.wait_for_line("configuration reloaded");
    assert_eq!(allowed(&ask(&gateway, "/v1/chat/completions", &[OTHER])), Some(OTHER.1));
    assert_eq!(ask(&gateway, "/v1/chat/completions", &[PAGE]).status, 403);
}
