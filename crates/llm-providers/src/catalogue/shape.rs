//! The file's members as they are written.

use serde::{Deserialize, Serialize};

/// The file. Members that nobody here knows are left alone, so that a later version's file can be read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) as_of: Option<String>,
    #[serde(default = "usd")]
    pub(super) currency: String,
    #[serde(default = "million")]
    pub(super) per_tokens: u32,
    pub(super) models: Vec<Entry>,
}

/// An entry. Without a mode it is for chat.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    pub(super) provider: String,
    pub(super) model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aliases: Option<Vec<String>>,
    pub(super) mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cached_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write_long: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio_output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) per_request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) per_search: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tiers: Option<Factors>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) long_prompt: Option<Long>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_input: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_output: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effective_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ends: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
}

/// Factors of service tiers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Factors {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fast: Option<String>,
}

/// What a long prompt costs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Long {
    pub(super) over: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cached_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_write_long: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio_output: Option<String>,
}

/// The one currency there is.
pub(super) fn usd() -> String {
    "USD".to_owned()
}

/// The number of tokens that prices are for unless the file says otherwise.
pub(super) const MILLION: u32 = 1_000_000;

const fn million() -> u32 {
    MILLION
}
