//! Finished answers: who is given them, in which form, for how long, and what becomes of their cost.

use crate::process::{Gateway, Upstream, chat_body};
use crate::wire::{Answer, Connection, get, post};

const COLD: &str = ",\"temperature\":0";
const COLD_STREAM: &str = ",\"temperature\":0,\"stream\":true";
const COLD_STREAM_USAGE: &str = ",\"temperature\":0,\"stream\":true,\"stream_options\":{\"include_usage\":true}";

fn ask(gateway: &Gateway, more: &str, headers: &[(&str, &str)]) -> Answer {
    post(gateway.addr(), "/v1/chat/completions", headers, chat_body("up/sim", "same", more).as_bytes())
}

fn cached(answer: &Answer) -> &str {
    answer.header("x-llmkit-cache").unwrap_or_else(|| panic!("{}", answer.text()))
}

#[test]
fn what_is_no_draw_is_answered_once_and_a_draw_where_its_caller_says_so() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let first = ask(&gateway, COLD, &[]);
    let second = ask(&gateway, COLD, &[]);
    assert_eq!((cached(&first), cached(&second), first.body == second.body), ("miss", "hit", true));
    assert_eq!(second.header("x-llmkit-attempts"), Some("0"));
    let draws = [ask(&gateway, "", &[]), ask(&gateway, "", &[])];
    assert_eq!(draws.each_ref().map(cached), ["miss", "miss"]);
    let on = &[("x-llmkit-cache", "on")];
    let draws = [ask(&gateway, "", on), ask(&gateway, "", on), ask(&gateway, "", &[])];
    assert_eq!(draws.each_ref().map(cached), ["miss", "hit", "miss"]);
    assert_eq!(cached(&ask(&gateway, COLD, &[("x-llmkit-cache", "bypass")])), "bypass");
    assert_eq!(upstream.count("requests"), 6);
    let embed = || post(gateway.addr(), "/v1/embeddings", &[], br#"{"model":"up/sim","input":"same"}"#);
    assert_eq!([embed(), embed()].each_ref().map(cached), ["miss", "hit"]);
}

#[test]
fn a_kept_answer_comes_in_the_form_that_is_asked_for() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let whole = ask(&gateway, COLD, &[]);
    let text = whole.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let said = |answer: &Answer| {
        let events = answer.events();
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        let chunks = events.iter().filter_map(|event| serde_json::from_str::<serde_json::Value>(event).ok());
        let pieces =
            chunks.map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned());
        pieces.collect::<String>()
    };
    let stream = ask(&gateway, COLD_STREAM, &[]);
    assert_eq!((cached(&stream), said(&stream)), ("hit", text.clone()));
    assert!(stream.header("content-type").unwrap().starts_with("text/event-stream"));
    assert!(!stream.text().contains("total_tokens"));
    let with_usage = ask(&gateway, COLD_STREAM_USAGE, &[]);
    assert_eq!((cached(&with_usage), said(&with_usage)), ("hit", text));
    assert!(with_usage.text().contains("total_tokens"));
    assert_eq!(upstream.count("requests"), 1);

    // The other way round.
    let gateway = Gateway::before(&upstream, "");
    let stream = ask(&gateway, COLD_STREAM, &[]);
    let again = ask(&gateway, COLD_STREAM, &[]);
    assert_eq!((cached(&stream), cached(&again), stream.body == again.body), ("miss", "hit", true));
    assert!(!stream.text().contains("total_tokens"));
    let whole = ask(&gateway, COLD, &[]);
    assert_eq!((cached(&whole), whole.header("content-type")), ("hit", Some("application/json")));
    assert_eq!(whole.json()["choices"][0]["message"]["content"], said(&stream));
    assert_eq!((whole.json()["object"].as_str(), whole.json()["usage"].is_object()), (Some("chat.completion"), true));
    assert!(ask(&gateway, COLD_STREAM_USAGE, &[]).text().contains("total_tokens"));
    assert_eq!(upstream.count("requests"), 2);
}

