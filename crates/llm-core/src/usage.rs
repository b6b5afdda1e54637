//! Tokens by class. The classes do not overlap, so they can be added and priced one by one.

use serde::{Deserialize, Serialize};

/// What a call used, in tokens. A class is `None` when the provider did not report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input that no cache served, other than sound.
    pub input: u64,
    /// Input in sound that no cache served.
    #[serde(default)]
    pub audio_input: Option<u64>,
    /// Input read from the provider's cache.
    pub cache_read: Option<u64>,
    /// Input written to the provider's cache, for its shortest time.
    pub cache_write: Option<u64>,
    /// Input written to the provider's cache for longer (Anthropic: an hour), which costs more.
    #[serde(default)]
    pub cache_write_long: Option<u64>,
    /// Output other than reasoning and sound.
    pub output: u64,
    /// Output in sound.
    #[serde(default)]
    pub audio_output: Option<u64>,
    /// Output that the model kept to itself.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// All input tokens.
    #[must_use]
    pub const fn input_total(&self) -> u64 {
        self.input
            .saturating_add(or_zero(self.audio_input))
            .saturating_add(or_zero(self.cache_read))
            .saturating_add(self.cache_write_total())
    }

    /// All input tokens written to the provider's cache.
    #[must_use]
    pub const fn cache_write_total(&self) -> u64 {
        or_zero(self.cache_write).saturating_add(or_zero(self.cache_write_long))
    }

    /// All output tokens.
    #[must_use]
    pub const fn output_total(&self) -> u64 {
        self.output.saturating_add(or_zero(self.audio_output)).saturating_add(or_zero(self.reasoning))
    }

    /// All tokens.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.input_total().saturating_add(self.output_total())
    }
}

const fn or_zero(count: Option<u64>) -> u64 {
    match count {
        Some(count) => count,
        None => 0,
    }
}

/// The tokens of a text, estimated: ⌈bytes / 4⌉.
#[must_use]
pub const fn estimate_tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}
