//! The answer of a fixed model, encoded once.

use bytes::Bytes;
use llm_core::{CompletionRequest, Frame, Usage};

use super::simulator::{Simulator, Target};
use crate::exchange::FrameWriter;
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
    /// What `target` answers to every request.
    pub(crate) fn of<'a>(simulator: &Simulator, target: &'a Target) -> &'a Self {
        target.encoded.get_or_init(|| {
            let reply = simulator.reply(target, &CompletionRequest::new(target.model.as_str(), Vec::new()), 0);
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
        })
    }

    /// The frames of a stream.
    pub(crate) fn frames(&self, include: IncludeUsage) -> &[Frame] {
        match include {
            IncludeUsage::Yes => &self.with_usage,
            IncludeUsage::No => &self.without_usage,
        }
    }
}
