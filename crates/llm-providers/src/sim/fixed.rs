//! The answer of a fixed model, encoded once.

use bytes::Bytes;
use llm_core::{Frame, Usage};

use crate::exchange::FrameWriter;
use crate::reply::Reply;
use crate::wire::openai::{IncludeUsage, encode_chat_response};

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
        let frames = |include| {
            let mut writer = FrameWriter::new(include, reply.created);
            let events = reply.clone().events().map(|event| writer.frame(&event));
            events.chain(std::iter::once_with(FrameWriter::done)).collect()
        };
        Self {
            usage: reply.usage,
            tokens: reply.tokens(),
            with_usage: frames(IncludeUsage::Yes),
            without_usage: frames(IncludeUsage::No),
            body: encode_chat_response(&reply.whole()),
        }
    }

    /// The frames of a stream.
    pub(crate) fn frames(&self, include: IncludeUsage) -> &[Frame] {
        match include {
            IncludeUsage::Yes => &self.with_usage,
            IncludeUsage::No => &self.without_usage,
        }
    }
}
