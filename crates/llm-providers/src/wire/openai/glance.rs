//! The few facts that are read from a chunk which passes through.

use std::ops::Range;

use crate::wire::json::{Kind, Scanner, Syntax, Token};

/// What one scan over a chunk found.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// Whether there is content: text, reasoning, a refusal, a tool call, audio.
    pub(super) content: bool,
    /// Where the usage object stands.
    pub(super) usage: Option<Range<usize>>,
    /// Whether there is a usage object, and no choice.
    pub(super) usage_only: bool,
    /// Whether a member says that this may be an error.
    pub(super) may_be_error: bool,
    /// Where the one text that is not empty stands, quotes included.
    text: Option<Range<usize>>,
    /// Where the padding against guesses from a chunk's length stands, quotes included.
    padding: Option<Range<usize>>,
    /// Content other than that text.
    others: bool,
    /// Whether a choice ended here.
    finished: bool,
}

impl Glance {
    /// Scans the chunk `data`, and marks in `choices` those that are there and those that end.
    pub(super) fn at(data: &[u8], choices: &mut Choices) -> Result<Self, Syntax> {
        let mut reader = Reader { data, scan: Scanner::new(data, 0), glance: Self::default(), choices };
        reader.chunk()?;
        let mut glance = reader.glance;
        glance.content = glance.others || glance.text.is_some();
        Ok(glance)
    }
}

/// The choices of an answer, by index: seen, and ended. Of those past the 127th the last to be told counts for all.
#[derive(Debug, Default)]
pub(super) struct Choices {
    seen: u128,
    finished: u128,
}

impl Choices {
    /// Whether there was a choice, and each that was seen has ended.
    pub(super) const fn all_finished(&self) -> bool {
        self.seen != 0 && self.seen == self.finished
    }

    pub(super) const fn mark(&mut self, index: u32, finished: bool) {
        let bit = 1 << if index < 127 { index } else { 127 };
        self.seen |= bit;
        if finished {
            self.finished |= bit;
        }
    }
}

/// A chunk that said nothing but one text, without the text and the padding that some servers add. The chunks of a
/// stream differ in little else: one that differs in nothing else need not be scanned.
#[derive(Debug, Default)]
pub(super) struct Memo {
    chunk: Vec<u8>,
    /// Where in `chunk` the text is left out: after the string's opening quote.
    text: usize,
    /// Where the padding is left out.
    padding: Option<usize>,
    others: bool,
}

impl Memo {
    /// Whether `data` has content, if it is the remembered chunk with another text.
    pub(super) fn recall(&self, data: &[u8]) -> Option<bool> {
        if self.chunk.is_empty() {
            return None;
        }
        let mut content = self.others;
        let (mut at, mut from) = (0, 0);
        let before = self.padding.filter(|padding| *padding < self.text);
        let after = self.padding.filter(|padding| *padding > self.text);
        for gap in [before, Some(self.text), after].into_iter().flatten() {
            let fixed = &self.chunk[from..gap];
            if !data[at..].starts_with(fixed) {
                return None;
            }
            at += fixed.len();
            // What is fixed ends with one of the string's quotes and goes on with the other.
            let string = Scanner::new(data, at - 1).string().ok()?;
            content |= gap == self.text && string.end - string.start > 2;
            (at, from) = (string.end - 1, gap);
        }
        (data[at..] == self.chunk[from..]).then_some(content)
    }

    /// Remembers `data` if there is one text in it and nothing that others need to know.
    pub(super) fn keep(&mut self, data: &[u8], glance: &Glance) {
        let Some(text) = &glance.text else { return };
        if glance.finished || glance.usage.is_some() || glance.may_be_error {
            return;
        }
        self.others = glance.others;
        self.padding = None;
        self.chunk.clear();
        let mut from = 0;
        let before = glance.padding.as_ref().filter(|padding| padding.start < text.start);
        let after = glance.padding.as_ref().filter(|padding| padding.start > text.start);
        for gap in [before, Some(text), after].into_iter().flatten() {
            self.chunk.extend_from_slice(&data[from..=gap.start]);
            if gap == text {
                self.text = self.chunk.len();
            } else {
                self.padding = Some(self.chunk.len());
            }
            from = gap.end - 1;
        }
        self.chunk.extend_from_slice(&data[from..]);
    }
}

