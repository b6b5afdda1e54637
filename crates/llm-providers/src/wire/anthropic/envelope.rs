//! Requests that pass through: what is checked and found in them.

use bytes::Bytes;
use llm_core::{Dialect, Envelope, Error, Operation, Span};

use crate::wire::envelope::{same, walk};
use crate::wire::read::Seen;

/// Reads a request for a message as far as needed to route it. The body must be strict JSON, an object, with `model` a
/// non-empty string and `messages` a non-empty array, and `stream`, where it is given, a boolean; what else it says is the
/// provider's to judge.
///
/// # Errors
/// `InvalidRequest`, naming the parameter, or the place where the body stops being JSON.
pub fn read_messages(body: Bytes) -> Result<Envelope, Error> {
    read(body, Operation::Chat)
}

/// Reads a question for the number of a prompt's tokens as far as needed to route it: as [`read_messages`].
///
/// # Errors
/// As [`read_messages`].
pub fn read_count(body: Bytes) -> Result<Envelope, Error> {
    read(body, Operation::CountTokens)
}

/// The members that are read here, so that a second one would leave open which of them is meant.
const READ: [&str; 6] = ["model", "messages", "stream", "temperature", "max_tokens", "metadata"];

/// Whether a member can change the answer. What cannot: how the answer travels, and for whom it is.
fn counts(name: &[u8]) -> bool {
    !matches!(name, b"stream" | b"metadata")
}

fn read(body: Bytes, operation: Operation) -> Result<Envelope, Error> {
    let (mut model, mut escaped_model) = (Span { start: 0, end: 0 }, None);
    let (mut stream, mut sampled, mut max_output, mut user) = (false, operation == Operation::Chat, None, None);
    let mut seen = Seen::default();
    let digest = walk(&body, counts, |name, value| {
        seen.note(&READ, name)?;
        match name {
            "model" => (model, escaped_model) = (value.span(), value.model()?),
            "messages" => value.list(name)?,
            "stream" => stream = value.boolean(name)?,
            "temperature" => sampled = value.draws(),
            "max_tokens" => max_output = value.whole(),
            "metadata" => user = value.span_within("user_id"),
            _ => {}
        }
        Ok(())
    })?;
    seen.require(&READ, "model")?;
    seen.require(&READ, "messages")?;
    Ok(Envelope {
        dialect: Dialect::Anthropic,
        operation,
        digest,
        same: |a, b| same(a, b, counts),
        model,
        escaped_model,
        stream: stream && operation == Operation::Chat,
        sampled,
        stateful: false,
        // Its streams always tell it.
        wants_usage: true,
        user,
        max_output,
        choices: 1,
        ask_usage: None,
        body,
    })
}