#[test]
fn streams_and_whole_answers_share_one_call_in_flight() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let ask = |more: &str| {
        let mut connection = Connection::open(gateway.addr());
        let body = chat_body("up/sim?tokens=30&gap=20ms&ttft=300ms", "same", more);
        connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
        connection
    };
    for (first, second) in [(",\"stream\":true", ""), ("", ",\"stream\":true")] {
        let before = upstream.count("requests");
        let mut leader = ask(first);
        upstream.stats(&format!("requests={}", before + 1));
        let (mut other, mut usage) =
            (ask(second), ask(",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"user\":\"u\""));
        let answers = [&mut leader, &mut other, &mut usage].map(|connection| connection.answer().unwrap());
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.whole));
        assert_eq!(answers.each_ref().map(cached), ["miss", "joined", "joined"]);
        let whole = answers.iter().find(|answer| answer.header("content-type") == Some("application/json")).unwrap();
        assert_eq!(whole.json()["choices"][0]["finish_reason"], "stop");
        assert!(answers[2].text().contains("total_tokens"));
        assert_eq!(upstream.count("requests"), before + 1);
    }
}

#[test]
fn what_is_not_whole_and_good_is_not_kept() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[resilience]\nretry_attempts = 0\ncircuit_breaker_threshold = 100\n");
    for (script, more) in [
        ("status=500", COLD),
        ("truncate", COLD),
        ("status=500", COLD_STREAM),
        ("tokens=20&cut_after=5", COLD_STREAM),
        ("tokens=20&no_done=1&cut_after=19", COLD_STREAM),
    ] {
        let body = chat_body(&format!("up/sim?{script}"), script, more);
        let before = upstream.count("requests");
        for _ in 0..2 {
            let answer = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
            assert_ne!(answer.header("x-llmkit-cache"), Some("hit"), "{script}");
        }
        assert_eq!(upstream.count("requests") - before, 2, "{script}");
    }
    assert_eq!(get(gateway.addr(), "/api/v1/cache/stats", &[]).json()["entries"], 0);
}

#[test]
fn answers_are_forgotten_when_they_are_told_to_be() {
    let upstream = Upstream::start();
    let keys = "[server]\napi_keys = [{ key = \"a\", tenant = \"a\" }, { key = \"b\", tenant = \"b\" }, { key = \"ops\", scopes = [\"admin\"] }]\n";
    let gateway = Gateway::before(&upstream, keys);
    let ask = |key: &str, more: &[(&str, &str)]| {
        let headers: Vec<_> = more.iter().copied().chain([("x-api-key", key)]).collect();
        cached(&ask(&gateway, COLD, &headers)).to_owned()
    };
    // Nobody is given another tenant's.
    assert_eq!([ask("a", &[]), ask("b", &[]), ask("a", &[]), ask("b", &[])], ["miss", "miss", "hit", "hit"]);
    let delete = |query: &str, key: &str| {
        let mut connection = Connection::open(gateway.addr());
        connection.request("DELETE", &format!("/api/v1/cache{query}"), &[("x-api-key", key)], b"");
        connection.answer().unwrap()
    };
    assert_eq!((delete("", "a").status, delete("?all=1", "ops").status), (403, 400));
    assert_eq!(delete("?tenant=a", "ops").json()["forgotten"], 1);
    assert_eq!([ask("a", &[]), ask("b", &[])], ["miss", "hit"]);
    assert_eq!(delete("", "ops").json()["forgotten"], 2);
    assert_eq!(ask("b", &[("x-llmkit-cache-ttl", "0")]), "miss");
    assert_eq!([ask("b", &[]), ask("b", &[("x-llmkit-cache-ttl", "0")])], ["miss", "hit"]);
    let stats = get(gateway.addr(), "/api/v1/cache/stats", &[("x-api-key", "ops")]).json();
    assert_eq!((&stats["enabled"], &stats["hits"], &stats["entries"]), (&true.into(), &4.into(), &1.into()), "{stats}");
    for (name, value) in [("x-llmkit-cache", "maybe"), ("x-llmkit-cache-ttl", "soon")] {
        let refused = post(
            gateway.addr(),
            "/v1/chat/completions",
            &[("x-api-key", "a"), (name, value)],
            chat_body("up/sim", "x", "").as_bytes(),
        );
        assert_eq!((refused.status, refused.error()["param"].as_str()), (400, Some(name)));
    }
}

