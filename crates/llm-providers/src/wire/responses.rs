//! OpenAI's responses: requests, answers, streams and errors.

mod codec;
mod delta;
mod echo;
mod events;
mod frames;
mod item;
mod part;
mod request;
mod response;
mod seal;
mod translate;
mod usage;

pub use codec::Responses;
pub use events::ItemDecoder;
pub use frames::ItemEncoder;
