//! Model providers: codecs of their wire formats, the transport that reaches them, and providers that need none.
//!
//! [`wire`] is pure: bytes in, words of `llm_core` out, and back; usable without HTTP.
pub mod wire;

#[cfg(feature = "http")]
mod transport;
#[cfg(feature = "http")]
mod openai;
#[cfg(feature = "sim")]
mod echo;
#[cfg(feature = "sim")]
mod sim;
