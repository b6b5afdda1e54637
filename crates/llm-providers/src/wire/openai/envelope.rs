//! Request bodies that pass through: what is checked and found in them, and the splice that forwards them.

use bytes::Bytes;
use llm_core::{Dialect, Digest, Edit, Envelope, Error, ErrorKind, Operation, Span, TreeKey};

use super::field::Field;
use super::same::same_request;
use crate::wire::json::{Items, Kind, Members, Scanner, Syntax, Token, bytes_of, digested, name, skip_bom, string_of};
use crate::wire::read::{duplicate, missing, wrong_type, wrong_value};

/// Reads a chat completion request as far as needed to route it. The body must be strict JSON, an object, with
/// `model` a non-empty string and `messages` a non-empty array of objects, `stream` a boolean and `stream_options`
/// an object, where they are given; what else it says is the provider's to judge.
///
/// # Errors
/// `InvalidRequest`, naming the parameter, or the place where the body stops being JSON.
pub fn read_chat(body: Bytes) -> Result<Envelope, Error> {
    read(body, Operation::Chat)
}

/// Reads an embeddings request as far as needed to route it: as [`read_chat`], with `input` in place of `messages`.
///
/// # Errors
/// As [`read_chat`].
pub fn read_embeddings(body: Bytes) -> Result<Envelope, Error> {
    read(body, Operation::Embeddings)
}

/// The body of `envelope` with `model` in place of its model's name and, if `ask_usage`, with the edit that asks
/// for a stream's usage. All other bytes are shared with the body, not copied; a leading byte order mark is left out.
#[must_use]
pub fn splice(envelope: &Envelope, model: &str, ask_usage: bool) -> Spliced {
    let body = &envelope.body;
    let name = (envelope.model_name() != model).then(|| {
        let quoted = serde_json::to_vec(model).expect("a string can be written to memory");
        (envelope.model, Bytes::from(quoted))
    });
    let ask = envelope.ask_usage.filter(|_| ask_usage);
    let mut edits = [name, ask.map(|edit| (edit.at, Bytes::from_static(edit.with.as_bytes())))];
    edits.sort_by_key(|edit| edit.as_ref().map(|(at, _)| at.start));

    let mut spliced = Spliced { segments: Default::default(), used: 0 };
    let mut from = skip_bom(body);
    for (at, with) in edits.into_iter().flatten() {
        let at = at.range();
        spliced.push(body.slice(from..at.start));
        spliced.push(with);
        from = at.end;
    }
    spliced.push(body.slice(from..));
    spliced
}

/// A body in segments.
#[derive(Clone, Debug)]
pub struct Spliced {
    segments: [Bytes; 5],
    used: usize,
}

impl Spliced {
    /// The segments, in order; at most five, none empty.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        &self.segments[..self.used]
    }

    /// The bytes of all segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments().iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The segments as one; copied unless there is only one.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.segments() {
            [only] => only.clone(),
            several => several.concat().into(),
        }
    }

    fn push(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.segments[self.used] = segment;
            self.used += 1;
        }
    }
}

fn read(body: Bytes, operation: Operation) -> Result<Envelope, Error> {
    if u32::try_from(body.len()).is_err() {
        return Err(Error::new(ErrorKind::TooLarge, "the body is longer than 4 GiB"));
    }
    let mut reader = Reader::new(&body, operation);
    reader.read().map_err(|syntax| not_json(syntax, &body))?;
    let found = reader.finish()?;
    Ok(Envelope {
        dialect: Dialect::OpenAi,
        operation,
        digest: found.digest,
        same: same_request,
        model: found.model,
        escaped_model: found.escaped_model,
        stream: found.stream,
        sampled: found.sampled,
        stateful: false,
        wants_usage: found.wants_usage,
        user: found.user,
        max_output: found.max_output,
        choices: found.choices,
        ask_usage: found.ask_usage,
        body,
    })
}

/// The error for a body that is not JSON.
pub(super) fn not_json(syntax: Syntax, body: &[u8]) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("the body is not valid JSON: {}", syntax.describe(body)))
}

struct Found {
    digest: Digest,
    model: Span,
    escaped_model: Option<Box<str>>,
    stream: bool,
    sampled: bool,
    wants_usage: bool,
    user: Option<Span>,
    max_output: Option<u64>,
    choices: u32,
    ask_usage: Option<Edit>,
}

/// Walks over a body once. What is wrong with a parameter is told only if the whole body is JSON.
struct Reader<'a> {
    body: &'a [u8],
    scan: Scanner<'a>,
    key: &'static TreeKey,
    members: Members,
    /// The members that count only if the answer is stored.
    labels: Option<Members>,
    stored: bool,
    operation: Operation,
    fault: Option<Error>,
    /// One bit for each [`Field`] that was met.
    seen: u32,
    open: u32,
    model: Option<Token>,
    stream: bool,
    sampled: bool,
    options: Options,
    user: Option<Span>,
    safety_identifier: Option<Span>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    choices: Option<u64>,
}

