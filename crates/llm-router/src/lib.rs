//! Chooses which of several targets answers, and who is asked when it fails.
//!
//! A [`SmartRouter`] takes one decision a request: a [`Plan`], the ordered candidates, by weight, order, cost,
//! latency, reliability or prompt prefix ([`Strategy`]). Its caller says which candidates are usable at the
//! moment, what a request asks for ([`Demand`]), and how each call went ([`Ticket`], [`Observed`]).
//!
//! # Limitations
//! One process: replicas learn apart from one another. An expected time is the target's average and does not
//! grow with the tokens asked for; an expected cost leaves a provider's cache aside. Only callers that hold a
//! [`Ticket`] for each call are spread by the calls in flight. Nothing here makes a call, except
//! `SmartRouter::complete` with the feature `client`, over the providers handed to it.
//!
//! # Example
//! ```
//! use std::time::Duration;
//!
//! use llm_core::Tick;
//! use llm_router::{Demand, Observed, SmartRouter, Strategy, Target};
//!
//! let router = SmartRouter::try_new(Strategy::Weighted, &[Target { weight: 2 }, Target { weight: 1 }])?;
//! let first: Vec<_> = (0..6).map(|_| router.plan().next(|_| true)).collect();
//! assert_eq!(first, [Some(0), Some(1), Some(0), Some(0), Some(1), Some(0)]);
//!
//! let mut plan = router.plan();
//! assert_eq!(plan.next(|target| target != 0), Some(1)); // target 0 is not usable
//! assert_eq!(plan.next(|target| target != 0), None);
//!
//! let router = SmartRouter::builder().add_provider("openai", 0.003).add_provider("groq", 0.0001).build();
//! let now = Tick::from_nanos(3_600_000_000_000);
//! let decision = router.choose(&Demand::default(), now, |_| true)?;
//! assert_eq!(decision.provider, "groq");
//! let ticket = router.begin(decision.index, now);
//! let later = now.after(Duration::from_millis(250));
//! ticket.record(Observed { latency: Duration::from_millis(250), ..Observed::default() }, later);
//! assert_eq!(router.health(later)[1].success_rate, Some(1.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod arbitrage;
#[cfg(feature = "client")]
mod bound;
mod builder;
#[cfg(feature = "client")]
mod client;
mod config;
mod decision;
mod demand;
mod hour;
mod latencies;
mod ledger;
mod list_price;
mod pair;
mod plan;
mod prompt_class;
mod random;
mod rank;
mod reason;
mod scan;
mod score;
mod sequence;
mod smart_router;
mod statistics;
mod table;
mod ticket;

pub use arbitrage::{ArbitrageEngine, ProviderProfile};
pub use builder::{Optimization, SmartRouterBuilder};
pub use config::{ConfigError, RouterConfig, Strategy, Target};
pub use decision::{Candidate, Decision, FallbackChain, RouteError};
pub use demand::Demand;
pub use plan::Plan;
pub use prompt_class::{PromptClass, PromptClassError};
pub use reason::Reason;
pub use smart_router::SmartRouter;
pub use statistics::{Observed, TargetHealth, TargetState};
pub use ticket::Ticket;
