//! Chat completion requests from what was asked in another dialect, or in none.

use llm_core::{CompletionRequest, Dialect, Error, Json};

use super::request::{IncludeUsage, write_request};
use crate::wire::json::{Kind, Raw};
use crate::wire::losses::Losses;
use crate::wire::names::Names;
use crate::wire::{Encoded, Fate, Level, Strictness, Target, history};

/// Writes `request` for `target`. One that was read from chat goes out as it is, but for what `target` names otherwise.
pub(super) fn encode_request(
    request: &CompletionRequest,
    target: &Target<'_>,
    strictness: Strictness,
) -> Result<Encoded, Error> {
    let usage = if target.capabilities.include_usage { IncludeUsage::Yes } else { IncludeUsage::No };
    let stream = target.stream.then_some(usage);
    if request.origin.is_some_and(|origin| origin.dialect == Dialect::OpenAi) {
        let body = write_request(request, target.model, target.capabilities.max_tokens_field, stream);
        return Ok(Encoded { body, dropped: Vec::new() });
    }
    let names = Names::of(request);
    history::check(request, &names)?;
    let losses = Losses::new(strictness);
    let body = write_request(request, target.model, target.capabilities.max_tokens_field, stream);
    Ok(Encoded { body, dropped: losses.into_dropped() })
}

/// What becomes of a member that only chat knows.
pub(super) fn fate(level: Level, name: &str, value: &Json) -> Fate {
    let raw = Raw::parse(value.as_str().as_bytes());
    let empty = raw.is_ok_and(|raw| match raw.kind() {
        Kind::Object => raw.members().next().is_none(),
        Kind::Array => raw.items().next().is_none(),
        _ => false,
    });
    match (level, name) {
        (
            Level::Request,
            "metadata"
            | "store"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "prompt_cache_options"
            | "prediction"
            | "verbosity",
        ) => Fate::Hint,
        // Only there beside the newer cap, which goes before it.
        (Level::Request, "max_tokens") => Fate::Neutral,
        (Level::Request, "logit_bias") if empty => Fate::Neutral,
        (Level::Request, "logit_bias" | "functions" | "function_call" | "response_format") => Fate::Reject,
        (Level::Request, "modalities") if raw.is_ok_and(|raw| raw.items().all(|item| item.text() == "\"text\"")) => {
            Fate::Neutral
        }
        (Level::Message, "annotations" | "reasoning_details" | "extra_content") => Fate::Hint,
        (Level::Part | Level::Tool, _) => Fate::Reject,
        (Level::Message, _) if empty => Fate::Neutral,
        _ => Fate::Refuse,
    }
}
