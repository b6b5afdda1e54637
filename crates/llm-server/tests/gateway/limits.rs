//! Limits of every level as callers meet them, and keys with their scopes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::process::{Gateway, Upstream, chat_body, config, most_files};
use crate::wire::{Connection, get, post};

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

const MODEL: &str = "[[models]]\nname = \"fast\"\n\
                     targets = [{ provider = \"up\", model = \"sim\", price = { input = \"1000\", output = \"1000\" } }]\n";

/// All are sent before any is read.
#[test]
fn ten_thousand_calls_at_once_never_pass_the_limit() {
    const LIMIT: usize = 100;
    let upstream = Upstream::start();
    let limits = "[[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { cap = 100, per = \"1h\" }\n";
    let gateway = Gateway::before(&upstream, limits);
    let calls = 10_000.min(most_files() - 500);
    let mut connections: Vec<_> = (0..calls)
        .map(|number| {
            let mut connection = Connection::open(gateway.addr());
            let body = chat_body("up/sim", &number.to_string(), "");
            connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
            connection
        })
        .collect();
    let statuses: Vec<_> =
        connections.iter_mut().map(|connection| connection.head().expect("an answer").status).collect();
    let count = |status| statuses.iter().filter(|known| **known == status).count();
    assert_eq!((count(200), count(429)), (LIMIT, calls - LIMIT));
    assert_eq!(upstream.count("requests"), LIMIT as u64);
}

