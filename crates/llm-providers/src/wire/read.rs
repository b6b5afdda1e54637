//! The members of requests, read with errors that name them.

use llm_core::{Error, ErrorKind, Json, ModelId};

use super::json::{Kind, Raw};

/// The object that a request body is.
pub(crate) fn object(body: &[u8]) -> Result<Raw<'_>, Error> {
    let raw = Raw::parse(body).map_err(|syntax| {
        Error::new(ErrorKind::InvalidRequest, format!("the body is not valid JSON: {}", syntax.describe(body)))
    })?;
    match raw.kind() {
        Kind::Object => Ok(raw),
        kind => {
            let message = format!("the body must be a JSON object, not {}", kind.name());
            Err(Error::new(ErrorKind::InvalidRequest, message))
        }
    }
}

/// Tells a second one of the keys that count.
#[derive(Debug, Default)]
pub(crate) struct Seen(u64);

impl Seen {
    /// Notes that `name` was met, if it is one of `known`, of which there are 64 at most.
    ///
    /// # Errors
    /// When it was met before.
    pub(crate) fn note(&mut self, known: &[&str], name: &str) -> Result<(), Error> {
        let Some(place) = known.iter().position(|known| *known == name) else { return Ok(()) };
        if self.0 & 1 << place != 0 {
            return Err(duplicate(name));
        }
        self.0 |= 1 << place;
        Ok(())
    }

    /// Checks that `name`, one of `known`, was met.
    ///
    /// # Errors
    /// When it was not.
    pub(crate) fn require(&self, known: &[&str], name: &str) -> Result<(), Error> {
        match known.iter().position(|known| *known == name) {
            Some(place) if self.0 & 1 << place != 0 => Ok(()),
            _ => Err(missing(name)),
        }
    }
}

pub(crate) fn model(raw: Raw<'_>) -> Result<ModelId, Error> {
    let model = string(raw, "model")?;
    if model.is_empty() {
        return Err(wrong_value("model", "it must not be empty"));
    }
    Ok(ModelId::from(model))
}

/// The string's text; half a surrogate pair, which has no form in UTF-8, is refused.
pub(crate) fn string(raw: Raw<'_>, path: &str) -> Result<String, Error> {
    if raw.kind() != Kind::String {
        return Err(wrong_type(path, "a string", raw.kind()));
    }
    let text = raw.exact_string().ok_or_else(|| wrong_value(path, "half a surrogate pair is no character"))?;
    Ok(text.into_owned())
}

/// The text of the member `name` of the object at `path`.
pub(crate) fn text(raw: Raw<'_>, path: &str, name: &str) -> Result<String, Error> {
    let path = format!("{path}.{name}");
    match raw.member(name) {
        Some(value) => string(value, &path),
        None => Err(missing(&path)),
    }
}

pub(crate) fn whole(raw: Raw<'_>, path: &str) -> Result<u64, Error> {
    raw.u64().ok_or_else(|| not_whole(raw, path))
}

pub(crate) fn small(raw: Raw<'_>, path: &str) -> Result<u32, Error> {
    u32::try_from(whole(raw, path)?).map_err(|_| wrong_value(path, "it is too large"))
}

/// The error for a number that is not whole, or for what is no number.
pub(crate) fn not_whole(raw: Raw<'_>, path: &str) -> Error {
    match raw.kind() {
        Kind::Number => wrong_value(path, "it is no whole number in range"),
        kind => wrong_type(path, "a whole number", kind),
    }
}

pub(crate) fn number(raw: Raw<'_>, path: &str) -> Result<f64, Error> {
    raw.f64().ok_or_else(|| match raw.kind() {
        Kind::Number => wrong_value(path, "it is out of range"),
        kind => wrong_type(path, "a number", kind),
    })
}

pub(crate) fn boolean(raw: Raw<'_>, path: &str) -> Result<bool, Error> {
    raw.bool().ok_or_else(|| wrong_type(path, "a boolean", raw.kind()))
}

/// The error for a parameter that is not there.
pub(crate) fn missing(path: &str) -> Error {
    invalid(path, "missing_required_parameter", format!("missing required parameter: '{path}'"))
}

/// The error for a parameter of another type than `expected`.
pub(crate) fn wrong_type(path: &str, expected: &str, got: Kind) -> Error {
    let message = format!("invalid type for '{path}': expected {expected}, got {} instead", got.name());
    invalid(path, "invalid_type", message)
}

/// The error for a parameter whose value cannot be.
pub(crate) fn wrong_value(path: &str, why: &str) -> Error {
    invalid(path, "invalid_value", format!("invalid value for '{path}': {why}"))
}

/// The error for a key that two parsers could read differently.
pub(crate) fn duplicate(path: &str) -> Error {
    wrong_value(path, "the key is given more than once")
}

fn invalid(path: &str, code: &str, message: String) -> Error {
    Error::new(ErrorKind::InvalidRequest, message).with_param(path).with_code(code)
}

/// `Some` if the object has no members but those of `names` and null ones.
pub(crate) fn only(raw: Raw<'_>, names: &[&str]) -> Option<()> {
    raw.members().all(|(key, value)| value.is_null() || names.contains(&key.as_ref())).then_some(())
}

/// Keeps a value that only the dialect knows under its name.
pub(crate) fn keep(extra: &mut Vec<(String, Json)>, key: &str, value: Raw<'_>) {
    extra.push((key.to_owned(), value.json()));
}
