//! OpenAI's responses: requests, answers, streams and errors, and what is read of those that pass through.

mod codec;
mod delta;
mod echo;
mod envelope;
mod events;
mod frames;
mod item;
mod kept;
mod part;
mod replay;
mod request;
mod response;
mod seal;
mod stream;
mod translate;
mod usage;

pub use codec::Responses;
pub use envelope::{read_responses, same_responses};
pub use events::ItemDecoder;
pub use frames::ItemEncoder;
pub use kept::{is_stored, previous_response};
pub(in crate::wire) use replay::replay_response;
pub use stream::{ResponseStream, read_answer};
pub(in crate::wire) use usage::read_usage;
