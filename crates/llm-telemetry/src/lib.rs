//! Metrics and logs of LLM traffic.
//!
//! [`Telemetry`] is told by the request's path, through `llm_core::Observer`, what happens, and renders it for
//! Prometheus. [`log`] sets up the process's log lines.
//!
//! # Limitations
//! One registry a [`Telemetry`]; nothing is global but the log subscriber.
//!
//! # Example
//! ```
//! use llm_core::Observer;
//! use llm_telemetry::Telemetry;
//!
//! let telemetry = Telemetry::new();
//! telemetry.target(&"openai".into(), &"fast".into()).attempt_started();
//! let (content_type, text) = telemetry.render(None);
//! assert!(content_type.starts_with("text/plain"));
//! assert!(text.contains("llmkit_request_active{provider=\"openai\"} 1"));
//! ```
mod classic;
mod labels;
pub mod log;
mod registry;

pub use registry::Telemetry;