#[test]
fn a_hit_costs_nothing_and_what_it_saves_is_counted() {
    let upstream = Upstream::start();
    let model = "[[models]]\nname = \"fast\"\n\
                 targets = [{ provider = \"up\", model = \"sim\", price = { input = \"1000\", output = \"1000\" } }]\n\
                 [[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { cap = 1, per = \"1h\" }\n";
    let gateway = Gateway::before(&upstream, model);
    let ask = |id: &str| {
        let body = chat_body("fast", "x", COLD);
        post(gateway.addr(), "/v1/chat/completions", &[("x-request-id", id)], body.as_bytes())
    };
    let first = ask("one");
    let used = first.json()["usage"]["total_tokens"].as_f64().unwrap();
    assert_eq!([ask("two"), ask("three")].each_ref().map(cached), ["hit", "hit"]);
    let metrics = get(gateway.addr(), "/metrics", &[]).text();
    let value = |name: &str| -> f64 {
        let line =
            metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    // A token costs a tenth of a cent.
    assert!((value("llmkit_request_cost_total{provider=\"up\",model=\"fast\"}") - used / 1000.0).abs() < 1e-9);
    assert!((value("llmkit_saved_cost_total") - 2.0 * used / 1000.0).abs() < 1e-9);
    assert_eq!(value("llmkit_shared_requests_total{sharing=\"hit\"}"), 2.0);
    let told = get(gateway.addr(), "/api/v1/explain/three", &[]).json();
    assert_eq!((&told["sharing"], &told["followed"]), (&"hit".into(), &"one".into()));
}

#[test]
fn nothing_is_kept_without_a_window() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[deduplication]\nwindow_s = 0\n");
    let on = &[("x-llmkit-cache", "on")];
    assert_eq!([ask(&gateway, COLD, &[]), ask(&gateway, COLD, on)].each_ref().map(cached), ["miss", "miss"]);
}

const NAMED: (&str, &str) = ("idempotency-key", "order-1");

#[test]
fn a_named_request_is_made_once_and_its_name_is_nobody_elses() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[server]\napi_keys = [\"a\", \"b\"]\n");
    let addr = gateway.addr();
    let ask = |key: &str, text: &str, headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().copied().chain([("x-api-key", key)]).collect();
        post(addr, "/v1/chat/completions", &headers, chat_body("up/sim?ttft=100ms", text, "").as_bytes())
    };
    let together: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..5).map(|_| scope.spawn(|| ask("a", "buy", &[NAMED]))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let again = ask("a", "buy", &[NAMED]);
    assert_eq!((again.status, cached(&again)), (200, "hit"));
    assert!(together.iter().all(|answer| answer.body == again.body));
    assert_eq!(upstream.count("requests"), 1);
    let other = ask("a", "sell", &[NAMED]);
    assert_eq!((other.status, other.error()["code"].as_str()), (409, Some("idempotency_key_reused")));
    assert_eq!(cached(&ask("b", "sell", &[NAMED])), "miss");
    // Sampled answers are kept for their name alone.
    assert_eq!(cached(&ask("a", "buy", &[])), "miss");
    assert_eq!(ask("a", "buy", &[("idempotency-key", "")]).status, 400);
    assert_eq!(ask("a", "buy", &[("last-event-id", "3")]).error()["param"], "last-event-id");
    // What failed is made anew.
    let failing = |text: &str| {
        let body = chat_body("up/sim?fail_first=1,status=400", text, "");
        post(gateway.addr(), "/v1/chat/completions", &[("x-api-key", "a"), ("idempotency-key", "f")], body.as_bytes())
    };
    assert_eq!([failing("x").status, failing("x").status, failing("x").status], [400, 200, 200]);
}

