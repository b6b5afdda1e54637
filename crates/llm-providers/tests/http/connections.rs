//! When a connection is kept, replaced and closed.

use futures_util::StreamExt;
use llm_core::{ErrorKind, Provider, WireBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::upstream::{
    END, FIRST, LAST, STREAM, Then, Upstream, WHOLE, answer, body, call, frames, json, provider, streaming, whole,
    wire, within,
};

/// The connections that the requests of `upstream` came on.
async fn connections(upstream: &Upstream) -> Vec<usize> {
    upstream.rest().await.iter().map(|asked| asked.at.0).collect()
}

#[tokio::test]
async fn a_connection_carries_one_request_after_the_other() {
    let upstream = Upstream::new(|asked| match asked.at.1 % 2 {
        0 => whole(),
        _ => Then::Answer([&streaming(&[FIRST, LAST]), END].concat()),
    })
    .await;
    let provider = upstream.provider();
    for _ in 0..3 {
        assert_eq!(body(&provider).await.unwrap(), WHOLE);
        assert!(frames(&provider).await.unwrap().iter().all(Result::is_ok));
    }
    assert_eq!(connections(&upstream).await, [0; 6]);
}

#[tokio::test]
async fn a_connection_that_the_other_side_gives_up_is_not_used_again() {
    let upstream = Upstream::new(|_| Then::Answer(answer("200 OK", "connection: close\r\n", WHOLE))).await;
    let provider = upstream.provider();
    for _ in 0..3 {
        assert_eq!(body(&provider).await.unwrap(), WHOLE);
    }
    assert_eq!(connections(&upstream).await, [0, 1, 2]);
}

/// The upstream answers the first request of each connection, and closes when a second one comes.
#[tokio::test]
async fn a_kept_connection_found_closed_is_replaced_once() {
    let upstream = Upstream::new(|asked| if asked.at.1 == 0 { whole() } else { Then::Close(Vec::new()) }).await;
    let provider = upstream.provider();
    assert_eq!(body(&provider).await.unwrap(), WHOLE);
    assert_eq!(body(&provider).await.unwrap(), WHOLE);
    let at: Vec<_> = upstream.rest().await.iter().map(|asked| asked.at).collect();
    assert_eq!(at, [(0, 0), (0, 1), (1, 0)]);
}

#[tokio::test]
async fn the_replacement_is_not_replaced() {
    let upstream = Upstream::new(|asked| if asked.at == (0, 0) { whole() } else { Then::Close(Vec::new()) }).await;
    let provider = upstream.provider();
    body(&provider).await.unwrap();
    assert_eq!(body(&provider).await.unwrap_err().kind(), ErrorKind::Connection);
    assert_eq!(connections(&upstream).await, [0, 0, 1]);
}

#[tokio::test]
async fn a_new_connection_that_closes_is_an_error_at_once() {
    let upstream = Upstream::always(Then::Close(Vec::new())).await;
    let error = body(&upstream.provider()).await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Connection, true));
    assert_eq!(connections(&upstream).await, [0]);
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let begun = Then::Close(b"HTTP/1.1 2".to_vec());
    let upstream = Upstream::new(move |asked| if asked.at.1 == 0 { whole() } else { begun.clone() }).await;
    let provider = upstream.provider();
    body(&provider).await.unwrap();
    assert_eq!(body(&provider).await.unwrap_err().kind(), ErrorKind::Connection);
    assert_eq!(connections(&upstream).await, [0, 0]);
}

