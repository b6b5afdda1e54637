//! Codecs of the wire formats.
pub mod openai;
pub mod sse;
