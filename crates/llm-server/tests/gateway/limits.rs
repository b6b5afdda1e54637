//! A tenant's request rate, and keys with their scopes.

use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{get, post};

#[test]
fn the_limit_holds_says_the_wait_and_keeps_tenants_apart() {
    let upstream = Upstream::start();
    let limits = "[server]\napi_keys = [\"one\", { key = \"two\", tenant = \"acme\" }, { key = \"three\", tenant = \"acme\" }]\n\
                  [rate_limits]\nrequests_per_second = 0.5\nburst_capacity = 2\n";
    let gateway = Gateway::start(&config(upstream.0.addr, limits), &[]);
    let ask = |key: &str, text: &str| gateway.chat_with("up/sim", text, &[("x-api-key", key)]);
    assert_eq!([ask("one", "a").status, ask("one", "b").status], [200, 200]);
    let denied = ask("one", "c");
    assert_eq!(
        (denied.status, denied.error()["type"].as_str(), denied.error()["code"].as_str()),
        (429, Some("requests"), Some("rate_limit_exceeded"))
    );
    let millis: u64 = denied.header("retry-after-ms").unwrap().parse().unwrap();
    let seconds: u64 = denied.header("retry-after").unwrap().parse().unwrap();
    assert!(millis > 0 && millis <= 2000 && seconds == millis.div_ceil(1000), "{millis} {seconds}");
    let told = denied.json()["llmkit"].clone();
    assert!(told["reasons"][0].as_str().unwrap().contains("rate_limits"), "{told}");
    assert_eq!(told["request_id"].as_str(), denied.header("x-request-id"));
    // Keys of one tenant share its bucket, and nobody else's.
    assert_eq!([ask("two", "a").status, ask("three", "b").status, ask("two", "c").status], [200, 200, 429]);
    assert_eq!(upstream.count("requests"), 4);
}

#[test]
fn without_the_section_there_is_no_limit() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    assert!((0..200).all(|number| gateway.chat("up/sim?fixed", &number.to_string()).status == 200));
}

#[test]
fn an_upstreams_own_limits_pass_through() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[resilience]\nretry_attempts = 0\n");
    let answer = gateway.chat("up/sim?status=429,retry_after=90s", "x");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("90")));
    assert_eq!(answer.header("x-should-retry"), None);
}

#[test]
fn a_key_is_needed_where_keys_are_configured() {
    let upstream = Upstream::start();
    let keys = "[server]\napi_keys = [\"env:TEST_KEY\", { key = \"ops\", scopes = [\"admin\"] }]\n";
    let gateway = Gateway::start(&config(upstream.0.addr, keys), &[("TEST_KEY", "sesame")]);
    let body = chat_body("up/sim", "x", "");
    let ask = |headers: &[(&str, &str)]| post(gateway.addr(), "/v1/chat/completions", headers, body.as_bytes());
    for headers in [&[][..], &[("authorization", "Bearer wrong")], &[("authorization", "Basic sesame")]] {
        let refused = ask(headers);
        assert_eq!((refused.status, refused.error()["code"].as_str()), (401, Some("invalid_api_key")), "{headers:?}");
    }
    assert_eq!(ask(&[("authorization", "Bearer sesame")]).status, 200);
    assert_eq!(ask(&[("x-api-key", "sesame"), ("authorization", "Bearer wrong")]).status, 200);
    assert_eq!(ask(&[("x-api-key", "ops")]).status, 403);
    assert_eq!(get(gateway.addr(), "/v1/models", &[]).status, 401);
    assert_eq!(upstream.count("requests"), 2);
    for open in ["/livez", "/readyz", "/v1/health", "/metrics"] {
        assert_eq!(get(gateway.addr(), open, &[]).status, 200, "{open}");
    }
}
