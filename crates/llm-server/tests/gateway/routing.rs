//! Who is asked: each strategy with two providers that differ.

use crate::process::{Gateway, Upstream, chat_body};
use crate::wire::get;

/// A gateway with the model `fast` over two models of the upstream, and `more` of the model.
fn gateway(upstream: &Upstream, one: &str, other: &str, more: &str) -> Gateway {
    let target = |(model, price)| {
        format!("{{ provider = \"up\", model = \"{model}\", price = {{ input = \"{price}\", output = \"{price}\" }} }}")
    };
    let targets = [(one, "9"), (other, "1")].map(target).join(",\n");
    let model = format!("[[models]]\nname = \"fast\"\ntargets = [\n{targets}]\n{more}\n");
    Gateway::before(upstream, &format!("{model}[resilience]\ncircuit_breaker_threshold = 1000\nretry_base_ms = 1\n"))
}

/// How many of `calls` answers `said` that.
fn answers(gateway: &Gateway, calls: usize, said: &str) -> usize {
    let count = |call: usize| {
        let answer = gateway.chat("fast", &call.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        usize::from(answer.json()["choices"][0]["message"]["content"] == said)
    };
    (0..calls).map(count).sum()
}

#[test]
fn the_cheaper_is_asked_for_cost_and_the_faster_for_latency() {
    let upstream = Upstream::start();
    let (fast, cheap) = ("sim?reply=fast&tokens=1", "sim?reply=cheap&tokens=1&ttft=60ms");
    for (strategy, said) in [("cost", "cheap"), ("latency", "fast"), ("bandit", "fast")] {
        let gateway = gateway(&upstream, fast, cheap, &format!("strategy = \"{strategy}\""));
        let count = answers(&gateway, 60, said);
        assert!(count >= 48, "{strategy}: {count} of 60");
    }
}

#[test]
fn auto_picks_the_cheapest_of_all_targets_that_have_a_price() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "sim?reply=dear", "sim?reply=cheap", "strategy = \"fallback\"");
    let answer = gateway.chat("auto", "hello");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "cheap");
}

#[test]
fn arbitrage_is_cheap_where_the_bound_allows() {
    let upstream = Upstream::start();
    let (fast, cheap) = ("sim?reply=fast&tokens=1", "sim?reply=cheap&tokens=1&ttft=60ms");
    for (sla, said) in [("5s", "cheap"), ("20ms", "fast")] {
        let gateway = gateway(&upstream, fast, cheap, &format!("strategy = \"arbitrage\"\nsla = \"{sla}\""));
        answers(&gateway, 30, said);
        let count = answers(&gateway, 40, said);
        assert!(count >= 32, "{sla}: {count} of 40");
    }
}

#[test]
fn requests_that_nobody_is_fast_enough_for_are_counted() {
    let upstream = Upstream::start();
    let (fast, cheap) = ("sim?tokens=1&ttft=20ms", "sim?tokens=1&ttft=30ms");
    let gateway = gateway(&upstream, fast, cheap, "strategy = \"arbitrage\"\nsla = \"2ms\"");
    answers(&gateway, 30, "");
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    let counted = metrics.lines().find_map(|line| line.strip_prefix("llmkit_sla_misses_total{model=\"fast\"} "));
    let counted: u64 = counted.unwrap().parse().unwrap();
    let shown = get(gateway.addr(), "/api/v1/load-balancer/stats", &[]).json()["models"][0]["total_sla_misses"].clone();
    assert!(counted > 0 && shown == counted, "{counted} {shown}");
}

#[test]
fn the_one_that_fails_is_avoided_for_reliability() {
    let upstream = Upstream::start();
    let gateway =
        gateway(&upstream, "sim?reply=steady", "sim?reply=flaky&error_rate=0.5", "strategy = \"reliability\"");
    answers(&gateway, 100, "steady");
    let before = upstream.stats("")["failed"].as_u64().unwrap();
    answers(&gateway, 100, "steady");
    let failed = upstream.stats("")["failed"].as_u64().unwrap() - before;
    assert!(failed <= 10, "{failed} of 100 first calls failed");
}

