//! An upstream that fails: what the caller sees of it, what is tried again, when it is left alone.

use crate::process::{Gateway, Upstream};

const ONCE: &str = "[resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 1000\n";

#[test]
fn each_failure_has_its_status_and_shape() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, ONCE);
    for (script, status, kind, code) in [
        ("status=429,retry_after=7s", 429, "rate_limit_error", "rate_limit_exceeded"),
        ("status=429,code=insufficient_quota", 429, "insufficient_quota", "insufficient_quota"),
        ("status=500", 502, "server_error", "upstream_error"),
        ("status=502,html", 502, "server_error", "upstream_error"),
        ("status=503", 503, "service_unavailable_error", "server_is_overloaded"),
        ("status=504", 502, "server_error", "upstream_error"),
        ("html", 502, "server_error", "upstream_error"),
        ("truncate", 502, "server_error", "upstream_error"),
        ("hangup", 502, "server_error", "upstream_error"),
        ("status=404", 404, "invalid_request_error", "model_not_found"),
    ] {
        let answer = gateway.chat(&format!("up/sim?{script}"), script);
        let error = answer.error();
        assert_eq!(answer.status, status, "{script}: {}", answer.text());
        assert_eq!((error["code"].as_str(), answer.header("x-llmkit-attempts")), (Some(code), Some("1")), "{script}");
        if status >= 500 {
            assert_eq!(error["type"], kind, "{script}");
        }
        assert!(answer.header("x-request-id").is_some());
    }
    let limited = gateway.chat("up/sim?status=429,retry_after=9s", "x");
    assert_eq!((limited.header("retry-after"), limited.header("retry-after-ms")), (Some("9"), Some("9000")));
    // Who has asked to slow down is left alone until then.
    let held = gateway.chat("up/sim?status=429,retry_after=9s", "y");
    assert_eq!((held.status, held.header("x-llmkit-attempts")), (429, None), "{}", held.text());
    let wait: u64 = held.header("retry-after-ms").unwrap().parse().unwrap();
    assert!(wait <= 9000 && held.text().contains("asked to slow down"), "{}", held.text());
    let refused = gateway.chat("up/sim?status=400", "x");
    assert_eq!((refused.status, refused.error()["type"].as_str()), (400, Some("invalid_request_error")));
    let auth = gateway.chat("up/sim?status=401", "x");
    assert_eq!((auth.status, auth.error()["code"].as_str()), (502, Some("upstream_auth_error")), "{}", auth.text());
}

#[test]
fn a_failure_that_passes_is_hidden_and_the_attempts_are_counted() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[resilience]\nretry_base_ms = 1\n");
    let answer = gateway.chat("up/sim?fail_first=2,status=503", "x");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("3")), "{}", answer.text());
    let answer = gateway.chat("up/sim?status=500", "x");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (502, Some("4")));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[test]
fn a_short_retry_after_is_waited_for() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let answer = gateway.chat("up/sim?fail_first=1,status=429,retry_after=20ms", "x");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")), "{}", answer.text());
}

#[test]
fn a_fallback_answers_for_a_provider_that_fails() {
    let upstream = Upstream::start();
    let models = "[[models]]\nname = \"fast\"\nstrategy = \"fallback\"\ntargets = [\n\
                  { provider = \"up\", model = \"sim?status=500\" },\n{ provider = \"up2\", model = \"sim?reply=second\" }]\n";
    let second = format!(
        "[[providers]]\nname = \"up2\"\nkind = \"openai_compatible\"\nbase_url = \"http://{}\"\n",
        upstream.0.addr
    );
    let gateway = Gateway::before(&upstream, &format!("{second}{models}"));
    let answer = gateway.chat("fast", "x");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "second");
    assert_eq!((answer.header("x-llmkit-provider"), answer.header("x-llmkit-attempts")), (Some("up2"), Some("2")));
    let metrics = crate::wire::get(gateway.addr(), "/metrics", &[]).text();
    assert!(metrics.contains("llmkit_fallbacks_total 1\n"), "{metrics}");
}

#[test]
fn weights_divide_the_traffic_exactly() {
    let upstream = Upstream::start();
    let models = "[[models]]\nname = \"fast\"\ntargets = [\n\
                  { provider = \"up\", model = \"sim?reply=a\", weight = 3 },\n{ provider = \"up\", model = \"sim?reply=b\", weight = 1 }]\n";
    let gateway = Gateway::before(&upstream, models);
    let mut told = [0, 0];
    for number in 0..40 {
        let answer = gateway.chat("fast", &number.to_string()).json();
        told[usize::from(answer["choices"][0]["message"]["content"] == "b")] += 1;
    }
    assert_eq!(told, [30, 10]);
}

