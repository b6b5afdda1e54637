//! OpenAI, and every server that speaks its format.

mod answer;
mod clocks;
mod config;
mod live;
mod provider;

pub use self::config::{ConfigError, OpenAiConfig, Timeouts, check_base_url};
pub use self::provider::OpenAiProvider;
