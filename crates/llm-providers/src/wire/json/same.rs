//! Whether two values say the same: white space and the order of members do not count, nor how a string is spelled.

use std::borrow::Cow;

use super::scan::{Kind, Scanner, Spelling, Syntax, Token};
use super::spelling::respelled;

/// Objects whose members are in another order may lie this deep within each other: each is read once more for every
/// one around it. Deeper ones count as different.
const REORDERED: u32 = 16;

/// Whether the next values of `a` and `b` say the same; of the members of these values themselves, only those that
/// `counts` are looked at. Steps over both values, unless they differ.
///
/// Numbers are the same if they are spelled alike. Two objects are the same if each key has the same values, in the same
/// order where it is given more than once: so they are the same to whoever takes a key's first value, and to whoever
/// takes its last.
pub(crate) fn same_values(
    a: &mut Scanner<'_>,
    b: &mut Scanner<'_>,
    counts: impl Fn(&[u8]) -> bool,
) -> Result<bool, Syntax> {
    match (a.peek()?, b.peek()?) {
        (Kind::Object, Kind::Object) => members(a, b, counts, REORDERED),
        _ => values(a, b, REORDERED),
    }
}

fn values(a: &mut Scanner<'_>, b: &mut Scanner<'_>, reordered: u32) -> Result<bool, Syntax> {
    match (a.peek()?, b.peek()?) {
        (Kind::Object, Kind::Object) => members(a, b, |_| true, reordered),
        (Kind::Array, Kind::Array) => items(a, b, reordered),
        (Kind::String, Kind::String) => strings(a, b),
        (one, other) => Ok(one == other && leaf(a)? == leaf(b)?),
    }
}

fn leaf<'a>(scan: &mut Scanner<'a>) -> Result<&'a [u8], Syntax> {
    let token = scan.value()?;
    Ok(scan.bytes(&token))
}

fn strings(a: &mut Scanner<'_>, b: &mut Scanner<'_>) -> Result<bool, Syntax> {
    let one = a.string()?;
    // A string's text ends with its only bare quote: what begins with all of it is no longer string.
    if b.skip(a.bytes(&one)) {
        return Ok(true);
    }
    let other = b.string()?;
    Ok((one.spelling == Spelling::Unusual || other.spelling == Spelling::Unusual) && text(a, &one) == text(b, &other))
}

fn text<'a>(scan: &Scanner<'a>, string: &Token) -> Cow<'a, [u8]> {
    let spelled = scan.bytes(string);
    respelled(&spelled[1..spelled.len() - 1], string.spelling)
}

fn items(a: &mut Scanner<'_>, b: &mut Scanner<'_>, reordered: u32) -> Result<bool, Syntax> {
    a.enter()?;
    b.enter()?;
    let (mut first, mut first_of_b) = (true, true);
    loop {
        match (a.item(&mut first)?, b.item(&mut first_of_b)?) {
            (false, false) => return Ok(true),
            (true, true) if values(a, b, reordered)? => {}
            _ => return Ok(false),
        }
    }
}

fn members(
    a: &mut Scanner<'_>,
    b: &mut Scanner<'_>,
    counts: impl Fn(&[u8]) -> bool,
    reordered: u32,
) -> Result<bool, Syntax> {
    a.enter()?;
    b.enter()?;
    let (mut first, mut first_of_b) = (true, true);
    loop {
        match (name(a, &mut first, &counts)?, name(b, &mut first_of_b, &counts)?) {
            (None, None) => return Ok(true),
            (Some(one), Some(other)) if one == other => {
                if !values(a, b, reordered)? {
                    return Ok(false);
                }
            }
            (Some(one), Some(other)) => {
                let Some(reordered) = reordered.checked_sub(1) else { return Ok(false) };
                let one = rest(a, one, &counts)?;
                let other = rest(b, other, &counts)?;
                return same_rest((a, &one), (b, &other), reordered);
            }
            _ => return Ok(false),
        }
    }
}

/// The next key that counts; its value then follows.
fn name<'a>(
    scan: &mut Scanner<'a>,
    first: &mut bool,
    counts: impl Fn(&[u8]) -> bool,
) -> Result<Option<Cow<'a, [u8]>>, Syntax> {
    while let Some(key) = scan.key(first)? {
        let name = text(scan, &key);
        if counts(&name) {
            return Ok(Some(name));
        }
        scan.value()?;
    }
    Ok(None)
}

/// A member's key, and where its value stands.
type Member<'a> = (Cow<'a, [u8]>, usize);

/// The rest of an object whose member `next` was met, by its keys; the members of one key stay in order.
fn rest<'a>(
    scan: &mut Scanner<'a>,
    next: Cow<'a, [u8]>,
    counts: impl Fn(&[u8]) -> bool,
) -> Result<Vec<Member<'a>>, Syntax> {
    let mut members = Vec::new();
    let mut next = Some(next);
    while let Some(key) = next {
        members.push((key, scan.position()));
        scan.value()?;
        next = name(scan, &mut false, &counts)?;
    }
    members.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(members)
}

fn same_rest(
    (a, one): (&Scanner<'_>, &[Member<'_>]),
    (b, other): (&Scanner<'_>, &[Member<'_>]),
    reordered: u32,
) -> Result<bool, Syntax> {
    if one.len() != other.len() {
        return Ok(false);
    }
    for ((key, at), (key_of_b, at_of_b)) in one.iter().zip(other) {
        if key != key_of_b || !values(&mut a.another(*at), &mut b.another(*at_of_b), reordered)? {
            return Ok(false);
        }
    }
    Ok(true)
}