struct Reader<'a, 'c> {
    data: &'a [u8],
    scan: Scanner<'a>,
    glance: Glance,
    choices: &'c mut Choices,
}

impl<'a> Reader<'a, '_> {
    fn chunk(&mut self) -> Result<(), Syntax> {
        if self.scan.peek()? != Kind::Object {
            return Err(Syntax { at: self.scan.position(), what: "expected an object" });
        }
        self.scan.enter()?;
        let mut first = true;
        let mut choice = false;
        while let Some(key) = self.scan.key(&mut first)? {
            match self.name(key) {
                b"choices" => choice = self.choices()?,
                b"usage" => {
                    let usage = self.scan.value()?;
                    self.glance.usage = (usage.kind == Kind::Object).then_some(usage.start..usage.end);
                }
                b"error" => self.glance.may_be_error |= self.scan.value()?.kind != Kind::Null,
                b"object" => {
                    let object = self.scan.value()?;
                    self.glance.may_be_error |= &self.data[object.start..object.end] == b"\"error\"";
                }
                b"obfuscation" => {
                    let padding = self.scan.value()?;
                    self.glance.padding = (padding.kind == Kind::String).then_some(padding.start..padding.end);
                }
                _ => {
                    self.scan.value()?;
                }
            }
        }
        self.glance.usage_only = !choice && self.glance.usage.is_some();
        self.scan.end_of_value()
    }

    /// Whether there is a choice.
    fn choices(&mut self) -> Result<bool, Syntax> {
        if self.scan.peek()? != Kind::Array {
            self.scan.value()?;
            return Ok(false);
        }
        self.scan.enter()?;
        let mut first = true;
        let mut any = false;
        while self.scan.item(&mut first)? {
            any = true;
            if self.scan.peek()? == Kind::Object {
                self.choice()?;
            } else {
                self.scan.value()?;
            }
        }
        Ok(any)
    }

    fn choice(&mut self) -> Result<(), Syntax> {
        self.scan.enter()?;
        let mut first = true;
        let mut index = 0;
        let mut finished = false;
        while let Some(key) = self.scan.key(&mut first)? {
            let name = self.name(key);
            if name == b"delta" && self.scan.peek()? == Kind::Object {
                self.delta()?;
                continue;
            }
            let token = self.scan.value()?;
            match name {
                b"index" => index = number(&self.data[token.start..token.end]),
                b"finish_reason" => finished = token.kind == Kind::String && !token.inner(self.data).is_empty(),
                _ => {}
            }
        }
        self.choices.mark(index, finished);
        self.glance.finished |= finished;
        Ok(())
    }

    fn delta(&mut self) -> Result<(), Syntax> {
        self.scan.enter()?;
        let mut first = true;
        while let Some(key) = self.scan.key(&mut first)? {
            let name = self.name(key);
            let token = self.scan.value()?;
            let is_content = matches!(
                name,
                b"content"
                    | b"reasoning_content"
                    | b"reasoning"
                    | b"reasoning_details"
                    | b"refusal"
                    | b"tool_calls"
                    | b"function_call"
                    | b"audio"
            );
            match token.kind {
                _ if !is_content => {}
                Kind::String if token.inner(self.data).is_empty() => {}
                Kind::String if self.glance.text.is_none() => self.glance.text = Some(token.start..token.end),
                Kind::String => self.glance.others = true,
                Kind::Array | Kind::Object => self.glance.others |= !self.is_empty(token),
                Kind::Number | Kind::True | Kind::False | Kind::Null => {}
            }
        }
        Ok(())
    }

    fn name(&self, key: Token) -> &'a [u8] {
        key.inner(self.data)
    }

    /// Whether there is nothing between an object's or array's brackets.
    fn is_empty(&self, token: Token) -> bool {
        self.data[token.start + 1..token.end - 1].iter().all(u8::is_ascii_whitespace)
    }
}

fn number(digits: &[u8]) -> u32 {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
