//! Whether two request bodies ask the same.

use super::field::Field;
use crate::wire::json::{Kind, Scanner, any_member, same_values, skip_bom};

/// Whether `a` and `b`, bodies that [`read_chat`](super::read_chat) or [`read_embeddings`](super::read_embeddings) has
/// accepted, ask the same. Their digests are equal then; equal digests are no proof.
///
/// All members count, known or not, at any depth, but for these at the top: `stream`, `stream_options`, `user`,
/// `safety_identifier`, `prompt_cache_key` and, unless `store` is true, `metadata`. White space and the order of keys do not count, nor how a
/// string is spelled (`"é"` is `"\u00e9"`). Numbers are the same only if they are spelled alike: `1` is not `1.0`. A key
/// that is given more than once must have the same values in the same order. Objects in another order within each other,
/// more than 16 deep, count as different.
///
/// Allocates only for keys in another order and strings in another spelling.
#[must_use]
pub fn same_request(a: &[u8], b: &[u8]) -> bool {
    let scanner = |body| Scanner::new(body, skip_bom(body));
    a == b
        || same_values(&mut scanner(a), &mut scanner(b), |name| Field::named(name).counts())
            && (!is_stored(&mut scanner(a))
                || same_values(&mut scanner(a), &mut scanner(b), |name| Field::named(name).labels()))
}

/// Whether `scan`, at the beginning of a request, finds that its answer is to be stored.
fn is_stored(scan: &mut Scanner<'_>) -> bool {
    any_member(scan, |name, kind| Field::named(name) == Field::Store && kind == Kind::True)
}
