//! Chooses which of several targets answers, and who is asked when it fails.
//!
//! A [`SmartRouter`] takes one decision a request: a [`Plan`], the ordered candidates. It makes no calls; its
//! caller says which candidates are usable at the moment.
//!
//! # Example
//! ```
//! use llm_router::{SmartRouter, Strategy, Target};
//!
//! let router = SmartRouter::try_new(Strategy::Weighted, &[Target { weight: 2 }, Target { weight: 1 }])?;
//! let first: Vec<_> = (0..6).map(|_| router.plan().next(|_| true)).collect();
//! assert_eq!(first, [Some(0), Some(1), Some(0), Some(0), Some(1), Some(0)]);
//!
//! let mut plan = router.plan();
//! assert_eq!(plan.next(|target| target != 0), Some(1)); // target 0 is not usable
//! assert_eq!(plan.next(|target| target != 0), None);
//! # Ok::<(), llm_router::ConfigError>(())
//! ```
mod plan;
mod sequence;
mod smart_router;

pub use plan::Plan;
pub use smart_router::{ConfigError, SmartRouter, Strategy, Target};
