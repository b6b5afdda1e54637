//! Identical calls in flight are one call, within a tenant.

use std::thread;

use crate::process::{Gateway, Upstream, chat_body, config, most_files};
use crate::wire::{Connection, get, post};

#[test]
fn identical_calls_in_flight_are_one_upstream_call() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?ttft=3s", "same", "");
    let (addr, same) = (gateway.addr(), body.as_bytes());
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || scope.spawn(move || post(addr, "/v1/chat/completions", &[], same));
        let asked: Vec<_> = (0..50).map(|_| ask()).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(upstream.count("requests"), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    let joined = answers.iter().filter(|answer| answer.header("x-llmkit-cache") == Some("joined")).count();
    let led = answers.iter().filter(|answer| answer.header("x-llmkit-cache") == Some("miss")).count();
    assert_eq!((led, joined), (1, 49));
    // An answer that is a draw is not kept.
    assert_eq!(post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes()).status, 200);
    assert_eq!(upstream.count("requests"), 2);
}

#[test]
fn what_differs_declines_or_belongs_to_another_tenant_is_not_shared() {
    let upstream = Upstream::start();
    let keys = "[server]\napi_keys = [\"one\", \"two\"]\n";
    let gateway = Gateway::start(&config(upstream.0.addr, keys), &[]);
    let same = chat_body("up/sim?ttft=300ms", "same", "");
    let other = chat_body("up/sim?ttft=300ms", "same", ",\"zzz\":1");
    let plain = ("accept", "*/*");
    let requests = [
        ("one", &same, plain),
        ("two", &same, plain),
        ("one", &other, plain),
        ("one", &same, ("x-llmkit-cache", "bypass")),
        ("one", &same, ("openai-beta", "x=1")),
    ];
    thread::scope(|scope| {
        for (key, body, header) in requests {
            let addr = gateway.addr();
            scope.spawn(move || {
                let headers = [header, ("x-api-key", key)];
                let answer = post(addr, "/v1/chat/completions", &headers, body.as_bytes());
                assert_eq!(answer.status, 200);
                assert_ne!(answer.header("x-llmkit-cache"), Some("joined"));
            });
        }
    });
    assert_eq!(upstream.count("requests"), 5);
}

/// Gemini's callers name the model in the path, all others in the body.
#[test]
fn calls_of_different_models_are_not_shared_wherever_the_model_is_named() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"same"}]}],"generationConfig":{"temperature":0}}"#;
    for (cache, calls) in [("miss", 4), ("hit", 4)] {
        for model in ["up/one", "up/two"] {
            let path = format!("/v1beta/models/{}:generateContent", model.replace('/', "%2F"));
            let chat = chat_body(model, "same", ",\"temperature\":0");
            for (path, body) in [(path.as_str(), gemini), ("/v1/chat/completions", &chat)] {
                let answer = post(gateway.addr(), path, &[], body.as_bytes());
                assert_eq!((answer.status, answer.header("x-llmkit-cache")), (200, Some(cache)), "{path} {model}");
            }
        }
        assert_eq!(upstream.count("requests"), calls);
    }
}

/// Labels change no answer, but one that is stored can be found by them.
#[test]
fn calls_that_differ_in_their_labels_are_shared_unless_the_answer_is_stored_with_them() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[semantic_dedup]\n");
    for (store, calls) in [("", 1), (",\"store\":false", 1), (",\"store\":true", 3)] {
        let before = upstream.count("requests");
        thread::scope(|scope| {
            for label in ["a", "b", "c"] {
                let more = format!(",\"metadata\":{{\"label\":\"{label}\"}},\"temperature\":0{store}");
                let body = chat_body("up/sim?ttft=300ms", "What is asked?", &more);
                let addr = gateway.addr();
                scope.spawn(move || {
                    assert_eq!(post(addr, "/v1/chat/completions", &[], body.as_bytes()).status, 200);
                });
            }
        });
        assert_eq!(upstream.count("requests") - before, calls, "{store}");
    }
}

