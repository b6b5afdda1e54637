//! Request bodies that pass through, of dialects that say all in the members of one object: what is found in them.

use llm_core::{Digest, Error, ErrorKind, Span, TreeKey};

use super::json::{Kind, Members, Raw, Scanner, Syntax, Token, digested, name, same_values, skip_bom, string_of};
use super::read::{wrong_type, wrong_value};

/// Walks over the members of the object that `body` is, once, and tells `see` the name and the place of each.
///
/// The digest is of those whose name `counts`. What `see` finds wrong is told only if the whole body is JSON; the first of
/// it counts.
pub(super) fn walk<'a>(
    body: &'a [u8],
    counts: fn(&[u8]) -> bool,
    mut see: impl FnMut(&str, Value<'a>) -> Result<(), Error>,
) -> Result<Digest, Error> {
    if u32::try_from(body.len()).is_err() {
        return Err(Error::new(ErrorKind::TooLarge, "the body is longer than 4 GiB"));
    }
    let not_json = |syntax: Syntax| {
        Error::new(ErrorKind::InvalidRequest, format!("the body is not valid JSON: {}", syntax.describe(body)))
    };
    let mut scan = Scanner::new(body, skip_bom(body));
    let kind = scan.peek().map_err(not_json)?;
    if kind != Kind::Object {
        scan.value().and_then(|_| scan.end()).map_err(not_json)?;
        let message = format!("the body must be a JSON object, not {}", kind.name());
        return Err(Error::new(ErrorKind::InvalidRequest, message));
    }
    scan.enter().map_err(not_json)?;
    let (key, mut members, mut fault, mut first) = (TreeKey::process(), Members::default(), Ok(()), true);
    while let Some(token) = scan.key(&mut first).map_err(not_json)? {
        let member = string_of(body, &token);
        let value = if counts(member.as_bytes()) {
            let name = name(&scan, &token, key);
            let (value, hash) = digested(&mut scan, key).map_err(not_json)?;
            members.add(key, name, hash);
            value
        } else {
            scan.value().map_err(not_json)?
        };
        if fault.is_ok() {
            fault = see(&member, Value { body, token: value });
        }
    }
    scan.end().map_err(not_json)?;
    fault.map(|()| Digest::new(members.finish(key)))
}

/// Whether `a` and `b`, which [`walk`] has accepted, say the same in all members that `counts`.
pub(super) fn same(a: &[u8], b: &[u8], counts: fn(&[u8]) -> bool) -> bool {
    let scanner = |body| Scanner::new(body, skip_bom(body));
    a == b || same_values(&mut scanner(a), &mut scanner(b), counts)
}

/// The value of a member, where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    body: &'a [u8],
    token: Token,
}

impl<'a> Value<'a> {
    fn bytes(&self) -> &'a [u8] {
        &self.body[self.token.start..self.token.end]
    }

    /// The value with its parts.
    pub(super) fn raw(&self) -> Option<Raw<'a>> {
        Raw::parse(self.bytes()).ok()
    }

    /// Where it stands, a string's quotes included.
    pub(super) fn span(&self) -> Span {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { start: offset(self.token.start), end: offset(self.token.end) }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.token.kind
    }

    /// Where the text of the string stands, without its quotes; none where it is no string or empty.
    pub(super) fn text(&self) -> Option<Span> {
        let Span { start, end } = self.span();
        (self.token.kind == Kind::String && end - start > 2).then_some(Span { start: start + 1, end: end - 1 })
    }

    /// Where in it the string member `name` stands, without its quotes; none where it is no such string or empty.
    pub(super) fn span_within(&self, name: &str) -> Option<Span> {
        let member = self.raw()?.member(name).filter(|member| member.kind() == Kind::String)?;
        let inner = member.text().strip_prefix('"')?.strip_suffix('"')?;
        let from = (inner.as_ptr() as usize).checked_sub(self.body.as_ptr() as usize)?;
        let offset = |at: usize| u32::try_from(at).ok();
        (!inner.is_empty()).then_some(Span { start: offset(from)?, end: offset(from + inner.len())? })
    }

    /// The number, if it is a whole one; others are the provider's to judge.
    pub(super) fn whole(&self) -> Option<u64> {
        self.raw()?.u64()
    }

    /// Whether an answer at this temperature is a draw.
    pub(super) fn draws(&self) -> bool {
        self.raw().and_then(Raw::f64) != Some(0.0)
    }

    /// Checks that it is a string that is not empty, and says what it is where it is written with escapes.
    pub(super) fn model(&self) -> Result<Option<Box<str>>, Error> {
        match self.token.kind {
            Kind::String if self.token.inner(self.body).is_empty() => Err(wrong_value("model", "it must not be empty")),
            Kind::String if self.token.is_escaped() => Ok(Some(string_of(self.body, &self.token).into())),
            Kind::String => Ok(None),
            kind => Err(wrong_type("model", "a string", kind)),
        }
    }

    pub(super) fn boolean(&self, path: &str) -> Result<bool, Error> {
        match self.token.kind {
            Kind::True => Ok(true),
            Kind::False | Kind::Null => Ok(false),
            kind => Err(wrong_type(path, "a boolean", kind)),
        }
    }

    /// Checks that it is an array that is not empty.
    pub(super) fn list(&self, path: &str) -> Result<(), Error> {
        match self.token.kind {
            Kind::Array if self.bytes()[1..].trim_ascii_start().starts_with(b"]") => {
                Err(wrong_value(path, "it must not be empty"))
            }
            Kind::Array => Ok(()),
            kind => Err(wrong_type(path, "an array", kind)),
        }
    }
}
