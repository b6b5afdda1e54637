//! Google's `generateContent`: requests, answers, streams, errors, and the counting of tokens.

mod array;
#[cfg(feature = "vertex")]
mod bare;
mod chunk;
mod codec;
mod envelope;
mod error;
mod frames;
mod member;
mod model;
mod part;
mod probability;
mod request;
mod response;
mod schema;
mod translate;
mod usage;

pub use array::ArrayEvents;
#[cfg(feature = "vertex")]
pub(crate) use bare::bare_count;
pub use chunk::PartDecoder;
pub use codec::GenerateContent;
pub use envelope::{read_count, read_generate};
pub use frames::PartEncoder;
