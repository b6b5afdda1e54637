//! Model providers: codecs of their wire formats, the transport that reaches them, and providers that need none.
//!
//! [`wire`] is pure: bytes in, words of `llm_core` out, and back; usable without HTTP.
pub mod wire;

#[cfg(feature = "sim")]
mod echo;
#[cfg(feature = "sim")]
mod exchange;
#[cfg(feature = "http")]
mod openai;
#[cfg(feature = "sim")]
mod reply;
#[cfg(feature = "sim")]
mod sim;
#[cfg(feature = "http")]
mod transport;
#[cfg(feature = "sim")]
mod vector;
#[cfg(feature = "sim")]
mod words;

#[cfg(feature = "http")]
pub use openai::{ConfigError, OpenAiConfig, OpenAiProvider, Timeouts, check_base_url};
#[cfg(feature = "http")]
pub use transport::{
    AddressError, Chunks, ConnectOptions, HttpAnswer, HttpRequest, HttpTransport, ProxyConfig, ProxyError, RequestBody,
    Transport,
};

#[cfg(feature = "sim")]
pub use echo::EchoProvider;
#[cfg(feature = "sim-server")]
pub use sim::SimServer;
#[cfg(feature = "sim")]
pub use sim::{ScriptError, SimConfig, SimCounts, SimProvider, SimScript, SimStats};
