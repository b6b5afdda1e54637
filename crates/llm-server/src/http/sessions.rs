//! Sessions: the text of an answer for whoever listens beside the one who asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName, header};
use llm_core::sync::Mutex;
use llm_core::{Dialect, Error, ErrorKind, Frame, Frames, StreamEvent, TenantId};
use llm_dedup::{CutOff, SessionFeed, SessionListener, StreamAggregator, StreamChunk};
use llm_pipeline::Reply;
use llm_providers::wire::sse::{DEFAULT_LIMIT, Framer};
use llm_providers::wire::{StreamDecoder, codec};
use serde::Serialize;
use tokio::sync::mpsc;

use super::error::error_frame;
use super::operations::{Inference, Refusal};
use crate::process::Process;

/// The sessions of each tenant, by themselves: none hears another's, nor takes its room.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<TenantId, StreamAggregator>>);

impl Sessions {
    /// The sessions of `tenant`. Tenants are the configuration's, so there are only so many.
    fn of(&self, tenant: &TenantId) -> StreamAggregator {
        self.0.lock().entry(tenant.clone()).or_default().clone()
    }

    /// Tells the text of `reply`, a chat's answer in `dialect`, to the session that its request names in its headers,
    /// as the caller reads it. Without such a header nothing is looked at.
    pub(crate) fn tell(&self, tenant: &TenantId, headers: &HeaderMap, dialect: Dialect, reply: Reply) -> Reply {
        if !headers.contains_key(&X_SESSION_ID) {
            return reply;
        }
        let (Some(session), Some(codec)) = (named(headers), codec(dialect)) else { return reply };
        match reply {
            Reply::Whole(whole) => {
                if let Ok(answer) = codec.decode_response(&whole.bytes)
                    && let Some(feed) = self.of(tenant).begin(session)
                    && feed.feed(&answer.text_content())
                {
                    feed.finish();
                }
                Reply::Whole(whole)
            }
            Reply::Frames { headers, frames } => match self.of(tenant).begin(session) {
                Some(feed) => {
                    let (decoder, framer) = (codec.stream_decoder(), Framer::new(DEFAULT_LIMIT));
                    let frames = Box::pin(Told { frames, teller: Some(Teller { decoder, framer, feed }) });
                    Reply::Frames { headers, frames }
                }
                None => Reply::Frames { headers, frames },
            },
            other => other,
        }
    }
}

/// The session that a request names: 1 to 256 visible ASCII characters. What else the header may hold names none.
fn named(headers: &HeaderMap) -> Option<&str> {
    let name = headers.get(&X_SESSION_ID)?.to_str().ok()?;
    ((1..=256).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())).then_some(name)
}

/// Frames on their way to who asked, whose text a session is told.
struct Told {
    frames: Frames,
    /// None once the answer has ended, or cannot be told any further.
    teller: Option<Teller>,
}

struct Teller {
    decoder: Box<dyn StreamDecoder>,
    framer: Framer,
    feed: SessionFeed,
}

impl Teller {
    /// Tells what `frame` says. Whether it could.
    fn tell(&mut self, frame: &Frame) -> bool {
        self.framer.push(frame.bytes.clone());
        let mut told = true;
        while let Ok(Some(event)) = self.framer.next_event() {
            let fields = event.fields();
            let Some(data) = &fields.data else { continue };
            let feed = &self.feed;
            let read = self.decoder.decode(data, &mut |event| {
                if let StreamEvent::Text { choice: 0, text } = event {
                    told = told && feed.feed(&text.decode());
                }
            });
            if read.is_err() {
                return false;
            }
        }
        told
    }
}

impl Stream for Told {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = ready!(this.frames.poll_next_unpin(cx));
        if let Some(mut teller) = this.teller.take() {
            match &item {
                Some(Ok(frame)) if teller.tell(frame) => {
                    if frame.last {
                        teller.feed.finish();
                    } else {
                        this.teller = Some(teller);
                    }
                }
                // Dropped, it cuts off those who listen.
                Some(_) => {}
                None => teller.feed.finish(),
            }
        }
        Poll::Ready(item)
    }
}

