//! How long a provider may take. Time stands still here until everything waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode};
use llm_core::{BoxFuture, Error, ErrorKind};
use llm_providers::{HttpAnswer, HttpConfig, HttpProvider, HttpRequest, Timeouts, Transport};
use tokio::time::{Instant, sleep};

use crate::upstream::{FIRST, LAST, STREAM, WHOLE, call, config};

/// Answers after `head` with pieces, each after its own time in seconds.
#[derive(Clone)]
struct Scripted {
    head: u64,
    kind: &'static str,
    pieces: Vec<(u64, &'static str)>,
}

impl Transport for Scripted {
    fn send(&self, _: Box<HttpRequest>) -> BoxFuture<'_, Result<HttpAnswer, Error>> {
        Box::pin(async {
            sleep(Duration::from_secs(self.head)).await;
            let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static(self.kind))]);
            let pieces = stream::iter(self.pieces.clone()).then(|(wait, piece)| async move {
                sleep(Duration::from_secs(wait)).await;
                Ok(Bytes::from_static(piece.as_bytes()))
            });
            Ok(HttpAnswer { status: StatusCode::OK, headers, chunks: Box::pin(pieces) })
        })
    }
}

const EVENTS: &str = "text/event-stream";
const COMMENT: &str = ": alive\n\n";

/// Defaults: 120 s to the first content, 60 s between, 600 s in all.
fn over(script: Scripted, timeouts: Timeouts) -> HttpProvider {
    let config = HttpConfig { timeouts, ..config("http://up/v1") };
    HttpProvider::over("up", config, Arc::new(script)).unwrap()
}

/// After how many seconds the call ended, and with which error if with one: its kind and the key that it names.
async fn ended(provider: &HttpProvider, more: &str) -> (u64, Option<(ErrorKind, String)>) {
    use llm_core::{Answer, Provider, WireBody};
    let began = Instant::now();
    let error = match provider.send(call(more)).await {
        Err(error) => Some(error),
        Ok(Answer::Wire(answer)) => match answer.body {
            WireBody::Whole { .. } => None,
            WireBody::Frames(frames) => {
                frames.filter_map(|frame| async { frame.err() }).collect::<Vec<_>>().await.pop()
            }
        },
        Ok(_) => panic!("a body is answered with a body"),
    };
    let key = |error: Error| {
        let key = error.message().split_whitespace().find(|word| word.ends_with("_timeout"));
        (error.kind(), key.unwrap_or_default().to_owned())
    };
    (began.elapsed().as_secs(), error.map(key))
}

fn timeout(key: &str) -> Option<(ErrorKind, String)> {
    Some((ErrorKind::Timeout, key.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_slow_but_not_too_slow() {
    for (head, pieces, after, error) in [
        (100, vec![(19, FIRST), (59, LAST)], 178, None),
        // The head alone is no content.
        (121, vec![(0, FIRST)], 120, timeout("first_token_timeout")),
        (100, vec![(21, FIRST)], 120, timeout("first_token_timeout")),
        (0, vec![(1, FIRST), (61, LAST)], 61, timeout("token_gap_timeout")),
        // Comments keep the connection alive, not the caller content.
        (0, vec![(100, COMMENT), (100, FIRST)], 120, timeout("first_token_timeout")),
        (0, vec![(1, FIRST), (40, COMMENT), (40, LAST)], 61, timeout("token_gap_timeout")),
        (0, [vec![(0, FIRST)], vec![(50, FIRST); 20]].concat(), 600, timeout("total_timeout")),
    ] {
        let provider = over(Scripted { head, kind: EVENTS, pieces: pieces.clone() }, Timeouts::default());
        assert_eq!(ended(&provider, STREAM).await, (after, error), "{head} {pieces:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn comments_count_when_they_are_to() {
    let timeouts = Timeouts { comments_reset_timeouts: true, ..Timeouts::default() };
    let pieces = vec![(100, COMMENT), (100, FIRST), (40, COMMENT), (40, LAST)];
    let provider = over(Scripted { head: 0, kind: EVENTS, pieces }, timeouts);
    assert_eq!(ended(&provider, STREAM).await, (280, None));
    // Not for the whole.
    let provider = over(Scripted { head: 0, kind: EVENTS, pieces: vec![(50, COMMENT); 20] }, timeouts);
    assert_eq!(ended(&provider, STREAM).await, (600, timeout("total_timeout")));
}

#[tokio::test(start_paused = true)]
async fn a_whole_answer_has_one_clock() {
    for (head, wait, after, error) in
        [(500, 99, 599, None), (500, 101, 600, timeout("total_timeout")), (601, 0, 600, timeout("total_timeout"))]
    {
        let script = Scripted { head, kind: "application/json", pieces: vec![(wait, WHOLE)] };
        assert_eq!(ended(&over(script, Timeouts::default()), "").await, (after, error), "{head} {wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_has_to_come_in_time_too() {
    let script = Scripted { head: 0, kind: "application/json", pieces: vec![(601, WHOLE)] };
    assert_eq!(ended(&over(script, Timeouts::default()), STREAM).await, (600, timeout("total_timeout")));
}

/// A server that accepts and then is silent in the TLS handshake.
#[tokio::test(start_paused = true)]
async fn connecting_has_its_own_clock() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let provider = HttpProvider::try_new("up", config(&format!("https://{address}/v1"))).unwrap();
    assert_eq!(ended(&provider, "").await, (10, timeout("connect_timeout")));
}