/// A token costs a tenth of a cent, the budget is a dollar.
#[test]
fn a_budget_is_never_passed_at_any_time() {
    const TOKENS: u64 = 1000;
    let upstream = Upstream::start();
    let limits = "[[limits]]\nlevel = \"key\"\nname = \"*\"\nmoney = { cap = \"1.00\", per = \"1d\" }\n";
    let gateway = Gateway::before(&upstream, &format!("{MODEL}{limits}"));
    let (addr, sim) = (gateway.addr(), upstream.0.addr);
    let spent = move || {
        let stats = get(sim, "/sim/stats", &[]).json();
        stats["input_tokens"].as_u64().unwrap() + stats["output_tokens"].as_u64().unwrap()
    };
    let (answered, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|threads| {
        let callers: Vec<_> = (0..8)
            .map(|caller| {
                let answered = &answered;
                threads.spawn(move || {
                    for number in 0..40 {
                        let more = if number % 2 == 0 { "" } else { ",\"stream\":true" };
                        let more = format!(",\"max_completion_tokens\":20{more}");
                        let body = chat_body("fast", &format!("{caller} {number}"), &more);
                        let answer = post(addr, "/v1/chat/completions", &[], body.as_bytes());
                        assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
                        answered.fetch_or(answer.status == 200, Relaxed);
                    }
                })
            })
            .collect();
        let watcher = threads.spawn(|| {
            while !done.load(Relaxed) {
                assert!(spent() <= TOKENS);
            }
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        done.store(true, Relaxed);
        watcher.join().unwrap();
    });
    // What was reserved and not used is given back: most of the budget could be spent.
    assert!(answered.into_inner() && (TOKENS * 8 / 10..=TOKENS).contains(&spent()), "{}", spent());
    let denied = post(
        gateway.addr(),
        "/v1/chat/completions",
        &[],
        chat_body("fast", "once more", ",\"max_completion_tokens\":500").as_bytes(),
    );
    assert_eq!((denied.status, denied.error()["type"].as_str()), (429, Some("insufficient_quota")));
    let reason = denied.json()["llmkit"]["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason.starts_with("limits: money of key default: $") && reason.contains("of $1 left"), "{reason}");
}

#[test]
fn a_hard_budget_refuses_what_it_cannot_bound_and_says_why() {
    let upstream = Upstream::start();
    let limits = "[[limits]]\nlevel = \"key\"\nname = \"*\"\nmoney = { cap = \"9\", per = \"1d\" }\n";
    let gateway = Gateway::before(&upstream, &format!("{MODEL}{limits}"));
    for (model, why) in [("fast", "max_completion_tokens"), ("up/other", "no price")] {
        let refused = gateway.chat(model, "x");
        assert_eq!((refused.status, refused.error()["code"].as_str()), (429, Some("unbounded_cost")), "{model}");
        assert!(refused.error()["message"].as_str().unwrap().contains(why), "{}", refused.text());
        assert_eq!((refused.header("retry-after"), refused.header("x-should-retry")), (None, Some("false")));
    }
    assert_eq!(upstream.count("requests"), 0);
}

#[test]
fn a_stream_that_reaches_its_cap_ends_with_an_error_event() {
    const MODEL: &str = "up/sim?tokens=500&gap=1ms";
    let upstream = Upstream::start();
    let limits = format!("[[limits]]\nlevel = \"model\"\nname = \"{MODEL}\"\ntokens = {{ cap = 200, per = \"1h\" }}\n");
    let gateway = Gateway::before(&upstream, &limits);
    let body = chat_body(MODEL, "x", ",\"stream\":true");
    let answer = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    assert_eq!((answer.status, answer.whole), (200, true));
    let events = answer.events();
    let last = events.last().unwrap();
    assert!(last.contains("rate_limit_exceeded") && last.contains("cut off"), "{last}");
    assert!(!answer.text().contains("[DONE]"));
    assert!((60..200).contains(&events.len()), "{}", events.len());
    assert_eq!(upstream.stats("cancelled=1")["cancelled"], 1);
}

#[test]
fn places_are_held_to_the_end_of_a_stream() {
    let upstream = Upstream::start();
    let limits = "[server]\napi_keys = [{ key = \"a\", team = \"red\" }, { key = \"b\", team = \"red\" }, { key = \"c\", org = \"o\" }]\n\
                  [[limits]]\nlevel = \"team\"\nname = \"red\"\nconcurrency = 1\n";
    let gateway = Gateway::before(&upstream, limits);
    let mut first = Connection::open(gateway.addr());
    let body = chat_body("up/sim?stall_after=2", "x", ",\"stream\":true");
    first.request("POST", "/v1/chat/completions", &[("x-api-key", "a")], body.as_bytes());
    assert_eq!(first.head().unwrap().status, 200);
    let denied = gateway.chat_with("up/sim", "y", &[("x-api-key", "b")]);
    assert_eq!((denied.status, denied.error()["code"].as_str()), (429, Some("concurrency_limit_exceeded")));
    assert_eq!(denied.header("x-should-retry"), None);
    assert_eq!(gateway.chat_with("up/sim", "y", &[("x-api-key", "c")]).status, 200);
    drop(first);
    // The upstream hears of it a moment before the place is free.
    upstream.stats("cancelled=1");
    let again = (0..1000).find(|_| gateway.chat_with("up/sim", "y", &[("x-api-key", "b")]).status == 200);
    assert!(again.is_some(), "the place is free again");
}

/// One call upstream, one request of the quota; who joins it costs none.
#[test]
fn who_joins_a_call_in_flight_uses_up_no_quota() {
    let upstream = Upstream::start();
    let limits = "[[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { cap = 1, per = \"1h\" }\n";
    let gateway = Gateway::before(&upstream, limits);
    let body = chat_body("up/sim?ttft=1s", "same", "");
    let mut callers: Vec<_> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(gateway.addr());
            connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
            connection
        })
        .collect();
    assert!(callers.iter_mut().all(|caller| caller.answer().is_some_and(|answer| answer.status == 200)));
    assert_eq!((gateway.chat("up/sim", "another").status, upstream.count("requests")), (429, 1));
}

#[test]
fn callers_see_their_own_tightest_limit_and_operators_all() {
    let upstream = Upstream::start();
    let limits = "[server]\napi_keys = [{ key = \"a\", tenant = \"acme\" }, { key = \"ops\", scopes = [\"admin\"] }]\n\
                  [rate_limits]\nrequests_per_second = 1.0\nburst_capacity = 50\n\
                  [[limits]]\nlevel = \"user\"\nname = \"*\"\nrequests = { rate = 10, per = \"1m\", burst = 5 }\n\
                  [[limits]]\nlevel = \"key\"\nname = \"*\"\ntokens = { cap = 1000, per = \"1h\" }\n\
                  [[limits]]\nlevel = \"model\"\nname = \"fast\"\nrequests = { cap = 3, per = \"1h\" }\n";
    let gateway = Gateway::before(&upstream, &format!("{limits}{MODEL}"));
    let ask = |more: &str| {
        let body = chat_body("fast", more, &format!(",\"user\":\"ann\",\"seed\":{}", more.len()));
        post(gateway.addr(), "/v1/chat/completions", &[("x-api-key", "a")], body.as_bytes())
    };
    let answer = ask("x");
    let shown = |name: &str| answer.header(&format!("x-ratelimit-{name}")).unwrap().to_owned();
    assert_eq!((shown("limit-requests"), shown("remaining-requests")), ("5".into(), "4".into()));
    assert!(shown("reset-requests").ends_with('s'));
    let used = answer.json()["usage"]["total_tokens"].as_u64().unwrap();
    assert_eq!((shown("limit-tokens"), shown("remaining-tokens")), ("1000".into(), (1000 - used).to_string()));
    assert_eq!(get(gateway.addr(), "/api/v1/rate-limiter/stats", &[("x-api-key", "a")]).status, 403);
    assert_eq!([ask("xx").status, ask("xxx").status, ask("xxxx").status], [200, 200, 429]);
    let stats = get(gateway.addr(), "/api/v1/rate-limiter/stats", &[("x-api-key", "ops")]).json();
    let model = &stats["per_model"][0];
    assert_eq!(
        (&model["model_id"], &model["requests_allowed"], &model["requests_denied"]),
        (&"fast".into(), &3.into(), &1.into())
    );
    assert_eq!(model["current_tokens"], 0);
    let limits = stats["limits"].as_array().unwrap();
    let find = |level: &str| limits.iter().find(|limit| limit["level"] == level).unwrap();
    assert_eq!((&find("user")["name"], &find("user")["remaining"]), (&"acme/ann".into(), &2.into()));
    assert_eq!(find("tenant")["name"], "acme");
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    assert!(metrics.contains("llmkit_limit_denials_total{level=\"model\",resource=\"requests\"} 1"), "{metrics}");
}

#[test]
fn anthropics_callers_see_their_limits_in_the_headers_that_their_sdk_reads() {
    let upstream = Upstream::start();
    let limits = "[[limits]]\nlevel = \"user\"\nname = \"*\"\nrequests = { rate = 60, per = \"1m\", burst = 2 }\n";
    let gateway = Gateway::before(&upstream, limits);
    let ask = |user: &str, text: &str| {
        let body = format!(
            r#"{{"model":"up/sim","max_tokens":9,"metadata":{{"user_id":"{user}"}},"messages":[{{"role":"user","content":"{text}"}}]}}"#
        );
        post(gateway.addr(), "/v1/messages", &[], body.as_bytes())
    };
    let first = ask("ann", "x");
    assert_eq!(first.status, 200, "{}", first.text());
    let shown = |name: &str| first.header(&format!("anthropic-ratelimit-requests-{name}")).map(str::to_owned);
    assert_eq!((shown("limit").as_deref(), shown("remaining").as_deref()), (Some("2"), Some("1")));
    let reset = shown("reset").expect("a date");
    assert!(reset.len() == 20 && reset.ends_with('Z') && reset.as_bytes()[10] == b'T', "{reset}");
    assert!(first.header("x-ratelimit-limit-requests").is_none());
    assert_eq!(ask("ann", "y").status, 200);
    let denied = ask("ann", "z");
    assert_eq!(
        (denied.status, &denied.json()["error"]["type"]),
        (429, &"rate_limit_error".into()),
        "{}",
        denied.text()
    );
    assert!(denied.header("retry-after").is_some() && denied.json()["llmkit"]["reasons"].is_array());
    // Each user has a limit of its own.
    assert_eq!(ask("bob", "z").status, 200);
}
