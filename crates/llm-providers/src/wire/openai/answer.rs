//! Whole answers that pass through: what is checked and read.

use llm_core::{Error, ErrorKind, Operation, Usage};

use super::error::error_within;
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw, Scanner, Syntax, Token, bytes_of, skip_bom};

/// Checks that `bytes` is an answer to `operation` (a JSON object with an array `choices`, or `data`) and reads
/// its usage.
///
/// # Errors
/// `BadAnswer` when it is something else; what its `error` member says when it has one instead.
pub fn read_answer(bytes: &[u8], operation: Operation) -> Result<Option<Usage>, Error> {
    let list = if operation == Operation::Chat { "choices" } else { "data" };
    let found = Found::in_answer(bytes, list).map_err(|syntax| not_json(syntax, bytes))?;
    if !found.list {
        let answer = Raw::parse(bytes).map_err(|syntax| not_json(syntax, bytes))?;
        return Err(no_answer(answer, list));
    }
    Ok(found.usage.and_then(|usage| read_usage(Raw::of(bytes, &usage)?)))
}

/// What is looked for in an answer.
struct Found {
    /// Whether the list is there.
    list: bool,
    usage: Option<Token>,
}

impl Found {
    /// Steps through the answer once.
    fn in_answer(answer: &[u8], list: &str) -> Result<Self, Syntax> {
        let mut found = Self { list: false, usage: None };
        let mut scan = Scanner::new(answer, skip_bom(answer));
        if scan.peek()? == Kind::Object {
            scan.enter()?;
            let mut first = true;
            while let Some(key) = scan.key(&mut first)? {
                let value = scan.value()?;
                match bytes_of(answer, &key).as_ref() {
                    b"usage" => found.usage = Some(value),
                    key if key == list.as_bytes() => found.list = value.kind == Kind::Array,
                    _ => {}
                }
            }
        } else {
            scan.value()?;
        }
        scan.end().map(|()| found)
    }
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