#[test]
fn a_circuit_opens_refuses_and_says_when_to_come_again() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[resilience]\nretry_attempts = 0\ncircuit_breaker_timeout_s = 30\n");
    for number in 0..5 {
        assert_eq!(gateway.chat("up/sim?status=500", &number.to_string()).status, 502);
    }
    let refused = gateway.chat("up/sim?status=500", "x");
    assert_eq!((refused.status, refused.error()["code"].as_str()), (503, Some("server_is_overloaded")));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=33).contains(&wait), "{wait}");
    assert!(refused.json()["llmkit"]["reasons"][0].as_str().unwrap().contains("provider up"), "{}", refused.text());
    assert_eq!(upstream.count("requests"), 5);
    let health = crate::wire::get(gateway.addr(), "/v1/health", &[]).json();
    assert_eq!(health["circuit_breaker"]["state"], "Open");
    assert_eq!(health["providers"][0]["circuit_breaker"]["failure_count"], 5);
    // The provider's other models have circuits of their own.
    assert_eq!(gateway.chat("up/sim", "x").status, 200);
    let health = crate::wire::get(gateway.addr(), "/v1/health", &[]).json();
    let states: Vec<_> = health["providers"][0]["models"].as_array().unwrap().iter().collect();
    assert_eq!((&states[0]["model"], &states[0]["circuit_breaker"]["state"]), (&"sim".into(), &"Closed".into()));
    assert_eq!(states[1]["circuit_breaker"]["state"], "Open");
}

#[test]
fn a_callers_mistake_never_opens_the_circuit() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[resilience]\ncircuit_breaker_threshold = 2\n");
    for number in 0..10 {
        assert_eq!(gateway.chat("up/sim?status=400", &number.to_string()).status, 400);
    }
    assert_eq!(gateway.chat("up/sim", "x").status, 200);
}

#[test]
fn an_upstream_that_is_not_there_is_a_502() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&crate::process::config(closed, "[resilience]\nretry_base_ms = 1\n"), &[]);
    let answer = gateway.chat("up/sim", "x");
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (502, Some("4")), "{}", answer.text());
    assert!(!answer.text().contains(&closed.port().to_string()), "addresses stay here");
}

#[test]
fn clocks_end_a_silent_upstream() {
    let upstream = Upstream::start();
    let clocks = "total_timeout = \"200ms\"\nfirst_token_timeout = \"100ms\"\n";
    let gateway = Gateway::before(&upstream, &format!("{clocks}{ONCE}"));
    let answer = gateway.chat("up/sim?stall", "x");
    assert_eq!((answer.status, answer.error()["code"].as_str()), (504, Some("timeout")));
    assert!(answer.text().contains("total_timeout"));
    let body = crate::process::chat_body("up/sim?stall", "x", ",\"stream\":true");
    let answer = crate::wire::post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains("first_token_timeout"), "{}", answer.text());
    assert_eq!(upstream.stats("cancelled=2")["cancelled"], 2);
}

#[test]
fn a_deadline_of_the_callers_is_kept() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let answer = gateway.chat_with("up/sim?stall", "x", &[("x-llmkit-deadline-ms", "50")]);
    assert_eq!(answer.status, 504);
    let answer = gateway.chat_with("up/sim", "x", &[("x-llmkit-deadline-ms", "soon")]);
    assert_eq!((answer.status, answer.error()["param"].as_str()), (400, Some("x-llmkit-deadline-ms")));
}

/// The upstream fails, its circuit opens, the fallback answers, and when it has recovered its circuit closes.
#[test]
fn a_circuit_opens_the_fallback_answers_and_recovery_closes_it() {
    let upstream = Upstream::start();
    let models = "[resilience]\ncircuit_breaker_timeout_s = 1\ncircuit_breaker_threshold = 3\n\
                  [[models]]\nname = \"fast\"\nstrategy = \"fallback\"\ntargets = [\n\
                  { provider = \"up\", model = \"sim?fail_first=3,status=500\" },\n\
                  { provider = \"spare\", model = \"sim\" }]\n\
                  [[providers]]\nname = \"spare\"\nkind = \"sim\"\n";
    let gateway = Gateway::before(&upstream, models);
    let served = |text: &str| {
        let answer = gateway.chat("fast", text);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-llmkit-provider").unwrap().to_owned()
    };
    let state = || {
        let health = crate::wire::get(gateway.addr(), "/v1/health", &[]).json();
        health["providers"][0]["circuit_breaker"]["state"].as_str().unwrap().to_owned()
    };
    assert!((0..10).all(|number| served(&format!("a{number}")) == "spare"));
    assert_eq!((upstream.count("requests"), state().as_str()), (3, "Open"));
    // The circuit is probed once its wait is over; five successes close it.
    let mut number = 0;
    while state() != "Closed" {
        served(&format!("b{number}"));
        number += 1;
    }
    assert_eq!(served("c"), "up");
}

