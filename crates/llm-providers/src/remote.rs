//! Providers that are reached over HTTP.

mod answer;
mod api;
mod authorizer;
mod clocks;
mod config;
mod live;
mod provider;
#[cfg(feature = "vertex")]
mod vertex;

pub use self::api::Api;
pub use self::config::{ConfigError, HttpConfig, Timeouts, check_base_url};
pub use self::provider::HttpProvider;
#[cfg(feature = "vertex")]
pub use self::vertex::check_service_account;
