//! A circuit breaker: stops sending to what fails, and finds out with a few calls when it has recovered.
//!
//! Closed, the circuit counts failures in a row, and their share in a window, and learns how long calls take. Too
//! many failures or a lasting slowness open it, and it refuses everything for a while that doubles with each failed
//! recovery. Then it is half-open: one call may pass, after its success two, then four, each holding a [`Permit`];
//! enough successes close it, too many failures open it again.
//!
//! # Limitations
//! - It counts what it is told: a call that hangs never counts, so time-outs belong inside the call.
//! - A slowness below one deviation is not found, however long it lasts, nor one that grows over thousands of calls:
//!   that is learnt.
//! - A share of failures that random ones merely meet is found when chance has it: at a true share of one half, in
//!   59 % of runs within the first 20 calls.
//! - Latencies of [`HealthMetrics`] are of the last minute; its counts are of all time.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use llm_breaker::{CircuitBreaker, CircuitState, Outcome};
//! use llm_core::{Clock, ManualClock};
//!
//! let clock = ManualClock::new();
//! let breaker = CircuitBreaker::builder().failure_threshold(2).timeout_seconds(60).clock(Arc::new(clock.clone())).build();
//! for _ in 0..2 {
//!     breaker.admit(clock.now())?.record(Outcome::Failure, clock.now());
//! }
//! assert_eq!(breaker.state(), CircuitState::Open);
//! let refused = breaker.admit(clock.now()).unwrap_err();
//! clock.advance(refused.retry_after);
//! let probe = breaker.admit(clock.now())?;
//! assert_eq!(breaker.state(), CircuitState::HalfOpen);
//! # drop(probe);
//! # Ok::<(), llm_breaker::Refused>(())
//! ```
mod anomaly;
mod breaker;
mod builder;
mod circuit;
mod config;
mod health;
#[cfg(feature = "tower")]
mod layer;
mod logarithm;
mod permit;
mod shared;
mod state;
mod timing;
mod window;

pub use anomaly::Scores;
pub use breaker::{CallError, CircuitBreaker, CircuitBreakerStats};
pub use builder::CircuitBreakerBuilder;
pub use config::{Anomaly, CircuitBreakerConfig, ConfigError, FailureRate};
pub use health::HealthMetrics;
#[cfg(feature = "tower")]
pub use layer::{ByResult, CircuitBreakerLayer, CircuitBreakerService, Classify, Guarded};
pub use permit::{Pass, Permit};
pub use state::{CircuitState, Outcome, Refused};
pub use timing::{IntoLatency, Timing};
