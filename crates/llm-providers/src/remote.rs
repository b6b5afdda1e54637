//! Providers that are reached over HTTP.

mod answer;
mod api;
mod clocks;
mod config;
mod live;
mod provider;

pub use self::api::Api;
pub use self::config::{ConfigError, HttpConfig, Timeouts, check_base_url};
pub use self::provider::HttpProvider;