#[tokio::test]
async fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = body(&provider(&format!("http://{address}/v1"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(!error.message().contains("127.0.0.1"), "{}", error.message());
}

#[tokio::test]
async fn to_drop_a_call_that_waits_is_to_close_its_connection() {
    let upstream = Upstream::always(Then::Watch(Vec::new())).await;
    let provider = upstream.provider();
    let mut waiting = provider.send(call(""));
    tokio::select! {
        _ = &mut waiting => panic!("there is no answer"),
        _ = upstream.next() => {}
    }
    drop(waiting);
    assert_eq!(upstream.left().await, 0);
}

#[tokio::test]
async fn to_drop_a_stream_is_to_close_its_connection() {
    let upstream = Upstream::new(|asked| match asked.at {
        (0, 0) => Then::Watch(streaming(&[FIRST])),
        _ => whole(),
    })
    .await;
    let provider = upstream.provider();
    let WireBody::Frames(mut frames) = wire(&provider, call(STREAM)).await.unwrap().body else { panic!("a stream") };
    assert_eq!(within(frames.next()).await.unwrap().unwrap().bytes, FIRST);
    drop(frames);
    assert_eq!(upstream.left().await, 0);
    body(&provider).await.unwrap();
    assert_eq!(connections(&upstream).await, [0, 1]);
}

#[tokio::test]
async fn calls_at_the_same_time_have_a_connection_each() {
    let upstream = Upstream::always(whole()).await;
    let provider = upstream.provider();
    let all = futures_util::future::join_all((0..8).map(|_| body(&provider))).await;
    assert!(all.iter().all(|answer| answer.as_ref().is_ok_and(|body| body == WHOLE)));
    // They are kept for the next eight.
    let before = connections(&upstream).await.into_iter().max();
    futures_util::future::join_all((0..8).map(|_| body(&provider))).await;
    assert!(connections(&upstream).await.into_iter().max() <= before);
}

#[tokio::test]
async fn an_answer_with_more_than_its_length_does_not_reach_the_next() {
    let long = Then::Answer([json(WHOLE), json(r#"{"not":"asked for"}"#)].concat());
    let upstream = Upstream::new(move |asked| if asked.at.0 == 0 { long.clone() } else { whole() }).await;
    let provider = upstream.provider();
    assert_eq!(body(&provider).await.unwrap(), WHOLE);
    assert_eq!(body(&provider).await.unwrap(), WHOLE);
    assert_eq!(connections(&upstream).await, [0, 1]);
}

#[tokio::test]
async fn heads_before_the_answers_own_are_passed_over() {
    let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let upstream = Upstream::always(Then::Answer([&early[..], &json(WHOLE)].concat())).await;
    let provider = upstream.provider();
    for _ in 0..2 {
        assert_eq!(body(&provider).await.unwrap(), WHOLE);
    }
    assert_eq!(connections(&upstream).await, [0, 0]);
}

#[tokio::test]
async fn an_answer_that_gives_no_length_ends_with_its_connection() {
    let open = [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", WHOLE.as_bytes()].concat();
    let upstream = Upstream::always(Then::Close(open)).await;
    let provider = upstream.provider();
    for _ in 0..2 {
        assert_eq!(body(&provider).await.unwrap(), WHOLE);
    }
    assert_eq!(connections(&upstream).await, [0, 1]);
}

#[tokio::test]
async fn a_long_answer_comes_whole_however_its_length_is_told() {
    let long = format!("{}{WHOLE}", " ".repeat(3 << 20));
    let chunks = long.as_bytes().chunks(70_000).map(|chunk| std::str::from_utf8(chunk).unwrap());
    let chunked = chunks.map(|chunk| format!("{:X}\r\n{chunk}\r\n", chunk.len())).collect::<String>();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{head}{chunked}0\r\nx-trailer: y\r\n\r\n").into_bytes();
    let told = json(&long);
    let upstream = Upstream::new(move |asked| Then::Answer([&told, &chunked][asked.at.1 % 2].clone())).await;
    let provider = upstream.provider();
    for _ in 0..4 {
        assert_eq!(body(&provider).await.unwrap(), long);
    }
    assert_eq!(connections(&upstream).await, [0; 4]);
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = provider(&format!("http://{}/v1", listener.local_addr().unwrap()));
    let answer = [streaming(&[FIRST, LAST]), END.to_vec()].concat();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        for byte in answer {
            socket.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        // Open until the other side has read it.
        let _ = socket.read(&mut [0]).await;
    });
    let frames = within(frames(&provider)).await.unwrap();
    assert_eq!(
        frames.into_iter().map(|frame| frame.unwrap().bytes).collect::<Vec<_>>().concat(),
        [FIRST, LAST].concat().as_bytes()
    );
}

/// The upstream refuses by the head alone, and reads no further.
#[tokio::test]
async fn a_refusal_is_heard_while_the_request_is_still_being_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = provider(&format!("http://{}/v1", listener.local_addr().unwrap()));
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 1024]).await.unwrap();
        socket.write_all(&answer("413 Content Too Large", "", r#"{"error":{"message":"too large"}}"#)).await.unwrap();
        std::future::pending::<()>().await;
    });
    let long = format!(",\"user\":\"{}\"", "x".repeat(24 << 20));
    let error = within(provider.send(call(&long))).await.unwrap_err();
    assert_eq!(error.upstream_status(), Some(413));
}
