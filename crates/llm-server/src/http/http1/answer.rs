//! An answer on its way out: what is ready together is written together.

use std::cell::Cell;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Body as HttpBody;
use llm_core::sync::Mutex;
use llm_providers::http1::{LAST_CHUNK, Outbox, length, names};
use tokio::io::AsyncWrite;

use super::super::body::{Body, BoxResponse};
use super::head::{self, Sends, Terms};
use super::line::Line;

/// What is gathered of small pieces before it is written.
const GATHERED: usize = 16 << 10;

/// From so many bytes on a piece is written from where it lies.
const LARGE: usize = 2 << 10;

thread_local! {
    /// Where what is written next is gathered: a connection whose caller reads holds no buffer.
    static TEXT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An answer.
pub(super) struct Answer {
    /// None once all of it was taken.
    response: Option<BoxResponse>,
    /// Whether its head is still to be written.
    heads: bool,
    terms: Terms,
    sends: Sends,
    /// Whether it ends before its end.
    broken: bool,
    /// What the socket has not taken yet.
    out: Outbox,
    /// Whether it has taken anything since somebody asked.
    taken: bool,
    unflushed: bool,
}

/// What gathering came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    /// More is to come, but not yet.
    AllThereIs,
    Enough,
}

impl Answer {
    /// The answer to a request that asked for it on these `terms`.
    pub(super) fn new(response: BoxResponse, mut terms: Terms) -> Self {
        let sends = sends(&response, terms);
        terms.keeps &= sends != Sends::UntilClose
            && !names(response.headers(), &CONNECTION).any(|word| word.eq_ignore_ascii_case("close"));
        Self {
            response: Some(response),
            heads: true,
            terms,
            sends,
            broken: false,
            out: Outbox::default(),
            taken: false,
            unflushed: false,
        }
    }

    /// Whether another request may follow it.
    pub(super) const fn keeps(&self) -> bool {
        self.terms.keeps && !self.broken
    }

    /// Whether it broke off, which only the connection's end can tell.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the caller has taken anything of it since this was asked last.
    pub(super) const fn take_taken(&mut self) -> bool {
        std::mem::replace(&mut self.taken, false)
    }

    /// Whether it waits for the caller to take what is there.
    pub(super) fn is_stalled(&self) -> bool {
        self.unflushed || !self.out.is_empty()
    }

    /// Writes as far as the body has come and the socket takes it; ready at the end. The line is locked only while it is
    /// written to: the body may be the caller's own, which is read from it.
    pub(super) fn poll<T: AsyncWrite + Unpin>(
        &mut self,
        line: &Mutex<Line<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut waits = false;
        loop {
            if !self.out.is_empty() {
                let left = self.out.len();
                let written = self.out.poll_write(Pin::new(&mut line.lock().socket), cx);
                self.taken |= self.out.len() < left;
                ready!(written)?;
                self.out = Outbox::default();
            }
            if self.unflushed {
                ready!(Pin::new(&mut line.lock().socket).poll_flush(cx))?;
                self.unflushed = false;
            }
            if self.response.is_none() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
            let mut text = TEXT.take();
            text.clear();
            let (gathered, large) = self.gather(&mut text, cx);
            waits = gathered == Gathered::AllThereIs;
            let written = self.write(&text, &large, Pin::new(&mut line.lock().socket), cx);
            TEXT.set(text);
            written?;
        }
    }

    /// Takes of the answer what is there, up to a large piece.
    fn gather(&mut self, text: &mut Vec<u8>, cx: &mut Context<'_>) -> (Gathered, Bytes) {
        if let Some(response) = self.response.as_mut().filter(|_| std::mem::take(&mut self.heads)) {
            let fields = response.body_mut().take_fields();
            head::write(text, response, &fields, self.sends, self.terms);
            // Nobody needs it while the rest comes.
            *response.headers_mut() = HeaderMap::new();
            if matches!(self.sends, Sends::Nothing(_)) {
                self.end(false);
            }
        }
        while text.len() < GATHERED {
            let Some(response) = &mut self.response else { return (Gathered::Enough, Bytes::new()) };
            let data = match Pin::new(response.body_mut()).poll_frame(cx) {
                Poll::Pending => return (Gathered::AllThereIs, Bytes::new()),
                Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(_))) => {
                    self.end(true);
                    return (Gathered::Enough, Bytes::new());
                }
                Poll::Ready(None) => {
                    if self.sends == Sends::Chunks {
                        text.extend_from_slice(LAST_CHUNK);
                    }
                    self.end(matches!(self.sends, Sends::Length(1..)));
                    return (Gathered::Enough, Bytes::new());
                }
            };
            let data = self.framed(text, data);
            if data.len() >= LARGE {
                return (Gathered::Enough, data);
            }
            text.extend_from_slice(&data);
            if self.sends == Sends::Chunks && !data.is_empty() {
                text.extend_from_slice(b"\r\n");
            }
            if self.sends == Sends::Length(0) {
                self.end(false);
            }
        }
        (Gathered::Enough, Bytes::new())
    }

    /// What of a piece is sent, behind what comes before it.
    fn framed(&mut self, text: &mut Vec<u8>, mut data: Bytes) -> Bytes {
        match &mut self.sends {
            Sends::Length(left) => {
                data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= data.len() as u64;
            }
            Sends::Chunks if !data.is_empty() => {
                // Nothing that is written to a vector fails.
                let _ = write!(text, "{:x}\r\n", data.len());
            }
            Sends::Chunks | Sends::UntilClose | Sends::Nothing(_) => {}
        }
        data
    }

    fn end(&mut self, broken: bool) {
        self.response = None;
        self.broken = broken;
    }

    /// Writes what was gathered, once; what is left goes out first next time.
    fn write(
        &mut self,
        text: &[u8],
        large: &Bytes,
        socket: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if text.is_empty() && large.is_empty() {
            return Ok(());
        }
        let tail: &'static [u8] = if self.sends == Sends::Chunks && !large.is_empty() { b"\r\n" } else { b"" };
        // The system takes one piece at less than it takes a list of one.
        let written = if large.is_empty() {
            socket.poll_write(cx, text)
        } else {
            socket.poll_write_vectored(cx, &[text, large, tail].map(IoSlice::new))
        };
        let mut written = match written {
            Poll::Pending => 0,
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(written) => written?,
        };
        self.taken |= written > 0;
        self.unflushed = true;
        if written >= text.len() + large.len() + tail.len() {
            return Ok(());
        }
        let mut rest = |len: usize| {
            let taken = written.min(len);
            written -= taken;
            taken
        };
        self.out.push(Bytes::copy_from_slice(&text[rest(text.len())..]));
        self.out.push(large.slice(rest(large.len())..));
        self.out.push(Bytes::from_static(&tail[rest(tail.len())..]));
        Ok(())
    }
}

/// How the answer's end is known.
fn sends(response: &Response<Body>, terms: Terms) -> Sends {
    let status = response.status();
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return Sends::Nothing(None);
    }
    let known = response.body().size_hint().exact();
    if terms.head_only || status == StatusCode::NOT_MODIFIED {
        return Sends::Nothing(given(response.headers()).or(known.filter(|length| *length > 0)));
    }
    match known.or_else(|| given(response.headers())) {
        Some(length) => Sends::Length(length),
        None if terms.is_old => Sends::UntilClose,
        None => Sends::Chunks,
    }
}

fn given(headers: &HeaderMap) -> Option<u64> {
    length(headers).ok().flatten()
}
