//! The answer of a fixed model, encoded once.

use bytes::Bytes;
use llm_core::{Frame, Usage};

use crate::exchange::{FrameWriter, Wire};
use crate::reply::Reply;
use crate::wire::openai::encode_chat_response;

/// An answer as bytes, whole and in frames.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) usage: Option<Usage>,
    /// Tokens said.
    pub(crate) tokens: u64,
    pub(crate) body: Bytes,
    /// The frames of a stream whose caller asked for usage, the marker included.
    with_usage: Vec<Frame>,
    /// Those of one whose caller did not.
    without_usage: Vec<Frame>,
}

impl Encoded {
    pub(crate) fn new(reply: Reply) -> Self {
        let frames = |usage| {
            let mut writer = FrameWriter::new(Wire::openai(usage), reply.created);
            let mut frames: Vec<Frame> = reply.clone().events().map(|event| writer.frame(&event)).collect();
            frames.push(writer.done());
            frames
        };
        Self {
            usage: reply.usage,
            tokens: reply.tokens(),
            with_usage: frames(true),
            without_usage: frames(false),
            body: encode_chat_response(&reply.whole()),
        }
    }

    /// The frames of a stream, with its usage or without.
    pub(crate) fn frames(&self, usage: bool) -> &[Frame] {
        if usage { &self.with_usage } else { &self.without_usage }
    }
}
