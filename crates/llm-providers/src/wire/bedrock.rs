//! Amazon Bedrock's `Converse` and `ConverseStream`: requests, answers, streams, errors.
//!
//! A stream is no text: [`EventStream`] cuts it into messages, and gives each as the JSON that its decoder reads.

mod block;
mod codec;
mod error;
mod event_stream;
mod events;
mod frames;
mod request;
mod response;
mod thoughts;
mod translate;
mod turn;
mod usage;

pub use codec::Converse;
pub use event_stream::EventStream;
pub use events::ConverseDecoder;
pub use frames::ConverseEncoder;
pub use request::read_converse;
