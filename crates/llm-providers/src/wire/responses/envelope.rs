//! Request bodies that pass through: what is checked and found in them.

use bytes::Bytes;
use llm_core::{Dialect, Envelope, Error, Operation, Span};

use crate::wire::envelope::{same, walk};
use crate::wire::json::Kind;
use crate::wire::read::{Seen, wrong_type};

/// The members that are read, of which there must not be two.
const READ: [&str; 9] = [
    "model",
    "input",
    "stream",
    "temperature",
    "max_output_tokens",
    "safety_identifier",
    "user",
    "background",
    "conversation",
];

/// Whether a member can change the answer. All can but for how it travels: an answer repeats its request's `user`,
/// `metadata` and the like, so that callers who differ in them cannot share one.
fn counts(name: &[u8]) -> bool {
    !matches!(name, b"stream" | b"stream_options")
}

/// Reads a request as far as needed to route it. The body must be strict JSON, an object, with `model` a non-empty
/// string, `input`, where it is given, a string or an array, and `stream` a boolean; what else it says is the provider's
/// to judge. A stream tells its usage unasked.
///
/// # Errors
/// `InvalidRequest`, naming the parameter, or the place where the body stops being JSON.
pub fn read_responses(body: Bytes) -> Result<Envelope, Error> {
    let (mut model, mut escaped_model) = (Span { start: 0, end: 0 }, None);
    let (mut stream, mut sampled, mut stateful, mut max_output) = (false, true, false, None);
    let (mut user, mut identifier, mut seen) = (None, None, Seen::default());
    let digest = walk(&body, counts, |name, value| {
        seen.note(&READ, name)?;
        match name {
            "model" => (model, escaped_model) = (value.span(), value.model()?),
            "input" if !matches!(value.kind(), Kind::String | Kind::Array | Kind::Null) => {
                return Err(wrong_type(name, "a string or an array of objects", value.kind()));
            }
            "stream" => stream = value.boolean(name)?,
            "temperature" => sampled = value.draws(),
            "max_output_tokens" => max_output = value.whole(),
            "safety_identifier" => identifier = value.text(),
            "user" => user = value.text(),
            "background" => stateful |= value.kind() == Kind::True,
            "conversation" => stateful |= value.kind() != Kind::Null,
            _ => {}
        }
        Ok(())
    })?;
    seen.require(&READ, "model")?;
    Ok(Envelope {
        dialect: Dialect::OpenAiResponses,
        operation: Operation::Chat,
        digest,
        same: same_responses,
        model,
        escaped_model,
        stream,
        sampled,
        stateful,
        wants_usage: stream,
        user: identifier.or(user),
        max_output,
        choices: 1,
        ask_usage: None,
        body,
    })
}

/// Whether `a` and `b`, bodies that [`read_responses`] has accepted, ask the same: in all but `stream` and
/// `stream_options`.
#[must_use]
pub fn same_responses(a: &[u8], b: &[u8]) -> bool {
    same(a, b, counts)
}
