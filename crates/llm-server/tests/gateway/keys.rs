//! Several keys of one provider: their shares, their circuits, their limits, and keys that the provider refuses.

use std::collections::HashMap;

use crate::process::{Gateway, Upstream};
use crate::wire::get;

/// A gateway before `upstream` whose provider has these keys.
fn gateway(upstream: &Upstream, keys: &str, more: &str) -> Gateway {
    let provider = format!(
        "[[providers]]\nname = \"up\"\nkind = \"openai_compatible\"\nbase_url = \"http://{}/v1\"\napi_keys = [{keys}]\n",
        upstream.0.addr
    );
    Gateway::start(&format!("{provider}{more}"), &[])
}

/// The key that the latest request brought.
fn brought(upstream: &Upstream) -> String {
    let last = upstream.last();
    let headers = last["headers"].as_array().expect("a header");
    let bearer = headers.iter().find(|header| header[0] == "authorization").expect("a header");
    bearer[1].as_str().expect("a header").strip_prefix("Bearer ").expect("a header").to_owned()
}

#[test]
fn keys_share_the_calls_by_their_weights() {
    let upstream = Upstream::start();
    let gateway =
        gateway(&upstream, "{ key = \"a\", weight = 3 }, { key = \"b\" }, { key = \"spare\", weight = 0 }", "");
    let mut counts = HashMap::new();
    for number in 0..40 {
        assert_eq!(gateway.chat("up/sim", &number.to_string()).status, 200);
        *counts.entry(brought(&upstream)).or_insert(0) += 1;
    }
    assert_eq!(counts, HashMap::from([("a".to_owned(), 30), ("b".to_owned(), 10)]));
}

#[test]
fn a_refused_key_is_left_out_until_a_reload_and_the_next_one_answers() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "{ key = \"stale\" }, { key = \"good\" }", "");
    let ask = |text: &str| gateway.chat("up/sim?auth=good", text);
    let first = ask("1");
    assert_eq!((first.status, first.header("x-llmkit-attempts")), (200, Some("2")), "{}", first.text());
    for number in 2..8 {
        assert_eq!(ask(&number.to_string()).header("x-llmkit-attempts"), Some("1"));
    }
    assert_eq!(upstream.count("requests"), 8);
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    assert!(metrics.contains("llmkit_keys_refused_total{provider=\"up\"} 1"), "{metrics}");
    let log = gateway.process.wait_for_line("refuses the key");
    assert!(log.contains("up/key-") && !log.contains("stale"), "{log}");
    // A reload tries it again.
    let file = std::fs::read_to_string(gateway.file()).unwrap();
    std::fs::write(gateway.file(), format!("{file}\n[resilience]\nretry_base_ms = 1\n")).unwrap();
    gateway.process.wait_for_line("configuration reloaded");
    let tried: Vec<_> = (10..12).map(|number| ask(&number.to_string())).collect();
    assert!(tried.iter().any(|answer| answer.header("x-llmkit-attempts") == Some("2")));
}

#[test]
fn where_every_key_is_refused_the_caller_is_not_to_blame() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "{ key = \"stale\" }, { key = \"staler\" }", "");
    for number in 0..3 {
        let answer = gateway.chat("up/sim?auth=good", &number.to_string());
        assert_eq!((answer.status, answer.error()["code"].as_str()), (502, Some("upstream_auth_error")));
    }
    assert_eq!(upstream.count("requests"), 2, "nobody is asked any more");
}

/// Without another to take over, one mistake of the provider's must not last until a reload.
#[test]
fn the_only_key_is_asked_again() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let refused = gateway.chat("up/sim?status=401", "1");
    assert_eq!((refused.status, refused.error()["code"].as_str()), (502, Some("upstream_auth_error")));
    assert_eq!(upstream.count("requests"), 1, "the same is not asked twice");
    assert_eq!(gateway.chat("up/sim", "2").status, 200);
}

#[test]
fn a_key_that_is_told_to_slow_down_rests_alone() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "{ key = \"a\" }, { key = \"b\" }", "");
    let answer = gateway.chat("up/sim?fail_first=1,status=429,retry_after=60s", "x");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")), "{}", answer.text());
    let rested = brought(&upstream);
    for number in 0..4 {
        assert_eq!(gateway.chat("up/sim?fail_first=1,status=429,retry_after=60s", &number.to_string()).status, 200);
        assert_eq!(brought(&upstream), rested);
    }
    let health = get(gateway.addr(), "/v1/health", &[]).json();
    let models = health["providers"][0]["models"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    assert!(models.iter().all(|model| model["key"].as_str().unwrap().starts_with("key-")), "{health}");
}

#[test]
fn keys_have_circuits_and_limits_of_their_own() {
    let upstream = Upstream::start();
    let keys =
        "{ key = \"a\", requests = { cap = 2, per = \"1h\" } }, { key = \"b\", requests = { cap = 3, per = \"1h\" } }";
    let gateway = gateway(&upstream, keys, "");
    let statuses: Vec<_> = (0..6).map(|number| gateway.chat("up/sim", &number.to_string()).status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    let denied = gateway.chat("up/sim", "x");
    let reason = denied.json()["llmkit"]["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason.contains("requests of provider_key up/key-") && reason.contains("0 of"), "{reason}");
    assert_eq!(upstream.count("requests"), 5);
}
