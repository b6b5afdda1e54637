//! The path of a request, in one function: [`Pipeline::handle`].
//!
//! ```text
//! claim ── a finished answer is given, an identical call in flight joined: before limits, so that neither costs quota
//!  route ─ ordered candidates; open circuits are left out
//!   admit ─ the tenant's limit, once a request; before the permit, so that a denial uses up no probe
//!    permit ─ the breaker
//!     send ── the provider, with its four clocks
//!      record ─ one outcome told once: breaker, limit, observer
//! (again, while the attempts and the deadline allow)
//! ```
//!
//! # Limitations
//! Calls in neutral form do not share.
//!
//! # Example
//! See `tests/path.rs` for a scripted provider, and the facade `llmkit` for a client over this path.
mod attempt;
mod builder;
mod circuits;
mod demand;
mod ending;
mod forms;
mod handle;
mod heard;
mod hold;
mod journal;
mod limits;
mod linger;
mod meter;
mod pins;
mod providers;
mod request;
mod retry;
mod routes;
mod share;
mod similar;
mod upstream;

pub use builder::{ConfigError, ModelConfig, PipelineBuilder, ProviderConfig, ProviderKey, TargetConfig};
pub use circuits::Circuit;
pub use demand::Terms;
pub use handle::Pipeline;
pub use journal::{AttemptMade, CandidateSeen, CandidateState, Explanation, Failure};
pub use llm_dedup::{CacheStats, DedupStats, SimilarityConfig, SimilarityStats};
pub use providers::ProviderHealth;
pub use request::{CacheUse, Caller, Reply, Request, Response, Served, Whole};
pub use retry::RetryPolicy;
pub use routes::{DefaultRoute, ModelBalance, ModelTally};
pub use share::SharingConfig;