#[test]
fn the_first_caller_may_leave_and_the_last_cancels() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?stall", "same", "");
    let mut first = Connection::open(gateway.addr());
    first.request("POST", "/v1/chat/completions", &[], body.as_bytes());
    upstream.stats("requests=1&active=1");
    let mut second = Connection::open(gateway.addr());
    second.request("POST", "/v1/chat/completions", &[], body.as_bytes());
    while !get(gateway.addr(), "/metrics", &[]).text().contains("llmkit_flights_joined_total 1\n") {}
    first.shutdown();
    assert_eq!(gateway.chat("up/sim", "another").status, 200);
    assert_eq!((upstream.count("active"), upstream.count("cancelled")), (1, 0));
    second.shutdown();
    assert_eq!(upstream.stats("cancelled=1&active=0")["requests"], 2);
}

#[test]
fn sharing_can_be_switched_off_and_limited_to_what_is_no_draw() {
    let upstream = Upstream::start();
    for (section, more, calls) in [
        ("enabled = false", "", 3),
        ("share_sampled = false", "", 3),
        ("share_sampled = false", ",\"temperature\":0", 1),
    ] {
        let gateway = Gateway::before(&upstream, &format!("[deduplication]\n{section}\n"));
        let before = upstream.count("requests");
        let body = chat_body("up/sim?ttft=300ms", "same", more);
        let (addr, same) = (gateway.addr(), body.as_bytes());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(move || assert_eq!(post(addr, "/v1/chat/completions", &[], same).status, 200));
            }
        });
        assert_eq!(upstream.count("requests") - before, calls, "{section}{more}");
    }
}

const STREAM: &str = ",\"stream\":true";

/// 200 at once, then some that come late: one upstream call, and the same bytes for all.
#[test]
fn identical_streams_are_one_upstream_call_and_late_callers_hear_the_start() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?tokens=40&gap=20ms&ttft=300ms", "same", STREAM);
    let (addr, same) = (gateway.addr(), body.as_bytes());
    let ask = || {
        let mut connection = Connection::open(addr);
        connection.request("POST", "/v1/chat/completions", &[], same);
        connection
    };
    let mut callers: Vec<_> = (0..200).map(|_| ask()).collect();
    // Once the first has a token, the stream is under way.
    let first = callers[0].head().unwrap();
    callers.extend((0..20).map(|_| ask()));
    let rest = callers[0].rest(first);
    assert!(rest.whole && rest.events().last().unwrap() == "[DONE]");
    let mut answers = vec![rest];
    for mut caller in callers.drain(1..) {
        let head = caller.head().unwrap();
        answers.push(caller.rest(head));
    }
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    let led = answers.iter().filter(|answer| answer.header("x-llmkit-cache") == Some("miss")).count();
    assert_eq!((led, upstream.count("requests")), (1, 1));
    // A draw that is over is not kept.
    post(addr, "/v1/chat/completions", &[], same);
    assert_eq!(upstream.count("requests"), 2);
}

#[test]
fn streams_of_two_tenants_never_meet() {
    let upstream = Upstream::start();
    let keys = "[server]\napi_keys = [\"one\", \"two\"]\n";
    let gateway = Gateway::start(&config(upstream.0.addr, keys), &[]);
    let stream = chat_body("up/sim?ttft=2s", "same", STREAM);
    thread::scope(|scope| {
        for (key, callers) in [("one", 100), ("two", 100)] {
            for _ in 0..callers {
                let (addr, stream) = (gateway.addr(), &stream);
                scope.spawn(move || {
                    let answer = post(addr, "/v1/chat/completions", &[("x-api-key", key)], stream.as_bytes());
                    assert_eq!((answer.status, answer.whole), (200, true));
                });
            }
        }
    });
    assert_eq!(upstream.count("requests"), 2);
}

/// A thousand come one after the other while the stream goes on: one upstream call, the same bytes for all.
#[test]
fn a_thousand_callers_at_any_moment_of_a_stream_hear_all_of_it() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?tokens=400&gap=10ms", "same", STREAM);
    let callers = 1000.min((most_files() - 200) / 2);
    let mut connections: Vec<_> = (0..callers)
        .map(|_| {
            let mut connection = Connection::open(gateway.addr());
            connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
            connection
        })
        .collect();
    let answers: Vec<_> = connections.iter_mut().map(|connection| connection.answer().unwrap()).collect();
    assert_eq!(upstream.count("requests"), 1, "the stream was over too soon for all to come");
    let first = &answers[0];
    assert!(first.whole && first.events().len() >= 400 && first.events().last().unwrap() == "[DONE]");
    assert!(answers.iter().all(|answer| answer.body == first.body));
}

