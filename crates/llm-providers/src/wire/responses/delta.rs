//! Events of the common form, read in one pass: a piece of one text.

use crate::wire::json::{Kind, Scanner, Token, skip_bom};

/// What such an event says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'a> {
    pub(super) of: Of,
    /// The item's place in the output.
    pub(super) item: u32,
    /// The part's place in the item.
    pub(super) part: u32,
    /// The string, quotes included.
    pub(super) token: &'a str,
}

/// What a piece is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Text,
    Refusal,
    Thought,
    Arguments,
}

impl Of {
    fn named(kind: &[u8]) -> Option<Self> {
        Some(match kind {
            b"response.output_text.delta" => Self::Text,
            b"response.refusal.delta" => Self::Refusal,
            b"response.reasoning_summary_text.delta" | b"response.reasoning_text.delta" => Self::Thought,
            b"response.function_call_arguments.delta" | b"response.custom_tool_call_input.delta" => Self::Arguments,
            _ => return None,
        })
    }
}

/// The piece that `data` holds. `None` when it says more, or other things, or is not JSON: it must be read in full then.
pub(super) fn read(data: &[u8]) -> Option<Delta<'_>> {
    let mut scan = Scanner::new(data, skip_bom(data));
    if scan.peek().ok()? != Kind::Object {
        return None;
    }
    scan.enter().ok()?;
    let (mut of, mut item, mut part, mut delta): (_, _, _, Option<Token>) = (None, None, 0, None);
    let mut first = true;
    while let Some(key) = scan.key(&mut first).ok()? {
        if key.is_escaped() {
            return None;
        }
        let value = scan.value().ok()?;
        let number = |value: &Token| std::str::from_utf8(scan.bytes(value)).ok()?.parse().ok();
        match key.inner(data) {
            b"type" if of.is_none() && value.kind == Kind::String => of = Some(Of::named(value.inner(data))?),
            b"output_index" => item = Some(number(&value)?),
            b"content_index" | b"summary_index" => part = number(&value)?,
            b"delta" if delta.is_none() && value.kind == Kind::String => delta = Some(value),
            b"logprobs" if value.kind == Kind::Array && scan.bytes(&value) == b"[]" => {}
            b"type" | b"delta" | b"logprobs" | b"error" => return None,
            _ => {}
        }
    }
    scan.end().ok()?;
    let token = delta?;
    Some(Delta { of: of?, item: item?, part, token: std::str::from_utf8(&data[token.start..token.end]).ok()? })
}
