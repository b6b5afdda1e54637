//! Ids of tool calls in the dialects that allow only some characters.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The id with the characters `a-zA-Z0-9_-` alone: others become `_`, and a hash of the whole keeps different ids
/// different. The same id gives the same, in every process.
pub(crate) fn plain(id: &str) -> Cow<'_, str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && id.bytes().all(allowed) {
        return Cow::Borrowed(id);
    }
    let mut plain: String = id
        .chars()
        .take(40)
        .map(|character| if u8::try_from(character).is_ok_and(allowed) { character } else { '_' })
        .collect();
    let _ = write!(plain, "_{:08x}", fnv1a(id.as_bytes()));
    Cow::Owned(plain)
}

/// FNV-1a, 32 bits: short, and nobody gains by a collision within one conversation of his own.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_rewritten_only_where_it_must_be_and_always_the_same() {
        assert_eq!(plain("call_1-A"), "call_1-A");
        let (dots, spaces) = (plain("functions.f:0"), plain("functions.f 0"));
        assert_eq!(dots, plain("functions.f:0"));
        assert_ne!(dots, spaces);
        assert!(dots.starts_with("functions_f_0_") && dots.len() == 22);
        assert_eq!(plain("").len(), 9);
        assert!(plain(&"é".repeat(500)).bytes().all(|byte| byte == b'_' || byte.is_ascii_hexdigit()));
    }
}
