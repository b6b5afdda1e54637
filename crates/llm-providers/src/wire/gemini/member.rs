//! Members by either of their names: Google reads `maxOutputTokens` and `max_output_tokens` alike, and its own clients mix
//! them. Names here are in lower camel case.

use std::borrow::Cow;

use llm_core::Error;

use crate::wire::json::{Kind, Raw};
use crate::wire::read::{self, wrong_value};

/// The object's members.
pub(super) fn members<'a>(raw: Raw<'a>) -> impl Iterator<Item = (Cow<'a, str>, Raw<'a>)> {
    raw.members().map(|(key, value)| (camel(key), value))
}

/// The member `name`, unless it is null; the last one if there are several.
pub(super) fn member<'a>(raw: Raw<'a>, name: &str) -> Option<Raw<'a>> {
    members(raw).filter(|(key, _)| key == name).last().map(|(_, value)| value).filter(|value| !value.is_null())
}

/// The text of the member `name` of an answer.
pub(super) fn text(raw: Raw<'_>, name: &str) -> Option<String> {
    member(raw, name).and_then(Raw::string).map(Cow::into_owned)
}

/// `Some` if the object has no members but those of `names` and null ones.
pub(super) fn only(raw: Raw<'_>, names: &[&str]) -> Option<()> {
    members(raw).all(|(key, value)| value.is_null() || names.contains(&key.as_ref())).then_some(())
}

/// A whole number, which may stand in a string.
pub(super) fn whole(raw: Raw<'_>, path: &str) -> Result<u64, Error> {
    match count(raw) {
        Some(number) => Ok(number),
        None if raw.kind() == Kind::String => Err(wrong_value(path, "it is no whole number in range")),
        None => Err(read::not_whole(raw, path)),
    }
}

pub(super) fn small(raw: Raw<'_>, path: &str) -> Result<u32, Error> {
    u32::try_from(whole(raw, path)?).map_err(|_| wrong_value(path, "it is too large"))
}

/// A whole number that may be negative.
pub(super) fn signed(raw: Raw<'_>, path: &str) -> Result<i64, Error> {
    let number = match raw.kind() {
        Kind::String => raw.string().and_then(|text| text.parse().ok()),
        _ => raw.i64().or_else(|| i64::try_from(raw.u64()?).ok()),
    };
    number.ok_or_else(|| read::not_whole(raw, path))
}

/// The number, if it is whole and not negative.
pub(super) fn count(raw: Raw<'_>) -> Option<u64> {
    match raw.kind() {
        Kind::String => raw.string().and_then(|text| text.parse().ok()),
        _ => raw.u64(),
    }
}

fn camel(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.starts_with('_') || !name.contains('_') {
        return name;
    }
    let mut camel = String::with_capacity(name.len());
    let mut after = false;
    for character in name.chars() {
        match character {
            '_' => after = true,
            _ if after => {
                camel.push(character.to_ascii_uppercase());
                after = false;
            }
            _ => camel.push(character),
        }
    }
    Cow::Owned(camel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_either_spelling() {
        for (name, expected) in [
            ("maxOutputTokens", "maxOutputTokens"),
            ("max_output_tokens", "maxOutputTokens"),
            ("_a_b", "_a_b"),
            ("a_", "a"),
        ] {
            assert_eq!(camel(name.into()), expected);
        }
    }

    #[test]
    fn whole_numbers_may_stand_in_strings() {
        let read = |text: &'static str| whole(Raw::parse(text.as_bytes()).unwrap(), "p").ok();
        let seven = Some(7);
        assert_eq!(
            [read("7"), read("\"7\""), read("7.0"), read("\"x\""), read("-1")],
            [seven, seven, seven, None, None]
        );
    }
}
