//! The answer of a fixed model as it goes over the wire.

use bytes::Bytes;

use super::head::{self, Framing};
use super::writer::chunk;
use crate::exchange;
use crate::sim::fixed::Encoded;

/// An answer, heads and chunks included.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) whole: Bytes,
    with_usage: Vec<Piece>,
    without_usage: Vec<Piece>,
}

/// What is written at once.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// Whether a token is in it.
    pub(crate) token: bool,
}

impl Served {
    pub(crate) fn new(encoded: &Encoded) -> Self {
        let pieces = |usage| {
            let frames: Vec<_> = encoded.frames(usage).iter().filter(|frame| !frame.bytes.is_empty()).collect();
            let piece = |(at, frame): (usize, &&llm_core::Frame)| {
                let mut bytes = Vec::new();
                if at == 0 {
                    head::write(&mut bytes, 200, &exchange::headers("text/event-stream"), Framing::Chunked, true);
                }
                chunk(&mut bytes, &frame.bytes);
                if at + 1 == frames.len() {
                    chunk(&mut bytes, &[]);
                }
                Piece { bytes: bytes.into(), token: frame.content }
            };
            frames.iter().enumerate().map(piece).collect()
        };
        let mut whole = Vec::new();
        let length = Framing::Length(encoded.body.len());
        head::write(&mut whole, 200, &exchange::headers("application/json"), length, true);
        whole.extend_from_slice(&encoded.body);
        Self { whole: whole.into(), with_usage: pieces(true), without_usage: pieces(false) }
    }

    /// What is written for a stream, piece by piece.
    pub(crate) fn pieces(&self, usage: bool) -> &[Piece] {
        if usage { &self.with_usage } else { &self.without_usage }
    }
}