#[test]
fn a_caller_who_was_cut_off_comes_back_to_what_it_has_not_heard_and_pays_once() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?tokens=30&gap=20ms", "same", ",\"stream\":true");
    let plain = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    assert!(!plain.text().contains("id: "));
    for (name, left_after) in [("early", 0), ("amid", 7)] {
        let before = upstream.count("requests");
        let named = ("idempotency-key", name);
        let mut first = Connection::open(gateway.addr());
        first.request("POST", "/v1/chat/completions", &[named], body.as_bytes());
        first.head().unwrap();
        let mut heard = String::new();
        for _ in 0..=left_after {
            heard.push_str(&String::from_utf8(first.chunk().unwrap()).unwrap());
        }
        drop(first);
        let last = heard.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
        let back = post(gateway.addr(), "/v1/chat/completions", &[named, ("last-event-id", &last)], body.as_bytes());
        assert_eq!((back.status, cached(&back)), (200, "joined"), "{}", back.text());
        heard.push_str(&back.text());
        let ids: Vec<u64> = heard.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        assert!(heard.ends_with("data: [DONE]\n\n"));
        let whole = post(gateway.addr(), "/v1/chat/completions", &[named], body.as_bytes());
        assert_eq!((cached(&whole), whole.text()), ("hit", heard));
        assert_eq!((upstream.count("requests") - before, upstream.count("cancelled")), (1, 0));
    }
}

#[test]
fn who_has_left_for_longer_than_the_grace_is_not_waited_for() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[deduplication]\nresume_grace = \"50ms\"\n");
    let body = chat_body("up/sim?stall_after=2", "same", ",\"stream\":true");
    let mut first = Connection::open(gateway.addr());
    first.request("POST", "/v1/chat/completions", &[NAMED], body.as_bytes());
    first.head().unwrap();
    drop(first);
    upstream.stats("cancelled=1&active=0");
}

#[test]
fn a_question_that_is_nearly_the_same_is_given_the_same_answer_where_that_is_wanted() {
    let upstream = Upstream::start();
    let keys = "[server]\napi_keys = [\"a\", \"b\"]\n";
    let off = Gateway::before(&upstream, keys);
    let on = Gateway::before(&upstream, &format!("{keys}[semantic_dedup]\nsimilarity_threshold = 3\n"));
    let ask = |gateway: &Gateway, key: &str, text: &str, more: &str| {
        let body = chat_body("up/sim", text, more);
        let answer = post(gateway.addr(), "/v1/chat/completions", &[("x-api-key", key)], body.as_bytes());
        cached(&answer).to_owned()
    };
    const ASKED: &str = "What is the capital of France?";
    const NEARLY: &str = "what is the capital of france";
    assert_eq!([ask(&off, "a", ASKED, COLD), ask(&off, "a", NEARLY, COLD)], ["miss", "miss"]);
    assert_eq!([ask(&on, "a", ASKED, COLD), ask(&on, "a", NEARLY, COLD)], ["miss", "hit"]);
    let tool = ",\"temperature\":0,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";
    for (key, text, more) in [
        ("b", NEARLY, COLD),
        ("a", "What is the capital of Germany?", COLD),
        ("a", "What is the capital of France!", ",\"temperature\":0,\"seed\":1"),
        ("a", "What was the capital of France", ""),
        ("a", ASKED, tool),
        ("a", NEARLY, tool),
    ] {
        assert_eq!(ask(&on, key, text, more), "miss", "{key} {text} {more}");
    }
    let metrics = get(on.addr(), "/metrics", &[]).text();
    assert!(metrics.contains("\ndedup_semantic_hits_total 1\n"), "{metrics}");
    assert!(metrics.contains("\navg_similarity_score 0"), "{metrics}");
}
