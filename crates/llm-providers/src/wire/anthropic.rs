//! Anthropic's messages: requests, answers, streams, errors, and the counting of tokens.

mod block;
mod codec;
mod delta;
mod error;
mod events;
mod frames;
mod request;
mod response;
mod translate;
mod usage;

pub use codec::Messages;
pub use events::EventDecoder;
pub use frames::EventEncoder;