#[test]
fn an_operator_closes_circuits() {
    let upstream = Upstream::start();
    let keys = "[server]\napi_keys = [{ key = \"k\" }, { key = \"ops\", scopes = [\"admin\"] }]\n\
                [resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 1\n";
    let gateway = Gateway::before(&upstream, keys);
    let ask = |model: &str, text: &str| gateway.chat_with(model, text, &[("x-api-key", "k")]).status;
    let reset = |query: &str, key: &str| {
        let path = format!("/v1/circuit-breaker/reset{query}");
        crate::wire::post(gateway.addr(), &path, &[("x-api-key", key)], b"")
    };
    for query in ["", "?provider=up"] {
        assert_eq!([ask("up/sim?status=500", query), ask("up/sim?status=500", query)], [502, 503]);
        assert_eq!(reset(query, "k").status, 403);
        assert_eq!(reset(query, "ops").json(), serde_json::json!({ "reset": 1 }));
        assert_eq!(ask("up/sim?status=500", query), 502);
        reset("", "ops");
    }
    assert_eq!((reset("?provider=none", "ops").status, reset("?all=1", "ops").status), (404, 400));
}

#[test]
fn a_provider_may_have_circuits_of_its_own_kind() {
    let upstream = Upstream::start();
    let config = crate::process::config(
        upstream.0.addr,
        "breaker = { threshold = 2, timeout_s = 120 }\n[resilience]\nretry_attempts = 0\n",
    );
    let gateway = Gateway::start(&config, &[]);
    let ask = |text: &str| gateway.chat("up/sim?status=500", text);
    assert_eq!([ask("a").status, ask("b").status], [502, 502]);
    let refused = ask("c");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(refused.status == 503 && (120..=132).contains(&wait), "{} {wait}", refused.status);
}

#[test]
fn the_wait_for_a_probe_counts_down_until_one_passes() {
    let upstream = Upstream::start();
    let resilience = "[resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 2\ncircuit_breaker_timeout_s = 1\n";
    let gateway = Gateway::before(&upstream, resilience);
    let model = "up/sim?fail_first=2,status=500";
    assert_eq!([gateway.chat(model, "a").status, gateway.chat(model, "b").status], [502, 502]);
    let circuit = || crate::wire::get(gateway.addr(), "/v1/health", &[]).json()["circuit_breaker"].clone();
    let wait = || circuit()["next_probe_in_secs"].as_f64();
    let mut last = wait().unwrap();
    // A tenth more than the time-out at most.
    assert!(last > 0.0 && last <= 1.1, "{last}");
    while last > 0.0 {
        assert_eq!(gateway.chat(model, "c").status, if wait() > Some(0.05) { 503 } else { break });
        let next = wait().unwrap();
        assert!(next < last, "{next} after {last}");
        last = next;
    }
    while wait() > Some(0.0) {}
    assert_eq!((circuit()["state"].as_str(), upstream.count("requests")), (Some("Open"), 2));
    assert_eq!(gateway.chat(model, "d").status, 200);
    assert_eq!((circuit()["state"].as_str(), upstream.count("requests")), (Some("HalfOpen"), 3));
    assert!(circuit()["next_probe_in_secs"].is_null());
    // A probe that fails doubles the wait.
    crate::wire::post(gateway.addr(), "/v1/circuit-breaker/reset", &[], b"");
    let model = "up/sim?fail_first=3,status=500";
    assert_eq!([gateway.chat(model, "a").status, gateway.chat(model, "b").status], [502, 502]);
    while wait() > Some(0.0) {}
    assert_eq!(gateway.chat(model, "c").status, 502);
    let failed = circuit();
    assert_eq!((failed["state"].as_str(), failed["probe_failures"].as_u64()), (Some("Open"), Some(1)));
    let metrics = crate::wire::get(gateway.addr(), "/metrics", &[]).text();
    assert!(metrics.contains("llmkit_circuit_probe_failures{provider=\"up\"} 1\n"), "{metrics}");
    assert!(failed["next_probe_in_secs"].as_f64().is_some_and(|wait| wait > 1.1 && wait <= 2.2), "{failed}");
}

#[test]
fn a_preset_sets_what_the_other_keys_leave_open() {
    let upstream = Upstream::start();
    for (preset, seconds) in [("aggressive", 10..=11), ("production", 60..=66), ("conservative", 120..=132)] {
        let more =
            format!("[resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 1\nbreaker_preset = \"{preset}\"\n");
        let gateway = Gateway::before(&upstream, &more);
        assert_eq!(gateway.chat("up/sim?status=500", "a").status, 502);
        let refused = gateway.chat("up/sim?status=500", "b");
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(refused.status == 503 && seconds.contains(&wait), "{preset}: {wait}");
    }
    // One that only reports lets all calls pass.
    let more = "[resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 1\nbreaker_shadow = true\n";
    let gateway = Gateway::before(&upstream, more);
    for text in ["a", "b", "c"] {
        assert_eq!(gateway.chat("up/sim?status=500", text).status, 502);
    }
    gateway.process.wait_for_line("circuit changed");
}
