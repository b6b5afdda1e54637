//! Request bodies that pass through: what is checked and found in them.

use bytes::Bytes;
use llm_core::{Dialect, Edit, Envelope, Error, Operation, Span};

use crate::wire::envelope::{same, walk};
use crate::wire::json::{Kind, Raw, skip_bom};
use crate::wire::read::{Seen, wrong_type};

/// The members that are read, of which there must not be two.
const READ: [&str; 8] = ["model", "prompt", "stream", "stream_options", "temperature", "max_tokens", "n", "user"];

/// Whether a member can change the answer. What cannot: how the answer travels, and for whom it is.
fn counts(name: &[u8]) -> bool {
    !matches!(name, b"stream" | b"stream_options" | b"user")
}

/// Tokens that an answer has at most where its caller does not say.
const DEFAULT_CAP: u64 = 16;

/// Reads a request as far as needed to route it. The body must be strict JSON, an object, with `model` a non-empty
/// string, `prompt`, where it is given, a string or an array, and `stream` a boolean; what else it says is the provider's
/// to judge.
///
/// # Errors
/// `InvalidRequest`, naming the parameter, or the place where the body stops being JSON.
pub fn read_completions(body: Bytes) -> Result<Envelope, Error> {
    let (mut model, mut escaped_model) = (Span { start: 0, end: 0 }, None);
    let (mut stream, mut sampled, mut max_output, mut choices) = (false, true, None, 1);
    let (mut user, mut prompts, mut options, mut seen) = (None, 1, Options::Absent, Seen::default());
    let digest = walk(&body, counts, |name, value| {
        seen.note(&READ, name)?;
        match name {
            "model" => (model, escaped_model) = (value.span(), value.model()?),
            "prompt" => match value.kind() {
                Kind::String | Kind::Null => {}
                // A list of numbers is one prompt.
                Kind::Array => {
                    let items = value.raw().into_iter().flat_map(Raw::items);
                    prompts = items.filter(|item| item.kind() != Kind::Number).count().max(1);
                }
                kind => return Err(wrong_type(name, "a string or an array", kind)),
            },
            "stream" => stream = value.boolean(name)?,
            "stream_options" => {
                let asked = value.raw().and_then(|raw| raw.member("include_usage"));
                options = match (value.kind(), asked.map(Raw::kind)) {
                    (Kind::Null, _) => Options::Null(value.span()),
                    (Kind::Object, Some(Kind::True)) => Options::Asked,
                    (Kind::Object, None) => Options::Silent(value.span()),
                    (Kind::Object, Some(_)) => Options::Other,
                    (kind, _) => return Err(wrong_type(name, "an object", kind)),
                };
            }
            "temperature" => sampled = value.draws(),
            "max_tokens" => max_output = value.whole(),
            "n" => choices = value.whole().unwrap_or(1),
            "user" => user = value.text(),
            _ => {}
        }
        Ok(())
    })?;
    seen.require(&READ, "model")?;
    let choices = choices.saturating_mul(prompts as u64);
    Ok(Envelope {
        dialect: Dialect::OpenAiCompletions,
        operation: Operation::Chat,
        digest,
        same: |a, b| same(a, b, counts),
        model,
        escaped_model,
        stream,
        sampled,
        stateful: false,
        wants_usage: stream && matches!(options, Options::Asked),
        user,
        max_output: max_output.or(Some(DEFAULT_CAP)),
        choices: u32::try_from(choices).unwrap_or(u32::MAX).max(1),
        ask_usage: options.ask(&body).filter(|_| stream),
        body,
    })
}

/// What was found of `stream_options`.
enum Options {
    Absent,
    Null(Span),
    /// They do not speak of the usage.
    Silent(Span),
    Asked,
    /// They say that it is not wanted.
    Other,
}

impl Options {
    /// The edit that asks for the usage.
    fn ask(&self, body: &[u8]) -> Option<Edit> {
        let insert = |at: u32, with| Some(Edit { at: Span { start: at, end: at }, with });
        match self {
            Self::Absent => {
                let open = skip_bom(body) + memchr::memchr(b'{', &body[skip_bom(body)..])? + 1;
                insert(u32::try_from(open).ok()?, r#""stream_options":{"include_usage":true},"#)
            }
            Self::Null(at) => Some(Edit { at: *at, with: r#"{"include_usage":true}"# }),
            Self::Silent(at) => match body[at.range()].iter().filter(|byte| !byte.is_ascii_whitespace()).count() {
                2 => insert(at.start + 1, r#""include_usage":true"#),
                _ => insert(at.start + 1, r#""include_usage":true,"#),
            },
            Self::Asked | Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::openai::splice;

    #[test]
    fn a_stream_is_made_to_tell_its_usage() {
        for (body, sent) in [
            (
                r#"{"model":"m","prompt":"x","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","prompt":"x","stream":true}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{ }}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true }}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":{"a":1}}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true,"a":1}}"#,
            ),
            (
                r#"{"model":"m","stream":true,"stream_options":null}"#,
                r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (r#"{"model":"m","stream":false}"#, r#"{"model":"m","stream":false}"#),
        ] {
            let envelope = read_completions(body.into()).unwrap();
            assert_eq!(splice(&envelope, "m", true).into_bytes(), sent);
            assert!(!envelope.wants_usage);
        }
        let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let asked = read_completions(asked.into()).unwrap();
        assert!(asked.wants_usage && asked.ask_usage.is_none());
    }

    #[test]
    fn each_prompt_has_its_answers() {
        for (prompt, choices) in [("\"a\"", 2), ("[\"a\",\"b\",\"c\"]", 6), ("[1,2,3]", 2), ("[[1,2],[3]]", 4)] {
            let envelope = read_completions(format!(r#"{{"model":"m","n":2,"prompt":{prompt}}}"#).into()).unwrap();
            assert_eq!((envelope.choices, envelope.max_output), (choices, Some(16)), "{prompt}");
        }
        assert_eq!(read_completions("{\"model\":\"m\",\"prompt\":1}".into()).unwrap_err().param(), Some("prompt"));
    }
}