/// What was found of `stream_options`.
#[derive(Clone, Copy)]
enum Options {
    Absent,
    Null(Span),
    Object { open: u32, empty: bool },
    Asked,
    NotAsked(Span),
}

impl<'a> Reader<'a> {
    fn new(body: &'a [u8], operation: Operation) -> Self {
        Self {
            body,
            scan: Scanner::new(body, skip_bom(body)),
            key: TreeKey::process(),
            members: Members::default(),
            labels: None,
            stored: false,
            operation,
            fault: None,
            seen: 0,
            open: 0,
            model: None,
            stream: false,
            // Vectors are no draw.
            sampled: operation == Operation::Chat,
            options: Options::Absent,
            user: None,
            safety_identifier: None,
            max_tokens: None,
            max_completion_tokens: None,
            choices: None,
        }
    }

    fn read(&mut self) -> Result<(), Syntax> {
        let kind = self.scan.peek()?;
        if kind != Kind::Object {
            let message = format!("the body must be a JSON object, not {}", kind.name());
            self.wrong(|| Error::new(ErrorKind::InvalidRequest, message));
            self.scan.value()?;
            return self.scan.end();
        }
        self.scan.enter()?;
        self.open = self.position();
        let mut first = true;
        while let Some(key) = self.scan.key(&mut first)? {
            let field = self.field(&key);
            if field.counts() {
                let name = name(&self.scan, &key, self.key);
                let value = self.counted(field)?;
                self.members.add(self.key, name, value);
            } else if field.labels() {
                let name = name(&self.scan, &key, self.key);
                let (_, value) = digested(&mut self.scan, self.key)?;
                self.labels.get_or_insert_default().add(self.key, name, value);
            } else {
                self.aside(field)?;
            }
        }
        self.scan.end()
    }

    /// Which member `key` names. A second one of those that are read is a fault.
    fn field(&mut self, key: &Token) -> Field {
        let name = bytes_of(self.body, key);
        let field = Field::named(&name);
        let bit = 1 << field as u32;
        if field.only_once() && self.seen & bit != 0 {
            self.wrong(|| duplicate(&String::from_utf8_lossy(&name)));
        }
        self.seen |= bit;
        field
    }

    /// Reads the value of a member that counts, and hashes it.
    fn counted(&mut self, field: Field) -> Result<u128, Syntax> {
        if field == Field::Messages && self.operation == Operation::Chat {
            return self.messages();
        }
        let (token, hash) = digested(&mut self.scan, self.key)?;
        match field {
            Field::Model => self.model(token),
            Field::Input if self.operation == Operation::Embeddings => self.input(&token),
            Field::Temperature => {
                self.sampled = token.kind != Kind::Number || !is_zero(self.scan.bytes(&token));
            }
            Field::Store => self.stored |= token.kind == Kind::True,
            Field::MaxTokens => self.max_tokens = self.number(&token),
            Field::MaxCompletionTokens => self.max_completion_tokens = self.number(&token),
            Field::Choices => self.choices = self.number(&token),
            _ => {}
        }
        Ok(hash)
    }

    /// Reads the value of a member that does not count.
    fn aside(&mut self, field: Field) -> Result<(), Syntax> {
        match field {
            Field::Stream => self.stream = self.boolean("stream")?.unwrap_or(false),
            Field::StreamOptions => self.stream_options()?,
            Field::User => self.user = self.name_of_a_user()?,
            Field::SafetyIdentifier => self.safety_identifier = self.name_of_a_user()?,
            _ => {
                self.scan.value()?;
            }
        }
        Ok(())
    }

    /// The whole number. Others are the provider's to judge.
    fn number(&self, token: &Token) -> Option<u64> {
        let number = (token.kind == Kind::Number).then(|| std::str::from_utf8(self.scan.bytes(token)));
        number?.ok()?.parse().ok()
    }

    /// The text that follows, unless it is empty.
    fn name_of_a_user(&mut self) -> Result<Option<Span>, Syntax> {
        let token = self.scan.value()?;
        let is_name = token.kind == Kind::String && !token.inner(self.body).is_empty();
        Ok(is_name.then(|| Span { start: offset(token.start + 1), end: offset(token.end - 1) }))
    }

    fn model(&mut self, token: Token) {
        match token.kind {
            Kind::String if token.inner(self.body).is_empty() => {
                self.wrong(|| wrong_value("model", "it must not be empty"));
            }
            Kind::String => self.model = Some(token),
            kind => self.wrong(|| wrong_type("model", "a string", kind)),
        }
    }

