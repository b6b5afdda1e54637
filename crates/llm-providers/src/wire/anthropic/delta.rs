//! Events of the common form, read in one pass: a delta of one text.

use crate::wire::json::{Kind, Scanner, Token, skip_bom};

/// What such an event says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delta<'a> {
    pub(super) of: Of,
    /// The string, quotes included.
    pub(super) token: &'a str,
}

/// What a delta is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Text,
    Thought,
    Arguments,
}

/// The delta that `data` holds. `None` when it says more, or other things, or is not JSON: it must be read in full then.
pub(super) fn read(data: &[u8]) -> Option<Delta<'_>> {
    let mut scan = Scanner::new(data, skip_bom(data));
    let (mut is_delta, mut found) = (false, None);
    object(&mut scan, data, |scan, key| match key {
        b"type" => {
            is_delta = string(scan)?.inner(data) == b"content_block_delta";
            is_delta.then_some(())
        }
        b"delta" if found.is_none() => object(scan, data, |scan, key| {
            let of = match key {
                b"text" => Of::Text,
                b"thinking" => Of::Thought,
                b"partial_json" => Of::Arguments,
                b"type" => return string(scan).map(|_| ()),
                _ => return None,
            };
            found.replace((of, string(scan)?)).is_none().then_some(())
        }),
        b"index" => scan.value().ok().map(|_| ()),
        _ => None,
    })?;
    scan.end().ok()?;
    let (of, token) = found.filter(|_| is_delta)?;
    Some(Delta { of, token: std::str::from_utf8(&data[token.start..token.end]).ok()? })
}

/// Walks over the object that follows; keys with escapes are left to others.
fn object<'a>(
    scan: &mut Scanner<'a>,
    data: &[u8],
    mut member: impl FnMut(&mut Scanner<'a>, &[u8]) -> Option<()>,
) -> Option<()> {
    if scan.peek().ok()? != Kind::Object {
        return None;
    }
    scan.enter().ok()?;
    let mut first = true;
    while let Some(key) = scan.key(&mut first).ok()? {
        if key.is_escaped() {
            return None;
        }
        member(scan, key.inner(data))?;
    }
    Some(())
}

fn string(scan: &mut Scanner<'_>) -> Option<Token> {
    scan.value().ok().filter(|token| token.kind == Kind::String)
}
