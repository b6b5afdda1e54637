//! What a provider's model takes, as data.

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;

/// Whom a request is written for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model, as the provider spells it.
    pub model: &'a str,
    /// What the model takes.
    pub capabilities: &'a Capabilities,
    /// Output tokens that the model gives at most, where that is known: the cap of a request that gives none, in dialects
    /// that need one (Anthropic).
    pub max_output: Option<u64>,
    /// Whether the answer is to come as a stream. Its usage is asked for where the provider can tell it.
    pub stream: bool,
}

/// What a model takes. The default is an OpenAI model of the day in its own dialect, an Anthropic or a Gemini one in
/// theirs; presets of kinds and tables of models say what differs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// The name of the cap on tokens (OpenAI). Default `max_completion_tokens`.
    pub max_tokens_field: MaxTokensField,
    /// The cap where the caller gave none, the dialect needs one (Anthropic), and nobody knows what the model gives at
    /// most. Default 4096.
    pub default_max_tokens: u64,
    /// Whether `temperature` and `top_p` are taken. Default true.
    pub sampling: bool,
    /// Whether `top_k` is taken. Default: in Anthropic's and Gemini's dialect, not in OpenAI's.
    pub top_k: Option<bool>,
    /// Whether a stream can tell its usage when asked (OpenAI). Default true.
    pub include_usage: bool,
    /// Whether answers can be made to follow a schema. Default true.
    pub json_schema: bool,
    /// Most stop texts. Default: 4 in OpenAI's dialect, 5 in Gemini's, any number in Anthropic's.
    pub max_stops: Option<usize>,
    /// How the model is told how much to think.
    pub thinking: ThinkingStyle,
    /// Whether it knows the effort `xhigh`. Default true.
    pub xhigh: bool,
    /// Whether thinking can be turned off. Default true.
    pub thinking_off: bool,
    /// Whether instructions may stand among the messages (Anthropic: `role: system` after a user's turn). Default false.
    pub late_system: bool,
    /// Whether a prompt can be marked for caching (OpenAI: `prompt_cache_breakpoint`). Default false; Anthropic always.
    pub cache_marks: bool,
    /// The member under which thoughts go back to the provider (OpenAI-like: `reasoning_content`, `reasoning`); absent =
    /// they do not. Default absent.
    pub thoughts_field: Option<String>,
    /// Whether seals of other dialects go back to the provider (Gemini's compatible endpoint, routers of many providers:
    /// `extra_content`, `reasoning_details`). Default false.
    pub seals: bool,
    /// Whether the server has OpenAI's responses itself. Default false: they are asked as a chat.
    pub responses: bool,
    /// Whether the server has OpenAI's completions of a prompt itself. Default false: they are asked as a chat.
    pub completions: bool,
    /// The tier that Anthropic's `speed: "fast"` becomes (OpenAI: `fast`); absent = it is refused. Default absent.
    pub fast_tier: Option<String>,
    /// Whether a request may name a tier of service (Anthropic, Gemini: not at Vertex AI). Default true.
    pub service_tier: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            max_tokens_field: MaxTokensField::MaxCompletionTokens,
            default_max_tokens: 4096,
            sampling: true,
            top_k: None,
            include_usage: true,
            json_schema: true,
            max_stops: None,
            thinking: ThinkingStyle::Effort,
            xhigh: true,
            thinking_off: true,
            late_system: false,
            cache_marks: false,
            thoughts_field: None,
            seals: false,
            responses: false,
            completions: false,
            fast_tier: None,
            service_tier: true,
        }
    }
}

/// The name of the cap on tokens in OpenAI's dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// OpenAI's own.
    MaxCompletionTokens,
    /// That of most others.
    MaxTokens,
}

/// How a model is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingStyle {
    /// By a word: OpenAI's `reasoning_effort`, Anthropic's `effort` (4.6 and later), Gemini's `thinkingLevel` (3 and later).
    Effort,
    /// By a number of tokens: Anthropic's `budget_tokens` before 4.6, Gemini's `thinkingBudget` before 3.
    Budget,
    /// It does not think.
    None,
}

/// A request in a provider's dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The body.
    pub body: Bytes,
    /// The fields that were left out, named as their caller wrote them, in order.
    pub dropped: Vec<String>,
}

impl Encoded {
    /// The value of the header `x-llmkit-dropped`: the fields, 4 KiB at most; `None` if nothing was left out.
    #[must_use]
    pub fn dropped_header(&self) -> Option<HeaderValue> {
        const MOST: usize = 4096;
        let mut list = String::new();
        for field in &self.dropped {
            if list.len() + field.len() > MOST {
                list.push_str(",...");
                break;
            }
            if !list.is_empty() {
                list.push(',');
            }
            list.extend(field.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' }));
        }
        if list.is_empty() { None } else { HeaderValue::from_str(&list).ok() }
    }
}
