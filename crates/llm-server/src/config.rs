//! The configuration: what is in the file, where values come from, and what is checked of them.

mod amazon;
mod check;
mod environment;
mod file;
mod layers;
mod limits;
mod pending;
mod secret;
mod span;

pub use self::check::Problem;
pub use self::environment::Environment;
pub use self::file::{
    ApiKey, Breaker, Config, Deduplication, Kind, Model, Observability, Preset, PriceText, Prices, Provider,
    ProviderKey, Publisher, RateLimits, Resilience, Scope, SemanticDedup, Server, Strategy, Target, Translation,
};
pub use self::layers::{LoadError, Loaded, Source};
pub use self::limits::{Budget, Level, Limit, Meter};
pub use self::secret::{Secret, SecretError};
pub use self::span::Span;
