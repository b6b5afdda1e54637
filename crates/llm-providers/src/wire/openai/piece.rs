//! Chunks of the common form, read in one pass: one choice, and in it one piece of text, thought or arguments.

use crate::wire::json::{Kind, Scanner, Token, skip_bom};

/// What such a chunk says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) choice: u32,
    pub(super) of: Of,
    /// The string, quotes included.
    pub(super) token: &'a str,
}

/// What a piece is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Text,
    Thought,
    /// The arguments of the call with this place.
    Call(u32),
}

/// The piece that `data` holds. `None` when it says more, or other things, or is not JSON: it must be read in full then.
pub(super) fn read(data: &[u8]) -> Option<Piece<'_>> {
    let mut reader = Reader { data, scan: Scanner::new(data, skip_bom(data)), choice: 0, found: None };
    reader.chunk()?;
    let (of, token) = reader.found?;
    Some(Piece { choice: reader.choice, of, token: std::str::from_utf8(&data[token.start..token.end]).ok()? })
}

struct Reader<'a> {
    data: &'a [u8],
    scan: Scanner<'a>,
    choice: u32,
    found: Option<(Of, Token)>,
}

impl<'a> Reader<'a> {
    fn chunk(&mut self) -> Option<()> {
        let mut chosen = false;
        self.object(|reader, key| match key {
            b"choices" if !chosen => {
                chosen = true;
                reader.only_item(Self::member_of_choice)
            }
            b"choices" | b"error" => None,
            b"usage" => reader.null(),
            b"object" => {
                let token = reader.value().filter(|token| token.kind == Kind::String && !token.is_escaped())?;
                (token.inner(reader.data) != b"error").then_some(())
            }
            _ => reader.value().map(|_| ()),
        })?;
        self.scan.end().ok()
    }

    fn member_of_choice(&mut self, key: &[u8]) -> Option<()> {
        match key {
            b"index" => {
                self.choice = self.number()?;
                Some(())
            }
            b"delta" => self.object(Self::member_of_delta),
            b"finish_reason" | b"logprobs" => self.null(),
            _ => self.value().map(|_| ()),
        }
    }

    fn member_of_delta(&mut self, key: &[u8]) -> Option<()> {
        match key {
            b"content" => self.text(Of::Text),
            b"reasoning_content" | b"reasoning" => self.text(Of::Thought),
            b"tool_calls" if self.scan.peek().ok()? == Kind::Array => {
                let mut place = None;
                let mut arguments = None;
                self.only_item(|reader, key| match key {
                    b"index" => {
                        place = Some(reader.number()?);
                        Some(())
                    }
                    b"function" => reader.object(|reader, key| match key {
                        b"arguments" if arguments.is_none() => {
                            arguments = Some(reader.value().filter(|token| token.kind == Kind::String)?);
                            Some(())
                        }
                        b"arguments" => None,
                        _ => reader.null(),
                    }),
                    b"type" => reader.value().map(|_| ()),
                    _ => reader.null(),
                })?;
                self.find(Of::Call(place?), arguments?)
            }
            b"role" => self.value().map(|_| ()),
            b"tool_calls" | b"refusal" | b"function_call" | b"annotations" | b"reasoning_details" => self.null(),
            _ => self.value().map(|_| ()),
        }
    }

    fn text(&mut self, of: Of) -> Option<()> {
        let token = self.value()?;
        match token.kind {
            Kind::Null => Some(()),
            Kind::String => self.find(of, token),
            _ => None,
        }
    }

    /// Keeps the piece, if it is the first.
    fn find(&mut self, of: Of, token: Token) -> Option<()> {
        self.found.replace((of, token)).is_none().then_some(())
    }

    /// Walks over the object that follows; keys with escapes are left to others.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        if self.scan.peek().ok()? != Kind::Object {
            return None;
        }
        self.scan.enter().ok()?;
        let mut first = true;
        while let Some(key) = self.scan.key(&mut first).ok()? {
            if key.is_escaped() {
                return None;
            }
            let data = self.data;
            member(self, key.inner(data))?;
        }
        Some(())
    }

    /// Walks over the array that follows, which must hold one object.
    fn only_item(&mut self, member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        if self.scan.peek().ok()? != Kind::Array {
            return None;
        }
        self.scan.enter().ok()?;
        let mut first = true;
        if !self.scan.item(&mut first).ok()? {
            return None;
        }
        self.object(member)?;
        (!self.scan.item(&mut first).ok()?).then_some(())
    }

    fn number(&mut self) -> Option<u32> {
        let token = self.value()?;
        std::str::from_utf8(&self.data[token.start..token.end]).ok()?.parse().ok()
    }

    fn null(&mut self) -> Option<()> {
        (self.value()?.kind == Kind::Null).then_some(())
    }

    fn value(&mut self) -> Option<Token> {
        self.scan.value().ok()
    }
}