#[test]
fn a_conversation_stays_where_its_beginning_is_known() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "sim?reply=a", "sim?reply=b", "strategy = \"prefix\"");
    let mut kinds = std::collections::BTreeSet::new();
    for conversation in 0..12 {
        let mut turns = format!("{{\"role\":\"user\",\"content\":\"question {conversation}\"}}");
        let mut said = std::collections::BTreeSet::new();
        for turn in 0..4 {
            let body = format!("{{\"model\":\"fast\",\"messages\":[{turns}]}}");
            let answer = crate::wire::post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
            said.insert(answer.json()["choices"][0]["message"]["content"].to_string());
            turns.push_str(&format!(
                ",{{\"role\":\"assistant\",\"content\":\"x\"}},{{\"role\":\"user\",\"content\":\"{turn}\"}}"
            ));
        }
        assert_eq!(said.len(), 1, "conversation {conversation}");
        kinds.extend(said);
    }
    assert_eq!(kinds.len(), 2, "both have conversations");
}

#[test]
fn what_is_known_of_targets_is_shown_and_outlives_a_reload() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "sim?reply=a", "sim?reply=b", "strategy = \"peak_ewma\"");
    answers(&gateway, 20, "a");
    let stats = || get(gateway.addr(), "/api/v1/load-balancer/stats", &[]).json()["models"][0].clone();
    let shown = stats();
    assert_eq!((&shown["model_id"], &shown["strategy"]), (&"fast".into(), &"peak_ewma".into()));
    let targets = shown["targets"].as_array().unwrap();
    assert_eq!(targets[0]["name"], "up/sim?reply=a");
    assert!(targets.iter().any(|target| target["success_rate"] == 1.0 && target["p95_ms"].as_f64().unwrap() > 0.0));
    assert!(targets.iter().all(|target| target["in_flight"] == 0));
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    std::fs::write(gateway.file(), format!("{text}\n# changed\n")).unwrap();
    gateway.process.signal("HUP");
    gateway.process.wait_for_line("reloaded");
    assert_eq!(stats()["targets"][0]["p95_ms"], targets[0]["p95_ms"]);
}

#[test]
fn how_providers_fare_is_shown_over_all_of_their_models() {
    let upstream = Upstream::start();
    let spare = format!(
        "{MODEL_OF_TWO}[[providers]]\nname = \"spare\"\nkind = \"openai_compatible\"\nbase_url = \"http://{}/v1\"\n\
         [resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 2\n",
        upstream.0.addr
    );
    let gateway = Gateway::before(&upstream, &spare);
    for number in 0..4 {
        let text = number.to_string();
        assert_eq!(gateway.chat("fast", &text).status, 200);
        assert_eq!(gateway.chat("up/sim?ttft=40ms", &text).status, 200);
    }
    assert_eq!(
        [gateway.chat("up/sim?status=500", "a").status, gateway.chat("up/sim?status=500", "b").status],
        [502, 502]
    );
    let shown = get(gateway.addr(), "/api/v1/load-balancer/stats", &[]).json()["providers"].clone();
    let (up, spare) = (&shown[0], &shown[1]);
    assert_eq!((&up["name"], &up["state"], &up["calls"]), (&"up".into(), &"Open".into(), &10.into()));
    assert_eq!(
        (&up["success_rate"], &up["consecutive_failures"], &up["in_flight"]),
        (&0.8.into(), &2.into(), &0.into())
    );
    // Half of the successes took 40 ms at least, within 3 %.
    let millis = |name: &str| up[name].as_f64().unwrap();
    assert!(millis("p50_ms") < millis("p95_ms") && millis("p95_ms") >= 38.0, "{up}");
    assert_eq!(
        (&spare["state"], &spare["calls"], &spare["success_rate"]),
        (&"Closed".into(), &0.into(), &serde_json::Value::Null)
    );
    // What is known outlives a reload.
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    std::fs::write(gateway.file(), format!("{text}\n# changed\n")).unwrap();
    gateway.process.signal("HUP");
    gateway.process.wait_for_line("reloaded");
    let again = get(gateway.addr(), "/api/v1/load-balancer/stats", &[]).json()["providers"][0].clone();
    assert_eq!((&again["calls"], &again["state"]), (&10.into(), &"Open".into()));
}

