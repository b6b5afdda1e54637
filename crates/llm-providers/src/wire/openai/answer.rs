//! Whole answers that pass through: what is checked and read.

use llm_core::{Error, ErrorKind, Operation, Usage};

use super::error::error_within;
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw, Syntax};

/// Checks that `bytes` is an answer to `operation` (a JSON object with an array `choices`, or `data`) and reads
/// its usage.
///
/// # Errors
/// `BadAnswer` when it is something else; what its `error` member says when it has one instead.
pub fn read_answer(bytes: &[u8], operation: Operation) -> Result<Option<Usage>, Error> {
    let answer = Raw::parse(bytes).map_err(|syntax| not_json(syntax, bytes))?;
    let list = if operation == Operation::Chat { "choices" } else { "data" };
    let mut has_list = false;
    let mut usage = None;
    for (key, value) in answer.members() {
        match key.as_ref() {
            "usage" => usage = read_usage(value),
            key if key == list => has_list = value.kind() == Kind::Array,
            _ => {}
        }
    }
    if has_list { Ok(usage) } else { Err(no_answer(answer, list)) }
}

/// The error for an answer that is not JSON.
pub(in crate::wire) fn not_json(syntax: Syntax, answer: &[u8]) -> Error {
    Error::new(ErrorKind::BadAnswer, format!("the provider's answer is not valid JSON: {}", syntax.describe(answer)))
}

/// The error for an answer that lacks the array `list`.
pub(super) fn no_answer(answer: Raw<'_>, list: &str) -> Error {
    error_within(answer)
        .unwrap_or_else(|| Error::new(ErrorKind::BadAnswer, format!("the provider's answer has no '{list}'")))
}
