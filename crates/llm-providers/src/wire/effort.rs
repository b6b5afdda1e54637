//! How much a model is to think, between words and tokens.

use llm_core::{CompletionRequest, Error, Thinking};

use super::losses::Losses;
use super::names::{Names, Param};
use super::{Capabilities, ThinkingStyle};

/// What a request says about thinking, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// Nothing.
    Unsaid,
    /// It is not to think.
    Off,
    /// As it sees fit.
    Adaptive,
    /// This much, in OpenAI's words.
    Effort(&'a str),
    /// This many tokens at most.
    Budget(u64),
}

impl<'a> Wanted<'a> {
    /// What `request` says. Where it gives a word beside a number of tokens, the word counts.
    pub(crate) fn by(request: &'a CompletionRequest) -> Self {
        match (request.reasoning_effort.as_deref(), request.thinking) {
            (Some("none"), _) | (_, Some(Thinking::Off)) => Self::Off,
            (Some(word), _) => Self::Effort(word),
            (None, Some(Thinking::Budget(tokens))) => Self::Budget(tokens),
            (None, Some(Thinking::Adaptive)) => Self::Adaptive,
            (None, _) => Self::Unsaid,
        }
    }
}

/// The word by which OpenAI's dialects tell a model how much to think; none where nothing needs to be said.
///
/// # Errors
/// In strict translation, when the model cannot think as it should.
pub(crate) fn in_a_word<'a>(
    request: &'a CompletionRequest,
    capabilities: &Capabilities,
    names: Names<'_>,
    losses: &mut Losses,
) -> Result<Option<&'a str>, Error> {
    if request.thinking == Some(Thinking::BetweenTools) {
        losses.hint(names.param(Param::Thinking));
    }
    let word = match Wanted::by(request) {
        Wanted::Unsaid | Wanted::Adaptive => return Ok(None),
        Wanted::Off => "none",
        Wanted::Effort(word) => word,
        Wanted::Budget(tokens) => word(tokens),
    };
    match (word, capabilities.thinking) {
        // What does not think need not be told not to.
        ("none", ThinkingStyle::None) => Ok(None),
        ("none", _) if !capabilities.thinking_off => {
            losses.reject(names.param(Param::Thinking), "the model always thinks")?;
            Ok(None)
        }
        (_, ThinkingStyle::None) => {
            losses.reject(names.param(Param::ReasoningEffort), "the model does not think")?;
            Ok(None)
        }
        ("xhigh", _) if !capabilities.xhigh => {
            losses.hint(names.param(Param::ReasoningEffort));
            Ok(Some("high"))
        }
        _ => Ok(Some(word)),
    }
}

/// The tokens that a word stands for; `None` for one that nobody here knows.
pub(crate) fn budget(word: &str) -> Option<u64> {
    Some(match word {
        "minimal" | "low" => 1024,
        "medium" => 8192,
        "high" => 24_576,
        "xhigh" | "max" => 32_768,
        _ => return None,
    })
}

/// The word that a number of tokens comes to.
pub(crate) const fn word(budget: u64) -> &'static str {
    match budget {
        0..4096 => "low",
        4096..16_384 => "medium",
        _ => "high",
    }
}
