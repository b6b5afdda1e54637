//! Model providers: codecs of their wire formats, the transport that reaches them, and providers that need none.
//!
//! [`wire`] is pure: bytes in, words of `llm_core` out, and back; usable without HTTP. [`Catalogue`] is what is known of
//! models beforehand: prices and limits.
//!
//! # Limitations
//! Embeddings are OpenAI's alone. Requests go to one address per provider; the way through a proxy is by HTTP, not by
//! SOCKS.
//!
//! # Example
//! ```
//! use llm_providers::wire::openai::{read_chat, splice};
//!
//! let body = r#"{"model": "gpt-5", "messages": [{"role": "user", "content": "2+2?"}], "temperature": 1.0}"#;
//! let envelope = read_chat(body.into())?;
//! assert_eq!(envelope.model_name(), "gpt-5");
//! // What is sent on is the caller's bytes but for the model's name.
//! let sent = splice(&envelope, "o9", false).into_bytes();
//! assert_eq!(sent, body.replace("gpt-5", "o9"));
//! # Ok::<(), llm_core::Error>(())
//! ```
pub mod wire;

mod catalogue;
#[cfg(feature = "sim")]
mod echo;
#[cfg(feature = "sim")]
mod exchange;
mod known_server;
#[cfg(any(feature = "http", feature = "sim"))]
mod prompt;
#[cfg(feature = "http")]
mod remote;
#[cfg(feature = "sim")]
mod reply;
#[cfg(all(feature = "bedrock", any(feature = "http", feature = "sim-server")))]
mod signature;
#[cfg(feature = "sim")]
mod sim;
#[cfg(feature = "http")]
mod transport;
#[cfg(feature = "sim")]
mod vector;
#[cfg(feature = "sim")]
mod words;

pub use catalogue::{Catalogue, CatalogueError, KnownModel};
pub use known_server::KnownServer;

#[cfg(all(feature = "bedrock", feature = "http"))]
pub use remote::AwsCredentials;
#[cfg(feature = "vertex")]
pub use remote::check_service_account;
#[cfg(feature = "http")]
pub use remote::{Api, ConfigError, HttpConfig, HttpProvider, Timeouts, check_base_url};
#[cfg(feature = "http")]
pub use transport::{
    AddressError, Chunks, ConnectOptions, HttpAnswer, HttpRequest, HttpTransport, ProxyConfig, ProxyError, RequestBody,
    Transport,
};

/// What both ends of HTTP/1.1 have in common; outside semver.
#[doc(hidden)]
#[cfg(feature = "http")]
pub use transport::http1;

#[cfg(feature = "sim")]
pub use echo::EchoProvider;
#[cfg(feature = "sim-server")]
pub use sim::SimServer;
#[cfg(feature = "sim")]
pub use sim::{ScriptError, SimConfig, SimCounts, SimProvider, SimScript, SimStats};
