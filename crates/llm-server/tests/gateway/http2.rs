//! HTTP/2 without encryption, as a caller that knows of it speaks it; encrypted it is the same behind the handshake.

use futures_util::StreamExt;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use tokio::net::TcpStream;

use crate::caller::{Caller, in_pieces, text, whole, within};
use crate::process::{Gateway, Upstream, chat_body, config};
use crate::wire::post;

const STREAM: &str = ",\"stream\":true";

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_a_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let caller = Caller::plain(gateway.addr()).await;
    // More than run at once on one connection; the others wait for their turn.
    let answers = join_all((0..300).map(|number| {
        let mut caller = caller.clone();
        async move {
            let body = chat_body("up/sim?ttft=100ms,tokens=5", &number.to_string(), [STREAM, ""][number % 2]);
            let answer = caller.chat(&body).await;
            (answer.status().as_u16(), text(answer).await)
        }
    }))
    .await;
    for (number, (status, text)) in answers.iter().enumerate() {
        assert_eq!(*status, 200, "{text}");
        assert_eq!(text.ends_with("data: [DONE]\n\n"), number % 2 == 0, "{text}");
    }
    assert_eq!(upstream.count("requests"), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_same_as_over_http1() {
    // Twins give the same answers, for their seeds are the same.
    let twins = [Upstream::start(), Upstream::start()];
    let [one, other] = twins.each_ref().map(|upstream| Gateway::before(upstream, ""));
    let mut caller = Caller::plain(other.addr()).await;
    for more in [STREAM, ""] {
        let body = chat_body("up/sim?reply=one two three", "x", more);
        let named = [("x-request-id", "same")];
        let old = post(one.addr(), "/v1/chat/completions", &named, body.as_bytes());
        let new = caller.send("/v1/chat/completions", &named, whole(&body)).await.unwrap();
        assert_eq!(new.status().as_u16(), old.status);
        for (name, value) in new.headers() {
            if !["date", "x-llmkit-overhead-us"].contains(&name.as_str()) {
                assert_eq!(value.to_str().ok(), old.header(name.as_str()), "{name}");
            }
        }
        // All that is missing is what belongs to HTTP/1's own framing.
        let framing = usize::from(old.header("transfer-encoding").is_some());
        assert_eq!(new.headers().len() + framing, old.count_of_headers());
        assert_eq!(text(new).await, old.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_says_of_an_answer_is_in_its_head() {
    let upstream = Upstream::start();
    let limit = "[[limits]]\nlevel = \"key\"\nname = \"*\"\nrequests = { cap = 100, per = \"1h\" }\n";
    let gateway = Gateway::before(&upstream, limit);
    let mut caller = Caller::plain(gateway.addr()).await;
    for (more, provider, cache) in
        [(STREAM, "up", "miss"), (",\"temperature\":0", "up", "miss"), (",\"temperature\":0", "up", "hit")]
    {
        let body = chat_body("up/sim", "x", more);
        let answer = caller.send("/v1/chat/completions", &[("x-request-id", "mine")], whole(&body)).await.unwrap();
        assert_eq!(answer.status(), 200);
        let said = |name| {
            let values: Vec<_> = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            values.join(" and ")
        };
        assert_eq!(said("x-request-id"), "mine");
        assert_eq!(said("x-llmkit-provider"), provider);
        assert_eq!(said("x-llmkit-cache"), cache);
        assert_eq!(said("x-ratelimit-limit-requests"), "100");
        text(answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_told_and_cost_no_connection() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::start(&config(upstream.0.addr, "[server]\napi_keys = [\"k\"]\nmax_body_bytes = 10000\n"), &[]);
    let mut caller = Caller::plain(gateway.addr()).await;
    let key = [("x-api-key", "k")];
    let (small, large) = (chat_body("up/sim", "x", ""), chat_body("up/sim", &"x".repeat(2_000_000), ""));
    for (headers, body, status) in
        [(&[][..], &small, 401), (&key, &large, 413), (&[], &large, 401), (&key, &small, 200)]
    {
        let answer = caller.send("/v1/chat/completions", headers, whole(body)).await.unwrap();
        assert_eq!(answer.status(), status);
        text(answer).await;
    }
    // A length that is not announced is found out.
    let pieces = futures_util::stream::repeat_with(|| Bytes::from(vec![b' '; 4000])).take(1000);
    let answer = caller.send("/v1/chat/completions", &key, in_pieces(pieces)).await.unwrap();
    assert_eq!(answer.status(), 413);
    let long = "x".repeat(100_000);
    let answer = caller.send("/v1/chat/completions", &[("x-api-key", "k"), ("x-long", &long)], whole(&small)).await;
    assert_eq!(answer.unwrap().status(), 431);
    assert_eq!(caller.send("/v1/chat/completions", &key, whole(&small)).await.unwrap().status(), 200);
    assert_eq!(upstream.count("requests"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_a_408_and_costs_no_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&config(upstream.0.addr, "[server]\nbody_idle_timeout = \"200ms\"\n"), &[]);
    let mut caller = Caller::plain(gateway.addr()).await;
    let begun = futures_util::stream::iter([Bytes::from_static(b"{")]);
    let stuck = in_pieces(begun.chain(futures_util::stream::pending()));
    let answer = caller.send("/v1/chat/completions", &[], stuck).await.unwrap();
    assert_eq!(answer.status(), 408);
    assert!(text(answer).await.contains("request_timeout"));
    assert_eq!(caller.chat(&chat_body("up/sim", "x", "")).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_reset_cancels_its_upstream_call_and_no_other() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let mut caller = Caller::plain(gateway.addr()).await;
    let other = caller.chat(&chat_body("up/sim?tokens=30,gap=20ms", "other", STREAM)).await;
    let mut leaving = caller.chat(&chat_body("up/sim?tokens=1000,gap=20ms", "x", STREAM)).await.into_body();
    within(leaving.frame()).await.unwrap().unwrap();
    drop(leaving);
    upstream.stats("cancelled=1&active=1");
    // Before there is an answer, to drop what waits for it is to reset.
    let mut waiting = caller.clone();
    let asked = tokio::spawn(async move { waiting.chat(&chat_body("up/sim?stall", "x", "")).await.status() });
    upstream.stats("requests=3&active=2");
    asked.abort();
    upstream.stats("cancelled=2&active=1");
    assert!(text(other).await.ends_with("data: [DONE]\n\n"));
    assert_eq!((upstream.stats("active=0")["requests"].as_u64(), upstream.count("cancelled")), (Some(3), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_cancels_all_of_its_calls() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let stream = std::net::TcpStream::connect(gateway.addr()).unwrap();
    let kept = stream.try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut caller = Caller::over(TcpStream::from_std(stream).unwrap(), gateway.addr()).await;
    let mut streams = Vec::new();
    for number in 0..10 {
        let body = chat_body("up/sim?tokens=1000,gap=20ms", &number.to_string(), STREAM);
        streams.push(caller.chat(&body).await);
    }
    kept.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(upstream.stats("cancelled=10")["active"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_under_way_are_finished_before_the_end_and_no_more_begun() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    let mut caller = Caller::plain(gateway.addr()).await;
    let idle = Caller::plain(gateway.addr()).await;
    let mut answers = Vec::new();
    for number in 0..5 {
        answers.push(caller.chat(&chat_body("up/sim?tokens=20,gap=20ms", &number.to_string(), STREAM)).await);
    }
    gateway.process.signal("TERM");
    gateway.process.wait_for_line("draining");
    for answer in answers {
        assert!(text(answer).await.ends_with("data: [DONE]\n\n"));
    }
    assert!(caller.send("/v1/chat/completions", &[], whole(&chat_body("up/sim", "late", ""))).await.is_err());
    let (status, _) = gateway.process.wait();
    assert!(status.success());
    drop(idle);
    assert_eq!((upstream.count("requests"), upstream.count("cancelled")), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_its_upstream_and_memory_does_not_grow() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, "");
    assert_eq!(gateway.chat("up/sim?tokens=1", "warm").status, 200);
    let before = gateway.process.resident_kb();
    let mut caller = Caller::plain(gateway.addr()).await;
    let mut slow = Vec::new();
    for number in 0..4 {
        let body = chat_body("up/sim?tokens=1000000", &format!("slow {number}"), STREAM);
        slow.push(caller.chat(&body).await);
    }
    // Nothing of them is read: once their windows are full, the upstream stands still. Others on the connection go on.
    let (mut seen, mut asked) = (0, 1);
    loop {
        for number in 0..50 {
            let answer = caller.chat(&chat_body("up/sim?tokens=1", &number.to_string(), "")).await;
            assert_eq!(answer.status(), 200);
            text(answer).await;
        }
        asked += 50;
        let now = upstream.count("output_tokens") - asked;
        if now <= seen {
            break;
        }
        seen = now;
    }
    assert!(seen < 500_000, "{seen} tokens were sent to readers that read nothing");
    let grown = gateway.process.resident_kb().saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KB more");
    drop(slow);
    upstream.stats("cancelled=4&active=0");
}
