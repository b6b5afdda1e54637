//! OpenAI's completions of a prompt, from before there was chat.

mod chunk;
mod codec;
mod envelope;
mod frames;
mod probability;
mod request;
mod response;

pub use chunk::TextDecoder;
pub use codec::Completions;
pub use envelope::read_completions;
pub use frames::TextEncoder;
