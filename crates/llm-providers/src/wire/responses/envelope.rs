//! Request bodies that pass through: what is checked and found in them, in one walk.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{Dialect, Digest, Envelope, Error, ErrorKind, Operation, Span, TreeKey};

use crate::wire::json::{Kind, Members, Scanner, Syntax, Token, digested, name, same_values, skip_bom, unescape};
use crate::wire::read::{duplicate, missing, wrong_type, wrong_value};

/// The members that are read, of which there must not be two.
const READ: [&str; 7] = ["model", "input", "stream", "temperature", "max_output_tokens", "safety_identifier", "user"];

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
    if u32::try_from(body.len()).is_err() {
        return Err(Error::new(ErrorKind::TooLarge, "the body is longer than 4 GiB"));
    }
    let mut found = Found::default();
    let (members, fault) = found.walk(&body).map_err(|syntax| {
        Error::new(ErrorKind::InvalidRequest, format!("the body is not valid JSON: {}", syntax.describe(&body)))
    })?;
    if let Some(fault) = fault {
        return Err(fault);
    }
    let model = found.model.ok_or_else(|| missing("model"))?;
    let escaped = model.is_escaped().then(|| text(&body, &model).into());
    Ok(Envelope {
        dialect: Dialect::OpenAiResponses,
        operation: Operation::Chat,
        digest: Digest::new(members.finish(TreeKey::process())),
        same: same_responses,
        model: span(model.start, model.end),
        escaped_model: escaped,
        stream: found.stream,
        sampled: !found.greedy,
        wants_usage: found.stream,
        user: found.identifier.or(found.user),
        max_output: found.max_output,
        choices: 1,
        ask_usage: None,
        body,
    })
}

/// Whether `a` and `b`, bodies that [`read_responses`] has accepted, ask the same: in all but `stream` and
/// `stream_options`.
#[must_use]
pub fn same_responses(a: &[u8], b: &[u8]) -> bool {
    let scanner = |body| Scanner::new(body, skip_bom(body));
    a == b || same_values(&mut scanner(a), &mut scanner(b), counts)
}

#[derive(Default)]
struct Found {
    model: Option<Token>,
    stream: bool,
    /// Whether the temperature is 0.
    greedy: bool,
    max_output: Option<u64>,
    identifier: Option<Span>,
    user: Option<Span>,
}

impl Found {
    /// Walks over a body once. What is wrong with a parameter is told only if the whole body is JSON.
    fn walk(&mut self, body: &[u8]) -> Result<(Members, Option<Error>), Syntax> {
        let (mut scan, key_of_tree) = (Scanner::new(body, skip_bom(body)), TreeKey::process());
        let (mut members, mut fault, mut seen) = (Members::default(), None, 0_u32);
        let kind = scan.peek()?;
        if kind != Kind::Object {
            scan.value()?;
            scan.end()?;
            let message = format!("the body must be a JSON object, not {}", kind.name());
            return Ok((members, Some(Error::new(ErrorKind::InvalidRequest, message))));
        }
        scan.enter()?;
        let mut first = true;
        while let Some(key) = scan.key(&mut first)? {
            let named = text(body, &key);
            let token = if counts(named.as_bytes()) {
                let hashed = name(&scan, &key, key_of_tree);
                let (token, value) = digested(&mut scan, key_of_tree)?;
                members.add(key_of_tree, hashed, value);
                token
            } else {
                scan.value()?
            };
            if let Some(place) = READ.iter().position(|known| *known == named) {
                let again = seen & 1 << place != 0;
                seen |= 1 << place;
                let read = if again { Err(duplicate(&named)) } else { self.read(body, &named, token) };
                fault = fault.or(read.err());
            }
        }
        scan.end()?;
        Ok((members, fault))
    }

    fn read(&mut self, body: &[u8], named: &str, token: Token) -> Result<(), Error> {
        let number = || std::str::from_utf8(&body[token.start..token.end]).ok().filter(|_| token.kind == Kind::Number);
        let inside = || {
            (token.kind == Kind::String && token.end - token.start > 2).then(|| span(token.start + 1, token.end - 1))
        };
        match (named, token.kind) {
            ("model", Kind::String) if token.end - token.start == 2 => {
                return Err(wrong_value("model", "it must not be empty"));
            }
            ("model", Kind::String) => self.model = Some(token),
            ("model", kind) => return Err(wrong_type("model", "a string", kind)),
            ("input", Kind::String | Kind::Array | Kind::Null) => {}
            ("input", kind) => return Err(wrong_type("input", "a string or an array of objects", kind)),
            ("stream", Kind::True) => self.stream = true,
            ("stream", Kind::False | Kind::Null) => {}
            ("stream", kind) => return Err(wrong_type("stream", "a boolean", kind)),
            ("temperature", _) => self.greedy = number().and_then(|text| text.parse().ok()) == Some(0.0_f64),
            ("max_output_tokens", _) => self.max_output = number().and_then(|text| text.parse().ok()),
            ("safety_identifier", _) => self.identifier = inside(),
            ("user", _) => self.user = inside(),
            _ => {}
        }
        Ok(())
    }
}

/// The text of a string. Bytes that are no UTF-8 are told at the body's end.
fn text<'a>(body: &'a [u8], token: &Token) -> Cow<'a, str> {
    let inner = String::from_utf8_lossy(token.inner(body));
    if token.is_escaped() { Cow::Owned(unescape(&inner).0.into_owned()) } else { inner }
}

fn span(start: usize, end: usize) -> Span {
    let offset = |at| u32::try_from(at).expect("a body is shorter than 4 GiB");
    Span { start: offset(start), end: offset(end) }
}
