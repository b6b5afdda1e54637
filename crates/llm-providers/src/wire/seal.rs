//! Google's seals of tool calls in the dialects that have no place for them: a member of the call that clients hand back.

use llm_core::{Dialect, Signature};

use super::json::{Raw, Writer};
use super::read::only;

/// The name of the member.
pub(crate) const MEMBER: &str = "extra_content";

/// The seal in a call's `extra_content`, if there is nothing else in it.
pub(crate) fn read(content: Raw<'_>) -> Option<Signature> {
    only(content, &["google"])?;
    let google = content.member("google")?;
    only(google, &["thought_signature"])?;
    let value = google.member("thought_signature")?.exact_string()?.into_owned();
    Some(Signature { dialect: Dialect::Gemini, value })
}

/// Writes the member of a call that holds `seal`.
pub(crate) fn write(writer: &mut Writer, seal: &str) {
    writer.key(MEMBER).object(|writer| {
        writer.key("google").object(|writer| writer.key("thought_signature").string(seal));
    });
}
