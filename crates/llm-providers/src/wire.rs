//! Codecs of the wire formats: bytes in, words of `llm_core` out, and back. No I/O, no clock, no runtime.

mod json;

pub mod openai;
pub mod sse;
