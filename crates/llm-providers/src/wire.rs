//! Codecs of the wire formats: bytes in, words of `llm_core` out, and back. No I/O, no clock, no runtime.
//!
//! [`codec`] gives the [`Codec`] of a dialect. A request of one dialect goes to a provider of another by
//! [`decode_request`](Codec::decode_request) and [`encode_request`](Codec::encode_request); its answer comes back by
//! [`decode_response`](Codec::decode_response) and [`encode_response`](Codec::encode_response), or as a stream through a
//! [`Translator`].
//!
//! # Example
//! ```
//! use llm_core::Dialect;
//! use llm_providers::wire::{Capabilities, Strictness, Target, codec};
//!
//! let chat = codec(Dialect::OpenAi).expect("there is one");
//! let asked = chat.decode_request(br#"{"model": "fast", "messages": [{"role": "user", "content": "2+2?"}]}"#)?;
//! let target = Target { model: "gpt-x", capabilities: &Capabilities::default(), max_output: None, stream: asked.stream };
//! let sent = chat.encode_request(&asked.request, &target, Strictness::Strict)?;
//! assert_eq!(sent.body, r#"{"model":"gpt-x","messages":[{"role":"user","content":"2+2?"}]}"#);
//! # Ok::<(), llm_core::Error>(())
//! ```
mod about;
mod arguments;
mod codec;
mod date;
pub(crate) mod effort;
mod envelope;
mod forms;
mod history;
mod ids;
mod json;
mod losses;
mod names;
mod read;
mod relay;
mod seal;
mod target;
mod text;
pub(crate) mod told;
mod translator;
mod turns;
mod whole;

pub mod anthropic;
#[cfg(feature = "bedrock")]
pub mod bedrock;
pub mod completions;
pub mod gemini;
pub mod openai;
pub mod responses;
pub mod sse;

pub use about::{read_about, read_settings};
pub use codec::{AnswerOptions, Codec, DecodedRequest, Sink, StreamDecoder, StreamEncoder, codec};
pub use date::rfc3339;
pub use forms::{Assembler, replay};
pub use llm_core::Strictness;
pub use losses::{Fate, Level};
pub use relay::Relay;
pub use target::{Capabilities, Encoded, MaxTokensField, Target, ThinkingStyle};
pub use text::Text;
pub use translator::Translator;
pub use whole::{Collector, collect, events};
