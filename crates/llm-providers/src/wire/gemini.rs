//! Google's `generateContent`: requests, answers, streams, errors, and the counting of tokens.

mod array;
mod chunk;
mod codec;
mod error;
mod frames;
mod member;
mod part;
mod probability;
mod request;
mod response;
mod schema;
mod translate;
mod usage;

pub use array::ArrayEvents;
pub use chunk::PartDecoder;
pub use codec::GenerateContent;
pub use frames::PartEncoder;
