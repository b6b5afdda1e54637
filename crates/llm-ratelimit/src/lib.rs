//! Rate limits for LLM traffic.
//!
//! A [`RateLimiter`] answers at once: take the units, or here is how long to wait. Its state is one atomic word
//! (GCRA): no interleaving of callers admits more than the burst and the rate allow.
//!
//! # Limitations
//! One process. Nothing here sleeps but `acquire` (feature `tokio`); any other caller that wants to wait waits as long
//! as [`Denied`] says.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use llm_core::ManualClock;
//! use llm_ratelimit::{Denied, RateLimiter, TokenBucketConfig};
//!
//! let clock = ManualClock::new();
//! let limiter = RateLimiter::new(TokenBucketConfig::new(100, 2)).with_clock(Arc::new(clock.clone()));
//! assert_eq!(limiter.check_n(2), Ok(()));
//! assert_eq!(limiter.check_and_consume(), Err(Denied::Until { wait: Duration::from_millis(10) }));
//! clock.advance(Duration::from_millis(10));
//! assert_eq!(limiter.check_and_consume(), Ok(()));
//! ```
mod account;
mod admission;
mod bucket;
mod budget;
mod cell;
mod config;
mod hierarchy;
mod keyed;
mod limiter;
#[cfg_attr(not(feature = "tokio"), path = "no_line.rs")]
mod line;
mod live;
mod period;
mod quota;
mod rules;
mod scope;
mod shelf;
mod text;
#[cfg(feature = "tower")]
mod tower;

pub use admission::{Admission, Exhausted};
pub use bucket::Denied;
pub use budget::{Budget, OverBudget, Reservation, TokenBudgetConfig};
pub use cell::Cost;
pub use config::{BucketConfig, ConfigError, LimiterConfig, TokenBucketConfig};
pub use hierarchy::{Denial, Headroom, Hierarchy, LimitStats, Room, Tightest};
pub use keyed::{KeyedLimiter, LimiterStats, ModelStats};
pub use limiter::{Charge, RateLimiter};
pub use rules::{CapConfig, LimitConfig, MeterConfig, Resource};
pub use scope::Scope;
#[cfg(feature = "tower")]
pub use tower::{Limited, Passing, RateLimitLayer, RateLimited};
