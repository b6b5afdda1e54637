//! Streams: frames as they came, truthful ends, callers that leave and callers that are slow.

use crate::process::{Gateway, Upstream, chat_body};
use crate::wire::{Connection, post};

fn stream(gateway: &Gateway, model: &str, more: &str) -> crate::wire::Answer {
    let body = chat_body(model, "x", &format!(",\"stream\":true{more}"));
    post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes())
}

#[test]
fn frames_are_those_of_the_upstream_byte_for_byte() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let wanted = ",\"stream_options\":{\"include_usage\":true}";
    let answer = stream(&gateway, "up/sim?reply=one two three", wanted);
    assert_eq!((answer.status, answer.whole), (200, true));
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    let body = chat_body("sim?reply=one two three", "x", &format!(",\"stream\":true{wanted}"));
    // Its twin gives the same answer, for its seed is the same.
    let direct = post(Upstream::start().0.addr, "/v1/chat/completions", &[], body.as_bytes());
    assert_eq!(answer.text(), direct.text());
    assert!(answer.text().contains("\"usage\":{"));
    // Who did not ask for the usage does not see the chunk that the gateway asked for.
    let answer = stream(&gateway, "up/sim?reply=one two three", "");
    assert!(!answer.text().contains("\"usage\":{") && answer.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_stream_that_is_cut_ends_with_an_error_and_never_a_made_up_stop() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[resilience]\ncircuit_breaker_threshold = 1000\n");
    for script in ["cut_after=3", "cut_after=3,cut_clean", "tokens=5,no_done,cut_after=5,cut_clean", "error_event=3"] {
        let answer = stream(&gateway, &format!("up/sim?{script}"), "");
        assert_eq!(answer.status, 200, "{script}");
        let events = answer.events();
        let last: serde_json::Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert!(last["error"]["message"].is_string(), "{script}: {last}");
        assert!(!answer.text().contains("[DONE]"), "{script}");
        assert!(answer.whole, "{script}: our own body ends in order");
        assert!(!answer.text().contains("\"finish_reason\":\"stop\""), "{script}");
    }
    // Whose every choice has its finish reason has ended well, whatever became of the marker.
    for script in ["truncate", "no_done"] {
        let answer = stream(&gateway, &format!("up/sim?{script}"), "");
        assert!(answer.whole && answer.text().contains("\"finish_reason\":\"stop\""), "{script}");
        assert!(!answer.text().contains("\"error\""), "{script}: {}", answer.text());
    }
}

#[test]
fn a_stream_that_fails_before_its_first_content_has_a_real_status() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "[resilience]\nretry_attempts = 0\n");
    let answer = stream(&gateway, "up/sim?cut_after=0", "");
    assert_eq!((answer.status, answer.error()["code"].as_str()), (502, Some("upstream_error")));
    let answer = stream(&gateway, "up/sim?status=429,retry_after=3s", "");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("3")));
}

#[test]
fn a_caller_that_leaves_cancels_the_upstream() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    for (number, more) in [(1, ",\"stream\":true"), (2, "")] {
        let model = if number == 1 { "up/sim?tokens=1000,gap=20ms" } else { "up/sim?stall" };
        let mut connection = Connection::open(gateway.addr());
        connection.request("POST", "/v1/chat/completions", &[], chat_body(model, "x", more).as_bytes());
        upstream.stats(&format!("requests={number}&active=1"));
        if number == 1 {
            assert_eq!(connection.head().unwrap().status, 200);
            connection.chunk().unwrap();
        }
        connection.shutdown();
        assert_eq!(upstream.stats(&format!("cancelled={number}"))["active"], 0);
    }
}

#[test]
fn a_slow_reader_slows_its_upstream_and_memory_does_not_grow() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    assert_eq!(gateway.chat("up/sim?tokens=1", "warm").status, 200);
    let before = gateway.process.resident_kb();
    let mut connection = Connection::open(gateway.addr());
    let body = chat_body("up/sim?tokens=1000000", "x", ",\"stream\":true");
    connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
    assert_eq!(connection.head().unwrap().status, 200);
    // Nothing is read: once the sockets are full, the upstream stands still.
    let (mut seen, mut asked) = (0, 1);
    loop {
        for number in 0..50 {
            assert_eq!(gateway.chat("up/sim?tokens=1", &number.to_string()).status, 200);
        }
        asked += 50;
        let now = upstream.count("output_tokens") - asked;
        if now <= seen {
            break;
        }
        seen = now;
    }
    assert!(seen < 500_000, "{seen} tokens were sent to a reader that reads nothing");
    let grown = gateway.process.resident_kb().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KB more");
}