const MODEL_OF_TWO: &str = "[[models]]\nname = \"fast\"\nstrategy = \"fallback\"\ntargets = [\n\
                            { provider = \"up\", model = \"sim\" }, { provider = \"spare\", model = \"sim\" }]\n";

fn explained(gateway: &Gateway, id: &str) -> serde_json::Value {
    let answer = get(gateway.addr(), &format!("/api/v1/explain/{id}"), &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn who_was_asked_and_who_was_not_is_explained() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "sim?reply=dear", "sim?status=500", "strategy = \"cost\"");
    let answer = gateway.chat_with("fast", "hello", &[("x-request-id", "why-1")]);
    assert_eq!((answer.status, answer.header("x-llmkit-attempts")), (200, Some("2")));
    let told = explained(&gateway, "why-1");
    assert_eq!((&told["model"], &told["strategy"], &told["sharing"]), (&"fast".into(), &"cost".into(), &"miss".into()));
    let attempts: Vec<_> = told["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|made| {
            (made["model"].as_str().unwrap(), made["reason"].as_str().unwrap(), made["outcome"].as_str().unwrap())
        })
        .collect();
    let expected = [("sim?status=500", "cost", "server_error"), ("sim?reply=dear", "fallback", "answered")];
    assert_eq!(attempts, expected);
    let candidates = told["candidates"].as_array().unwrap();
    assert_eq!(candidates[0]["name"], "up/sim?status=500");
    assert!(
        candidates[0]["predicted_cost_usd"].as_f64().unwrap() < candidates[1]["predicted_cost_usd"].as_f64().unwrap()
    );
    assert_eq!(get(gateway.addr(), "/api/v1/explain/never-seen", &[]).status, 404);
}

#[test]
fn an_open_circuit_and_a_limit_are_named_as_what_kept_a_candidate_from_being_asked() {
    let upstream = Upstream::start();
    let more = "strategy = \"fallback\"\n[[limits]]\nlevel = \"model\"\nname = \"fast\"\n\
                requests = { rate = 2, per = \"1h\", burst = 2 }";
    let model = "[[models]]\nname = \"fast\"\ntargets = [{ provider = \"up\", model = \"sim?status=500\" }, \
                 { provider = \"up\", model = \"sim\" }]\n";
    let rest = "[resilience]\ncircuit_breaker_threshold = 1\nretry_base_ms = 1\n";
    let gateway = Gateway::before(&upstream, &format!("{model}{more}\n{rest}"));
    for id in ["first", "second", "third"] {
        gateway.chat_with("fast", id, &[("x-request-id", id)]);
    }
    let state = |id: &str| {
        let told = explained(&gateway, id);
        let states = told["candidates"].as_array().unwrap().iter().map(|seen| seen["state"].clone());
        (states.collect::<Vec<_>>(), told["error"]["kind"].clone())
    };
    assert_eq!(state("first").0, ["asked", "asked"]);
    let (states, error) = state("second");
    assert_eq!((states, error), (vec!["circuit_open".into(), "limited".into()], "rate_limit".into()));
}

#[test]
fn a_follower_is_told_whose_call_answered() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let addr = gateway.addr();
    let body = chat_body("up/sim?ttft=300ms", "same", "");
    std::thread::scope(|scope| {
        let ask = |id| {
            let body = body.as_bytes();
            move || crate::wire::post(addr, "/v1/chat/completions", &[("x-request-id", id)], body)
        };
        let calls = [scope.spawn(ask("one")), scope.spawn(ask("two"))];
        calls.into_iter().for_each(|call| assert_eq!(call.join().unwrap().status, 200));
    });
    assert_eq!(upstream.count("requests"), 1);
    let (one, two) = (explained(&gateway, "one"), explained(&gateway, "two"));
    let (follower, leader) = if one["sharing"] == "joined" { (one, "two") } else { (two, "one") };
    assert_eq!((&follower["sharing"], &follower["followed"]), (&"joined".into(), &leader.into()));
}
