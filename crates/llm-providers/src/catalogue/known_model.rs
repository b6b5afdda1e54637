//! An entry of the table.

use llm_core::Price;

/// What is known of a provider's model.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownModel {
    /// Whose model it is: `openai`, `anthropic`, `gemini`, or the name of a provider that speaks the format of one of
    /// these.
    pub provider: String,
    /// Its name, as the provider spells it.
    pub model: String,
    /// Other names of it; `*` stands for any text, or none.
    pub aliases: Vec<String>,
    /// What it is for: `chat`, `embedding`, or another word.
    pub mode: String,
    /// What it costs; none where unknown.
    pub price: Option<Price>,
    /// Input tokens that it takes at most. A hint: providers change it.
    pub max_input: Option<u64>,
    /// Output tokens that it gives at most, reasoning included. A hint, too.
    pub max_output: Option<u64>,
    /// The day from which the price holds, such as `2026-11-22`.
    pub effective_from: Option<String>,
    /// The day on which its provider ends it.
    pub ends: Option<String>,
    /// Where the figures are from.
    pub source: Option<String>,
}
