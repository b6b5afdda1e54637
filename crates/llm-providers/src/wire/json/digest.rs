//! What a value says, in 128 bits: white space and the order of members do not count.

use llm_core::TreeKey;

use super::scan::{Kind, Scanner, Spelling, Step, Syntax, Token};
use super::spelling::respell;

/// The hash of an object whose members are told in any order.
#[derive(Debug, Default)]
pub(crate) struct Members {
    sum: u128,
    count: u64,
}

impl Members {
    pub(crate) fn add(&mut self, key: &TreeKey, name: u128, value: u128) {
        self.sum = self.sum.wrapping_add(key.pair(name, value));
        self.count += 1;
    }

    /// Adds the members of `other`.
    pub(crate) const fn join(&mut self, other: &Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.count += other.count;
    }

    pub(crate) fn finish(&self, key: &TreeKey) -> u128 {
        key.pair(self.sum, OBJECT | u128::from(self.count))
    }
}

/// The hash of an array whose items are told one after the other.
#[derive(Debug, Default)]
pub(crate) struct Items {
    chain: u128,
    count: u64,
}

impl Items {
    pub(crate) fn add(&mut self, key: &TreeKey, item: u128) {
        self.chain = key.pair(self.chain, item);
        self.count += 1;
    }

    pub(crate) fn finish(&self, key: &TreeKey) -> u128 {
        key.pair(self.chain, ARRAY | u128::from(self.count))
    }
}

/// Steps over a value as [`Scanner::value`] does, and hashes it. Leaves are hashed as they are spelled, quotes included,
/// strings in the one spelling that counts: so `1`, `1.0` and `"1"` are three values, `"/"` and `"\/"` are one.
pub(crate) fn digested(scan: &mut Scanner<'_>, key: &TreeKey) -> Result<(Token, u128), Syntax> {
    let kind = scan.peek()?;
    let start = scan.position();
    let (spelling, hash) = match kind {
        Kind::Object | Kind::Array => (Spelling::Plain, nested(scan, kind, key).map_err(|stop| scan.why(stop))?),
        _ => {
            let spelling = scan.step_over(kind).map_err(|stop| scan.why(stop))?;
            (spelling, leaf(scan, start, spelling, key))
        }
    };
    Ok((Token { kind, start, end: scan.position(), spelling }, hash))
}

/// Tokens stay in parts here: put together, they would travel through memory.
fn nested(scan: &mut Scanner<'_>, kind: Kind, key: &TreeKey) -> Step<u128> {
    scan.open()?;
    let mut first = true;
    if kind == Kind::Object {
        let mut members = Members::default();
        while scan.next_member(&mut first)? {
            let start = scan.position();
            let spelling = scan.rest_of_string()?;
            let name = leaf(scan, start, spelling, key);
            scan.colon()?;
            members.add(key, name, value(scan, key)?);
        }
        Ok(members.finish(key))
    } else {
        let mut items = Items::default();
        while scan.next_item(&mut first)? {
            items.add(key, value(scan, key)?);
        }
        Ok(items.finish(key))
    }
}

#[inline]
fn value(scan: &mut Scanner<'_>, key: &TreeKey) -> Step<u128> {
    let kind = scan.next_kind()?;
    let start = scan.position();
    let spelling = match kind {
        Kind::Object | Kind::Array => return nested(scan, kind, key),
        Kind::String => scan.rest_of_string()?,
        Kind::Number => scan.number().map(|()| Spelling::Plain)?,
        _ => scan.step_over(kind)?,
    };
    Ok(leaf(scan, start, spelling, key))
}

/// The hash of the string, the number or the word that begins at `start` and was stepped over.
#[inline]
fn leaf(scan: &Scanner<'_>, start: usize, spelling: Spelling, key: &TreeKey) -> u128 {
    let at = start..scan.position();
    if spelling == Spelling::Unusual { unusual(&scan.text()[at], key) } else { key.leaf(scan.text(), at) }
}

/// The hash of an object's key.
pub(crate) fn name(scan: &Scanner<'_>, key: &Token, by: &TreeKey) -> u128 {
    match key.spelling {
        Spelling::Unusual => unusual(scan.bytes(key), by),
        _ => by.leaf(scan.text(), key.start..key.end),
    }
}

#[cold]
fn unusual(spelled: &[u8], key: &TreeKey) -> u128 {
    let mut pieces = key.pieces();
    respell(spelled, |piece| pieces.push(piece));
    pieces.finish()
}

const OBJECT: u128 = 1 << 64;
const ARRAY: u128 = 2 << 64;
