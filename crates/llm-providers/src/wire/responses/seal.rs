//! Seals of thoughts in `encrypted_content`: OpenAI's as they are, others' with the name of the dialect that made them,
//! so that they find their way back to it.

use std::borrow::Cow;

use llm_core::{Dialect, Signature};

/// What a seal of another dialect begins with; then its dialect's name, what it seals, and the seal.
const PREFIX: &str = "llmkit:";

/// The dialects that seal thoughts, by the names that stand for them here.
const DIALECTS: [(&str, Dialect); 2] = [("anthropic", Dialect::Anthropic), ("gemini", Dialect::Gemini)];

/// Whether a seal is all there is of a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// A thought whose text may be read, were it only empty.
    Open,
    /// One that its provider holds back.
    Redacted,
}

/// Reads `encrypted_content`. What it seals only a seal of another dialect says; OpenAI's seals say nothing of it.
pub(super) fn read(value: &str) -> (Signature, Option<Of>) {
    let foreign = || {
        let (name, rest) = value.strip_prefix(PREFIX)?.split_once(':')?;
        let (_, dialect) = DIALECTS.into_iter().find(|(known, _)| *known == name)?;
        let (of, value) = rest.split_once(':')?;
        let of = match of {
            "open" => Of::Open,
            "redacted" => Of::Redacted,
            _ => return None,
        };
        Some((Signature { dialect, value: value.to_owned() }, Some(of)))
    };
    foreign().unwrap_or_else(|| (Signature { dialect: Dialect::OpenAiResponses, value: value.to_owned() }, None))
}

/// The seal as `encrypted_content`; `None` for seals of dialects that seal no thoughts.
pub(super) fn write(signature: &Signature, of: Of) -> Option<Cow<'_, str>> {
    if signature.dialect == Dialect::OpenAiResponses {
        return Some(Cow::Borrowed(&signature.value));
    }
    let (name, _) = DIALECTS.into_iter().find(|(_, dialect)| *dialect == signature.dialect)?;
    let of = if of == Of::Redacted { "redacted" } else { "open" };
    Some(Cow::Owned(format!("{PREFIX}{name}:{of}:{}", signature.value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_back_as_it_went_out() {
        for dialect in [Dialect::Anthropic, Dialect::Gemini] {
            for of in [Of::Open, Of::Redacted] {
                let signature = Signature { dialect, value: "a:b==".to_owned() };
                assert_eq!(read(&write(&signature, of).unwrap()), (signature, Some(of)));
            }
        }
        let own = Signature { dialect: Dialect::OpenAiResponses, value: "gAAA==".to_owned() };
        assert_eq!(write(&own, Of::Open).as_deref(), Some("gAAA=="));
        assert_eq!(read("gAAA=="), (own, None));
        assert_eq!(read("llmkit:other:open:x").0.dialect, Dialect::OpenAiResponses);
    }
}
