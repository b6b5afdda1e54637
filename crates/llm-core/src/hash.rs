//! The workspace's only hash of requests: 128 bits, keyed per process.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The seed of [`hash128`], different in each process: nobody outside can aim for a collision.
#[derive(Clone, Copy)]
pub struct HashKey(u64);

impl HashKey {
    /// The key of this process, drawn from the operating system's randomness at first use.
    #[must_use]
    pub fn process() -> Self {
        static KEY: OnceLock<u64> = OnceLock::new();
        Self(*KEY.get_or_init(|| RandomState::new().hash_one("llmkit request key")))
    }

    /// A fixed key, for tests that must repeat.
    #[must_use]
    pub const fn fixed(seed: u64) -> Self {
        Self(seed)
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// A 128-bit hash of `parts`, by xxh3: no two lists of parts join to the same input, since the parts' own hashes are
/// chained: `state ← hash(state ‖ hash(part))`, from the number of parts on. Not a proof of equality: compare in full
/// on a match.
#[must_use]
pub fn hash128(key: HashKey, parts: &[&[u8]]) -> u128 {
    let mut state = parts.len() as u128;
    for part in parts {
        let mut link = [0; 32];
        link[..16].copy_from_slice(&state.to_le_bytes());
        link[16..].copy_from_slice(&xxh3_128_with_seed(part, key.0).to_le_bytes());
        state = xxh3_128_with_seed(&link, key.0);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_part_ends_counts() {
        let key = HashKey::fixed(1);
        assert_ne!(hash128(key, &[b"ab", b"c"]), hash128(key, &[b"a", b"bc"]));
        assert_ne!(hash128(key, &[b"abc"]), hash128(key, &[b"abc", b""]));
        assert_ne!(hash128(key, &[b"", b"abc"]), hash128(key, &[b"abc", b""]));
    }

    #[test]
    fn the_key_counts() {
        assert_ne!(hash128(HashKey::fixed(1), &[b"a"]), hash128(HashKey::fixed(2), &[b"a"]));
    }
}
