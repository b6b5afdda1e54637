//! Whether two values say the same: white space and the order of members do not count, nor how a string is spelled.

use std::borrow::Cow;

use super::scan::{Kind, Scanner, Spelling, Step};
use super::spelling::respelled;

/// Objects whose members are in another order may lie this deep within each other: each is read once more for every
/// one around it. Deeper ones count as different.
const REORDERED: u32 = 16;

/// Tells of a key whether its member counts. None: all do.
type Counts = Option<fn(&[u8]) -> bool>;

/// Whether the next values of `a` and `b` say the same; of the members of these values themselves, only those that
/// `counts` are looked at. What is no JSON is not the same as anything.
///
/// Numbers are the same if they are spelled alike. Two objects are the same if each key has the same values, in the same
/// order where it is given more than once: so they are the same to whoever takes a key's first value, and to whoever
/// takes its last.
pub(crate) fn same_values(a: &mut Scanner<'_>, b: &mut Scanner<'_>, counts: fn(&[u8]) -> bool) -> bool {
    values(a, b, Some(counts), REORDERED).unwrap_or(false)
}

/// Whether the next value is an object with a member of which `is` says so, by its name and the kind of its value.
pub(crate) fn any_member(scan: &mut Scanner<'_>, is: fn(&[u8], Kind) -> bool) -> bool {
    let mut look = || {
        if scan.next_kind()? != Kind::Object {
            return Ok(false);
        }
        scan.open()?;
        let mut first = true;
        while scan.next_member(&mut first)? {
            let name = name(scan)?;
            let kind = scan.next_kind()?;
            if is(&name, kind) {
                return Ok(true);
            }
            scan.step_over(kind)?;
        }
        Ok(false)
    };
    let found: Step<bool> = look();
    found.unwrap_or(false)
}

fn values(a: &mut Scanner<'_>, b: &mut Scanner<'_>, counts: Counts, reordered: u32) -> Step<bool> {
    match (a.next_kind()?, b.next_kind()?) {
        (Kind::Object, Kind::Object) => members(a, b, counts, reordered),
        (Kind::Array, Kind::Array) => items(a, b, reordered),
        (Kind::String, Kind::String) => strings(a, b),
        (one, other) => Ok(one == other && leaf(a, one)? == leaf(b, other)?),
    }
}

fn leaf<'a>(scan: &mut Scanner<'a>, kind: Kind) -> Step<&'a [u8]> {
    let start = scan.position();
    scan.step_over(kind)?;
    Ok(&scan.text()[start..scan.position()])
}

fn strings(a: &mut Scanner<'_>, b: &mut Scanner<'_>) -> Step<bool> {
    let start = a.position();
    let spelling = a.rest_of_string()?;
    // A string's text ends with its only bare quote: what begins with all of it is no longer string.
    let one = &a.text()[start..a.position()];
    if b.skip(one) {
        return Ok(true);
    }
    let start = b.position();
    let other = b.rest_of_string()?;
    let text = &b.text()[start..b.position()];
    Ok(spelling.max(other) == Spelling::Unusual && respelled(one, spelling) == respelled(text, other))
}

fn items(a: &mut Scanner<'_>, b: &mut Scanner<'_>, reordered: u32) -> Step<bool> {
    a.open()?;
    b.open()?;
    let (mut first, mut first_of_b) = (true, true);
    loop {
        match (a.next_item(&mut first)?, b.next_item(&mut first_of_b)?) {
            (false, false) => return Ok(true),
            (true, true) if values(a, b, None, reordered)? => {}
            _ => return Ok(false),
        }
    }
}

fn members(a: &mut Scanner<'_>, b: &mut Scanner<'_>, counts: Counts, reordered: u32) -> Step<bool> {
    a.open()?;
    b.open()?;
    let (mut first, mut first_of_b) = (true, true);
    loop {
        match (next(a, &mut first, counts)?, next(b, &mut first_of_b, counts)?) {
            (false, false) => return Ok(true),
            (true, true) => {}
            _ => return Ok(false),
        }
        let (key, key_of_b) = (a.position(), b.position());
        if !strings(a, b)? {
            a.go_back(key);
            b.go_back(key_of_b);
            return in_another_order(a, b, counts, reordered);
        }
        a.colon()?;
        b.colon()?;
        if !values(a, b, None, reordered)? {
            return Ok(false);
        }
    }
}

/// Whether a member that counts comes next; its key then stands here.
#[inline]
fn next(scan: &mut Scanner<'_>, first: &mut bool, counts: Counts) -> Step<bool> {
    while scan.next_member(first)? {
        let Some(counts) = counts else { return Ok(true) };
        let key = scan.position();
        if counts(&name(scan)?) {
            scan.go_back(key);
            return Ok(true);
        }
        step_over(scan)?;
    }
    Ok(false)
}

/// Steps over a key and its colon.
fn name<'a>(scan: &mut Scanner<'a>) -> Step<Cow<'a, [u8]>> {
    let start = scan.position() + 1;
    let spelling = scan.rest_of_string()?;
    let inner = &scan.text()[start..scan.position() - 1];
    scan.colon()?;
    Ok(respelled(inner, spelling))
}

/// Steps over a value; returns where it begins.
fn step_over(scan: &mut Scanner<'_>) -> Step<usize> {
    let kind = scan.next_kind()?;
    let start = scan.position();
    scan.step_over(kind)?;
    Ok(start)
}

/// As [`members`], from a member on whose keys differ.
#[cold]
fn in_another_order(a: &mut Scanner<'_>, b: &mut Scanner<'_>, counts: Counts, reordered: u32) -> Step<bool> {
    let Some(reordered) = reordered.checked_sub(1) else { return Ok(false) };
    let (one, other) = (rest(a, counts)?, rest(b, counts)?);
    if one.len() != other.len() {
        return Ok(false);
    }
    for ((key, at), (key_of_b, at_of_b)) in one.iter().zip(&other) {
        if key != key_of_b || !values(&mut a.another(*at), &mut b.another(*at_of_b), None, reordered)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The rest of an object from the member whose key stands here: keys, and where their values begin. By key; the members
/// of one key stay in order.
fn rest<'a>(scan: &mut Scanner<'a>, counts: Counts) -> Step<Vec<(Cow<'a, [u8]>, usize)>> {
    let mut members = vec![(name(scan)?, step_over(scan)?)];
    while next(scan, &mut false, counts)? {
        members.push((name(scan)?, step_over(scan)?));
    }
    members.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(members)
}