/// `GET /v1/stream/sse`: the answer of the session from its start, or the next one if none is under way.
pub(crate) async fn listen(
    caller: Inference,
    State(process): State<Arc<Process>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Refusal> {
    let Some(session) = named(&headers) else {
        let what = "x-session-id names the session to listen to, in 1 to 256 visible ASCII characters";
        return Err(caller.refuse(Error::new(ErrorKind::InvalidRequest, what).with_param(X_SESSION_ID.as_str())));
    };
    let listener = process.sessions.of(&caller.caller.tenant).listen(session);
    let (pieces, taken) = mpsc::channel(WAITING);
    let draining = async move { process.draining().await };
    tokio::spawn(pass_on(listener, pieces, draining));
    let head = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((head, Body::from_stream(Pieces { taken, ended: false })))
}

/// What a listener is sent.
enum Piece {
    Text(Bytes),
    Silence,
    End,
    Broken(Error),
}

/// Hands on what the session says while the reader takes it. Who takes nothing for a while holds the answer no longer.
async fn pass_on(
    mut listener: SessionListener,
    pieces: mpsc::Sender<Piece>,
    draining: impl Future<Output = ()> + Send,
) {
    let mut draining = pin!(draining);
    let mut begun = false;
    loop {
        let piece = tokio::select! {
            item = listener.next() => match item {
                Some(Ok(chunk)) => text(&chunk),
                Some(Err(CutOff)) => Piece::Broken(Error::new(ErrorKind::StreamInterrupted, CutOff.to_string())),
                None => Piece::End,
            },
            // An answer that has begun is waited for, as the request is that it answers.
            () = &mut draining, if !begun => {
                Piece::Broken(Error::new(ErrorKind::Shed, "the gateway is shutting down"))
            }
            () = pieces.closed() => return,
            () = tokio::time::sleep(SILENCE) => Piece::Silence,
        };
        begun |= matches!(piece, Piece::Text(_));
        let over = matches!(piece, Piece::End | Piece::Broken(_));
        if !matches!(tokio::time::timeout(PATIENCE, pieces.send(piece)).await, Ok(Ok(()))) || over {
            return;
        }
    }
}

fn text(chunk: &StreamChunk) -> Piece {
    #[derive(Serialize)]
    struct Said<'a> {
        text: &'a str,
    }
    let mut event = b"data: ".to_vec();
    serde_json::to_writer(&mut event, &Said { text: &chunk.text }).expect("text can be written to memory");
    event.extend_from_slice(b"\n\n");
    Piece::Text(event.into())
}

/// What a listener reads.
struct Pieces {
    taken: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Stream for Pieces {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let slow = || Piece::Broken(Error::new(ErrorKind::StreamInterrupted, "it was read too slowly"));
        let piece = ready!(this.taken.poll_recv(cx)).unwrap_or_else(slow);
        this.ended = matches!(piece, Piece::End | Piece::Broken(_));
        Poll::Ready(Some(Ok(match piece {
            Piece::Text(event) => event,
            Piece::Silence => Bytes::from_static(b": waiting\n\n"),
            Piece::End => Bytes::from_static(b"data: [DONE]\n\n"),
            Piece::Broken(error) => error_frame(Dialect::OpenAi, &error),
        })))
    }
}

const X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");

/// Pieces that wait for their reader beside those that the session keeps.
const WAITING: usize = 16;

/// A reader who takes nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// After so much silence a comment is sent, which shows whether anybody is still there.
const SILENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn read(taken: mpsc::Receiver<Piece>) -> impl Stream<Item = String> {
        Pieces { taken, ended: false }.map(|bytes| match bytes {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(never) => match never {},
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_given_up_and_told_so() {
        let sessions = StreamAggregator::new();
        let (pieces, taken) = mpsc::channel(WAITING);
        let passing = tokio::spawn(pass_on(sessions.listen("s"), pieces, pending()));
        let feed = sessions.begin("s").unwrap();
        for _ in 0..3 * WAITING {
            assert!(feed.feed("x"));
        }
        let began = tokio::time::Instant::now();
        passing.await.unwrap();
        assert_eq!(began.elapsed(), PATIENCE);
        // The feed is none the worse for it.
        assert!(feed.feed("y"));
        feed.finish();
        let heard: Vec<_> = read(taken).collect().await;
        assert_eq!(heard.len(), WAITING + 1);
        assert!(heard[WAITING].contains("too slowly"), "{}", heard[WAITING]);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_by_comments_and_a_reader_who_leaves_is_not_waited_for() {
        let sessions = StreamAggregator::new();
        let (pieces, taken) = mpsc::channel(WAITING);
        let passing = tokio::spawn(pass_on(sessions.listen("s"), pieces, pending()));
        let began = tokio::time::Instant::now();
        let mut heard = Box::pin(read(taken));
        assert_eq!(heard.next().await.as_deref(), Some(": waiting\n\n"));
        assert_eq!(heard.next().await.as_deref(), Some(": waiting\n\n"));
        assert_eq!(began.elapsed(), 2 * SILENCE);
        drop(heard);
        passing.await.unwrap();
        assert_eq!(began.elapsed(), 2 * SILENCE);
    }
}