    fn messages(&mut self) -> Result<u128, Syntax> {
        let kind = self.scan.peek()?;
        if kind != Kind::Array {
            self.wrong(|| wrong_type("messages", "an array of objects", kind));
            return digested(&mut self.scan, self.key).map(|(_, hash)| hash);
        }
        self.scan.enter()?;
        let mut items = Items::default();
        let mut count = 0_usize;
        let mut first = true;
        while self.scan.item(&mut first)? {
            let (Token { kind, .. }, hash) = digested(&mut self.scan, self.key)?;
            if kind != Kind::Object {
                self.wrong(|| wrong_type(&format!("messages[{count}]"), "an object", kind));
            }
            items.add(self.key, hash);
            count += 1;
        }
        if count == 0 {
            self.wrong(|| wrong_value("messages", "it must hold at least one message"));
        }
        Ok(items.finish(self.key))
    }

    fn input(&mut self, token: &Token) {
        match token.kind {
            Kind::String => {}
            Kind::Array if self.scan.another(token.start + 1).peek().is_err() => {
                self.wrong(|| wrong_value("input", "it must not be empty"));
            }
            Kind::Array => {}
            kind => self.wrong(|| wrong_type("input", "a string or an array", kind)),
        }
    }

    fn stream_options(&mut self) -> Result<(), Syntax> {
        match self.scan.peek()? {
            Kind::Null => {
                let token = self.scan.value()?;
                self.options = Options::Null(span(token));
            }
            Kind::Object => {
                self.scan.enter()?;
                self.options = Options::Object { open: self.position(), empty: true };
                self.include_usage()?;
            }
            kind => {
                self.scan.value()?;
                self.wrong(|| wrong_type("stream_options", "an object", kind));
            }
        }
        Ok(())
    }

    fn include_usage(&mut self) -> Result<(), Syntax> {
        const PARAM: &str = "stream_options.include_usage";
        let mut first = true;
        let mut seen = false;
        while let Some(key) = self.scan.key(&mut first)? {
            if let Options::Object { empty, .. } = &mut self.options {
                *empty = false;
            }
            if *bytes_of(self.body, &key) != *b"include_usage" {
                self.scan.value()?;
                continue;
            }
            if std::mem::replace(&mut seen, true) {
                self.wrong(|| duplicate(PARAM));
            }
            self.scan.peek()?;
            let start = self.position();
            let asked = self.boolean(PARAM)?.unwrap_or(false);
            self.options = if asked { Options::Asked } else { Options::NotAsked(Span { start, end: self.position() }) };
        }
        Ok(())
    }

    /// The boolean that follows; `None` for null.
    fn boolean(&mut self, param: &str) -> Result<Option<bool>, Syntax> {
        match self.scan.value()?.kind {
            Kind::True => Ok(Some(true)),
            Kind::False => Ok(Some(false)),
            Kind::Null => Ok(None),
            kind => {
                self.wrong(|| wrong_type(param, "a boolean", kind));
                Ok(None)
            }
        }
    }

    fn finish(mut self) -> Result<Found, Error> {
        let needed = if self.operation == Operation::Chat { "messages" } else { "input" };
        for param in ["model", needed] {
            if self.seen & 1 << Field::named(param.as_bytes()) as u32 == 0 {
                self.wrong(|| missing(param));
            }
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(labels) = self.labels.filter(|_| self.stored) {
            self.members.join(&labels);
        }
        let model = self.model.expect("a model that is no string is a fault");
        let ask_usage = match self.options {
            _ if !self.stream => None,
            Options::Absent => Some(insert(self.open, r#""stream_options":{"include_usage":true},"#)),
            Options::Null(at) => Some(Edit { at, with: r#"{"include_usage":true}"# }),
            Options::Object { open, empty: true } => Some(insert(open, r#""include_usage":true"#)),
            Options::Object { open, empty: false } => Some(insert(open, r#""include_usage":true,"#)),
            Options::NotAsked(at) => Some(Edit { at, with: "true" }),
            Options::Asked => None,
        };
        Ok(Found {
            digest: Digest::new(self.members.finish(self.key)),
            model: span(model),
            escaped_model: model.is_escaped().then(|| string_of(self.body, &model).into()),
            stream: self.stream,
            sampled: self.sampled,
            wants_usage: self.stream && matches!(self.options, Options::Asked),
            user: self.safety_identifier.or(self.user),
            max_output: self.max_completion_tokens.or(self.max_tokens),
            choices: self.choices.and_then(|choices| u32::try_from(choices).ok()).unwrap_or(1).max(1),
            ask_usage,
        })
    }

    /// Remembers the first fault.
    fn wrong(&mut self, fault: impl FnOnce() -> Error) {
        if self.fault.is_none() {
            self.fault = Some(fault());
        }
    }

    fn position(&self) -> u32 {
        offset(self.scan.position())
    }
}

const fn insert(at: u32, with: &'static str) -> Edit {
    Edit { at: Span { start: at, end: at }, with }
}

fn span(token: Token) -> Span {
    Span { start: offset(token.start), end: offset(token.end) }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a body is shorter than 4 GiB")
}

/// Whether a number's text spells zero: `0`, `-0`, `0.0`, `0e5`.
fn is_zero(number: &[u8]) -> bool {
    number.iter().take_while(|byte| !matches!(byte, b'e' | b'E')).all(|byte| !matches!(byte, b'1'..=b'9'))
}
