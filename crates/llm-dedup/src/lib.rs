//! Identical calls in flight become one.
//!
//! [`Flights`] knows what is under way. Who asks the same as somebody before follows that call and gets the
//! same answer; who asks first leads. A flight has no owner: its subscribers drive it by being polled, any of
//! them may leave, and the last to leave cancels it.
//!
//! An answer that is a stream is a [`Broadcast`]: each caller hears all of it from its start, at its own pace.
//!
//! A finished answer may be kept for a while, in a [`ResponseCache`]: who asks the same then is given it. There is no
//! moment between the two in which a second call could start.
//!
//! # Limitations
//! One process. Bodies are the same when their bytes are, or when what made their [`RequestKey`] says so.
//!
//! # Example
//! ```
//! use llm_core::{ModelId, TenantId};
//! use llm_dedup::{Claim, Flights, RequestKey};
//!
//! let flights = Flights::new(1000);
//! let key = || RequestKey::new(TenantId::from("acme"), b"chat fast".as_slice(), b"{}".as_slice());
//! let Claim::Lead(lead) = flights.claim(&key(), None, || Box::pin(async { "answer" })) else { unreachable!() };
//! let Claim::Follow(follower) = flights.claim(&key(), None, || unreachable!()) else { unreachable!() };
//! drop(lead);
//! # futures_util::future::FutureExt::now_or_never(async {
//! assert_eq!(follower.await, Ok("answer"));
//! # }).unwrap();
//! ```
mod aggregator;
mod broadcast;
mod cache;
mod flight;
mod flights;
mod idempotency;
mod key;
#[cfg(all(test, llm_loom))]
mod model;
mod multiplexer;
mod similarity;
mod turn;
mod waiting;

pub use aggregator::{AggStats, CutOff, SessionFeed, SessionListener, StreamAggregator, StreamChunk};
pub use broadcast::{Broadcast, Interrupted, Listener, NoRoom, Publisher};
pub use cache::{CacheConfig, CacheStats, ResponseCache, ResponseCacheBuilder};
pub use flight::Lost;
pub use flights::{Claim, DedupStats, Flights, FlightsBuilder, Keep, Ongoing, Subscriber};
pub use idempotency::{Conflict, IdempotencyKeys};
pub use key::{Fingerprint, RequestKey};
pub use multiplexer::{MultiplexerStats, Opening, StreamingMultiplexer, Subscription};
pub use similarity::{Embedder, Scope, SimilarityConfig, SimilarityIndex, SimilarityStats};
