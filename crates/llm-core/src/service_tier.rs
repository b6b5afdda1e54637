//! In which of its provider's service tiers a call was answered.

use serde::{Deserialize, Serialize};

/// In which of its provider's service tiers a call was answered: what the answer says, not what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceTier {
    /// At the list price.
    #[default]
    Standard,
    /// As part of a batch.
    Batch,
    /// When there is room.
    Flex,
    /// Before others.
    Priority,
    /// By a faster variant of the model (Anthropic's `speed`).
    Fast,
    /// In one that nobody here knows.
    Other,
}

impl ServiceTier {
    /// The tier that an answer's `service_tier` names.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "auto" | "default" | "standard" | "on_demand" => Self::Standard,
            "batch" => Self::Batch,
            "flex" => Self::Flex,
            // OpenAI's `fast` is another name of it.
            "priority" | "fast" => Self::Priority,
            _ => Self::Other,
        }
    }
}
