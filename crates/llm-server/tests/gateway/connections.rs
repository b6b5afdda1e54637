//! What is guarded before a request is one: sizes, times, lengths.

use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::{Connection, get, post};

fn gateway(upstream: &Upstream) -> Gateway {
    let server = "[server]\nmax_body_bytes = 10000\nheader_timeout = \"200ms\"\nbody_idle_timeout = \"200ms\"\n";
    Gateway::start(&config(upstream.0.addr, server), &[])
}

#[test]
fn a_body_that_is_too_large_is_a_413_announced_or_not() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let body = chat_body("up/sim", &"x".repeat(10_000), "");
    let refused = post(gateway.addr(), "/v1/chat/completions", &[], body.as_bytes());
    assert_eq!((refused.status, refused.error()["type"].as_str()), (413, Some("invalid_request_error")));
    let mut connection = Connection::open(gateway.addr());
    connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    connection.send(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes());
    assert_eq!(connection.answer().unwrap().status, 413);
    assert_eq!(upstream.count("requests"), 0);
}

#[test]
fn a_head_that_is_not_finished_in_time_is_cut_off() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for begin in [&b""[..], b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"] {
        let mut connection = Connection::open(gateway.addr());
        connection.send(begin);
        assert!(connection.is_closed());
    }
    // A connection that has been used is given the same time for its next head, once that has begun.
    let mut connection = Connection::open(gateway.addr());
    connection.request("GET", "/livez", &[], b"");
    assert_eq!(connection.answer().unwrap().status, 200);
    connection.send(b"GET /livez HTTP/1.1\r\n");
    assert!(connection.is_closed());
}

#[test]
fn a_body_that_stops_coming_is_a_408() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let mut connection = Connection::open(gateway.addr());
    connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{");
    let answer = connection.answer().unwrap();
    assert_eq!((answer.status, answer.error()["code"].as_str()), (408, Some("request_timeout")));
    assert!(connection.is_closed());
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let mut connection = Connection::open(gateway.addr());
    let long = "x".repeat(200_000);
    connection.try_send(format!("GET /livez HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n").as_bytes());
    assert!(connection.answer().is_none_or(|answer| (400..500).contains(&answer.status)));
    assert_eq!(get(gateway.addr(), "/livez", &[]).status, 200);
}

#[test]
fn a_length_that_is_given_twice_is_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let body = chat_body("up/sim", "x", "");
    for lengths in [
        format!("content-length: {}\r\ntransfer-encoding: chunked", body.len()),
        format!("transfer-encoding: chunked\r\ncontent-length: {}", body.len()),
        format!("content-length: {0}\r\ncontent-length: {0}", body.len()),
        format!("content-length: {}\r\ncontent-length: 3", body.len()),
    ] {
        let mut connection = Connection::open(gateway.addr());
        connection.send(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{lengths}\r\n\r\n{body}").as_bytes());
        assert!(connection.answer().is_none_or(|answer| answer.status == 400), "{lengths}");
    }
    assert_eq!(upstream.count("requests"), 0);
}

#[test]
fn connections_are_kept_and_requests_on_them_answered_in_turn() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let mut connection = Connection::open(gateway.addr());
    for number in 0..20 {
        let body = chat_body("up/sim", &number.to_string(), if number % 2 == 0 { "" } else { ",\"stream\":true" });
        connection.request("POST", "/v1/chat/completions", &[], body.as_bytes());
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.whole), (200, true));
    }
    // Sent together, they are answered one after the other.
    for _ in 0..3 {
        connection.request("GET", "/livez", &[], b"");
    }
    assert!((0..3).all(|_| connection.answer().unwrap().status == 200));
}
