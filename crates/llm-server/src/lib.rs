//! The llmkit gateway as a process: configuration, HTTP, commands.
//!
//! [`main`] is the binary `llmkit`; [`config`] is for those who read or write its file.
//!
//! # Limitations
//! Holds no mechanism: what happens to a request is `llm-pipeline`'s, what a provider says is `llm-providers`'.
//!
//! # Example
//! ```
//! use llm_server::config::{Environment, Source};
//!
//! let environment = Environment::from_iter([("LLMKIT_SERVER__LISTEN", "127.0.0.1:9000")]);
//! let loaded = Source { environment, ..Source::default() }.load()?;
//! assert_eq!(loaded.config.server.listen.port(), 9000);
//! # Ok::<(), llm_server::config::LoadError>(())
//! ```
mod app;
mod cli;
mod command;
pub mod config;
mod http;
mod models;
mod process;
mod reload;
mod serve;
mod telemetry;
mod terms;
#[cfg(feature = "tui")]
mod top;
mod unbuilt;

pub use command::main;
