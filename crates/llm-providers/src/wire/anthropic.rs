//! Anthropic's messages: requests, answers, streams, errors, and the counting of tokens.

mod block;
mod codec;
mod delta;
mod envelope;
mod error;
mod events;
mod frames;
#[cfg(feature = "vertex")]
mod hosted;
mod model;
mod request;
mod response;
mod translate;
mod usage;

pub use codec::Messages;
pub use envelope::{read_count, read_messages};
pub use events::EventDecoder;
pub use frames::EventEncoder;
#[cfg(feature = "vertex")]
pub(crate) use hosted::{with_version, without_model};
#[cfg(feature = "bedrock")]
pub(crate) use translate::of_objects;
