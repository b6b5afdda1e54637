//! Requests that pass through: what is checked and found in them.

use bytes::Bytes;
use llm_core::{Dialect, Envelope, Error, Operation, Span};

use super::member::member;
use crate::wire::envelope::{same, walk};
use crate::wire::json::Raw;
use crate::wire::read::{Seen, missing};

/// Reads a request for content of `model`, which its path names, as far as needed to route it; `stream` says whether it
/// is `streamGenerateContent`. The body must be strict JSON, an object, with `contents` a non-empty array; what else it
/// says is the provider's to judge.
///
/// # Errors
/// `InvalidRequest`, naming the parameter, or the place where the body stops being JSON.
pub fn read_generate(body: Bytes, model: &str, stream: bool) -> Result<Envelope, Error> {
    read(body, model, stream, Operation::Chat)
}

/// Reads a question for the number of a prompt's tokens as far as needed to route it: of `contents`, or of a
/// `generateContentRequest`.
///
/// # Errors
/// As [`read_generate`].
pub fn read_count(body: Bytes, model: &str) -> Result<Envelope, Error> {
    read(body, model, false, Operation::CountTokens)
}

/// The members that are read here, so that a second one would leave open which of them is meant.
const READ: [&str; 3] = ["contents", "generateContentRequest", "generationConfig"];

/// Whether a member can change the answer. What cannot: labels for the provider's own lists.
fn counts(name: &[u8]) -> bool {
    name != b"labels"
}

fn read(body: Bytes, model: &str, stream: bool, operation: Operation) -> Result<Envelope, Error> {
    let (mut sampled, mut max_output, mut choices) = (operation == Operation::Chat, None, 1);
    let (mut seen, mut asks) = (Seen::default(), false);
    let digest = walk(&body, counts, |name, value| {
        let name = match name {
            "generation_config" => "generationConfig",
            "generate_content_request" => "generateContentRequest",
            name => name,
        };
        seen.note(&READ, name)?;
        match name {
            "contents" => {
                value.list(name)?;
                asks = true;
            }
            "generateContentRequest" => asks |= operation == Operation::CountTokens,
            "generationConfig" => {
                let Some(config) = value.raw() else { return Ok(()) };
                sampled &= member(config, "temperature").and_then(Raw::f64) != Some(0.0);
                max_output = member(config, "maxOutputTokens").and_then(Raw::u64);
                let candidates = member(config, "candidateCount").and_then(Raw::u64);
                choices = candidates.and_then(|count| u32::try_from(count).ok()).unwrap_or(1).max(1);
            }
            _ => {}
        }
        Ok(())
    })?;
    if !asks {
        return Err(missing("contents"));
    }
    Ok(Envelope {
        dialect: Dialect::Gemini,
        operation,
        digest,
        same: |a, b| same(a, b, counts),
        model: Span { start: 0, end: 0 },
        escaped_model: Some(model.into()),
        stream,
        sampled,
        stateful: false,
        // Its streams always tell it.
        wants_usage: true,
        user: None,
        max_output,
        choices,
        ask_usage: None,
        body,
    })
}
