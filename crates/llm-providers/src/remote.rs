//! Providers that are reached over HTTP.

mod answer;
mod api;
mod authorizer;
#[cfg(feature = "bedrock")]
mod bedrock;
mod clocks;
mod config;
mod live;
mod provider;
#[cfg(feature = "vertex")]
mod vertex;

pub use self::api::Api;
#[cfg(feature = "bedrock")]
pub use self::bedrock::AwsCredentials;
pub use self::config::{ConfigError, HttpConfig, Timeouts, check_base_url};
pub use self::provider::HttpProvider;
#[cfg(feature = "vertex")]
pub use self::vertex::check_service_account;