/// A stream of megabytes, one caller who reads nothing of it: the others hear all, and what is kept is bounded.
#[test]
fn one_who_reads_nothing_holds_a_hundred_up_for_a_while_and_no_memory() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?tokens=36000&ttft=3s", "same", STREAM);
    let ask = || {
        let mut connection = Connection::open(gateway.addr());
        connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
        connection
    };
    let idle = gateway.process.resident_kb();
    let mut slow = ask();
    let readers: Vec<_> = (0..99).map(|_| ask()).collect();
    let most = std::sync::atomic::AtomicU64::new(0);
    let lengths: Vec<_> = thread::scope(|scope| {
        let readers: Vec<_> = readers
            .into_iter()
            .map(|mut connection| {
                scope.spawn(move || {
                    let answer = connection.answer().unwrap();
                    (answer.whole, answer.events().last().cloned().unwrap(), answer.body.len())
                })
            })
            .collect();
        while readers.iter().any(|reader| !reader.is_finished()) {
            most.fetch_max(gateway.process.resident_kb(), std::sync::atomic::Ordering::Relaxed);
            thread::yield_now();
        }
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(lengths.iter().all(|(whole, last, length)| *whole && last == "[DONE]" && *length == lengths[0].2));
    assert!(lengths[0].2 > 5 << 20, "{}", lengths[0].2);
    assert_eq!(upstream.count("requests"), 1);
    // A hundred connections with their buffers, and one log.
    let grown = most.into_inner().saturating_sub(idle);
    assert!(grown < 40 << 10, "{grown} KB");
    assert_eq!(slow.head().unwrap().status, 200);
    let rest = slow.chunks_left();
    assert!(rest.contains("too slowly"), "{}", &rest[rest.len().saturating_sub(300)..]);
}

/// Whoever began the stream may leave at any token: the others hear it to its end, and the last to leave cancels it.
#[test]
fn the_first_of_a_stream_may_leave_and_the_last_cancels() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    const TOKENS: usize = 12;
    for tokens in 0..=TOKENS {
        let body = chat_body("up/sim?tokens=12&gap=30ms", &tokens.to_string(), STREAM);
        let ask = || {
            let mut connection = Connection::open(gateway.addr());
            connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
            connection
        };
        let mut first = ask();
        let head = first.head().unwrap();
        assert_eq!(head.header("x-llmkit-cache"), Some("miss"));
        let mut second = ask();
        let other = second.head().unwrap();
        (0..tokens).for_each(|_| drop(first.chunk()));
        drop(first);
        let heard = second.rest(other);
        assert!(heard.whole && heard.events().last().unwrap() == "[DONE]", "{}", heard.text());
    }
    assert_eq!((upstream.count("requests"), upstream.count("cancelled")), (TOKENS as u64 + 1, 0));
    let body = chat_body("up/sim?stall_after=2", "same", STREAM);
    let mut callers: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = Connection::open(gateway.addr());
            connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
            connection.head().unwrap();
            connection
        })
        .collect();
    callers.truncate(1);
    assert_eq!((upstream.count("active"), upstream.count("cancelled")), (1, 0));
    drop(callers);
    upstream.stats("cancelled=1&active=0");
}

#[test]
fn a_stream_that_breaks_breaks_for_all_who_hear_it() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let body = chat_body("up/sim?tokens=20&gap=20ms&cut_after=10", "same", STREAM);
    let (addr, same) = (gateway.addr(), body.as_bytes());
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || scope.spawn(move || post(addr, "/v1/chat/completions", &[], same));
        let asked: Vec<_> = (0..10).map(|_| ask()).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(upstream.count("requests"), 1);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert!(answers[0].events().last().unwrap().contains("\"error\""), "{}", answers[0].text());
}
