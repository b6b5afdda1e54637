//! The workspace's only hash of requests: 128 bits, keyed per process.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::OnceLock;

use twox_hash::{XxHash3_64, XxHash3_128, xxhash3_128};

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

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// The 64-bit xxh3 of `bytes`, the same everywhere and always: for what is compared by its bits, not looked up by them.
#[must_use]
pub fn hash64(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// A 128-bit hash of `parts`, by xxh3, of their number, their lengths and their bytes, so that no two lists of parts
/// join to the same input; for the bytes of a long part stands its own hash. Not a proof of equality: compare in full on
/// a match.
#[must_use]
pub fn hash128(key: HashKey, parts: &[&[u8]]) -> u128 {
    const SHORT: usize = 64;
    let mut text = [0; 16 + 3 * (8 + SHORT)];
    text[..8].copy_from_slice(&(parts.len() as u64).to_le_bytes());
    let mut end = 16;
    for part in parts {
        if end + 8 + SHORT > text.len() {
            let so_far = XxHash3_128::oneshot_with_seed(key.0, &text[..end]);
            text[..16].copy_from_slice(&so_far.to_le_bytes());
            end = 16;
        }
        text[end..end + 8].copy_from_slice(&(part.len() as u64).to_le_bytes());
        end += 8;
        if part.len() <= SHORT {
            text[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        } else {
            let part = XxHash3_128::oneshot_with_seed(key.0, part);
            text[end..end + 16].copy_from_slice(&part.to_le_bytes());
            end += 16;
        }
    }
    XxHash3_128::oneshot_with_seed(key.0, &text[..end])
}

/// As long as xxh3's own; 136 bytes would do.
const SECRET: usize = 192;
const LONG_ENOUGH: &str = "the secret is long enough";

/// Hashes what has parts: a leaf by its bytes, and two hashes to one. For trees whose bytes may lie in another order
/// or further apart without meaning something else. What it says is not a proof of equality: compare in full on a match.
pub struct TreeKey {
    /// Up to 240 bytes xxh3 takes the one, and beyond it the other.
    seed: u64,
    secret: [u8; SECRET],
    leaf: [u64; 6],
    pair: [u64; 4],
}

impl TreeKey {
    /// The key of this process, drawn from the operating system's randomness at first use.
    #[must_use]
    pub fn process() -> &'static Self {
        static KEY: OnceLock<TreeKey> = OnceLock::new();
        KEY.get_or_init(Self::draw)
    }

    fn draw() -> Self {
        let random = RandomState::new();
        let mut secret = [0; SECRET];
        for (place, word) in secret.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&random.hash_one(place).to_le_bytes());
        }
        Self {
            seed: random.hash_one("seed"),
            secret,
            leaf: std::array::from_fn(|place| random.hash_one(("leaf", place))),
            pair: std::array::from_fn(|place| random.hash_one(("pair", place))),
        }
    }

    /// The hash of the bytes `at` of `text`: a product of two words if there are at most 16, else xxh3. It depends on
    /// nothing else of the text, which is there so that a short leaf can be read as a block.
    ///
    /// # Panics
    /// If the text ends before.
    #[inline]
    #[must_use]
    pub fn leaf(&self, text: &[u8], at: Range<usize>) -> u128 {
        let Some(mask) = MASKS.get(at.len()) else { return self.long(&text[at]) };
        match text[at.start..].first_chunk() {
            Some(block) => {
                let [low, high] = words(block);
                self.short([low & mask[0], high & mask[1]], at.len())
            }
            None => self.short(last_words(&text[at.clone()]), at.len()),
        }
    }

    /// A leaf whose bytes come piece by piece.
    #[must_use]
    pub fn pieces(&self) -> Pieces<'_> {
        let secret = xxhash3_128::SecretBuffer::new(self.seed, &self.secret).expect(LONG_ENOUGH);
        Pieces { key: self, all: xxhash3_128::RawHasher::new(secret), start: [0; 16], length: 0 }
    }

    /// One hash of two; which is the first counts. Both halves are multiplied with their counterparts, so that sums of
    /// pairs keep apart what belongs together: (a, x) + (b, y) is not (a, y) + (b, x).
    #[inline]
    #[must_use]
    pub const fn pair(&self, first: u128, second: u128) -> u128 {
        let [a, b, c, d] = self.pair;
        joined(
            folded_product(first as u64 ^ a, second as u64 ^ b),
            folded_product((first >> 64) as u64 ^ c, (second >> 64) as u64 ^ d),
        )
    }

    /// Apart, so that the short way can be part of where it is used.
    #[inline(never)]
    fn long(&self, bytes: &[u8]) -> u128 {
        XxHash3_128::oneshot_with_seed_and_secret(self.seed, &self.secret, bytes).expect(LONG_ENOUGH)
    }

    #[inline]
    const fn short(&self, [low, high]: [u64; 2], length: usize) -> u128 {
        let [a, b, c, d, e, f] = self.leaf;
        let length = length as u64;
        joined(
            folded_product(low ^ a, high ^ b).wrapping_add(e.wrapping_mul(length)),
            folded_product(low ^ c, high ^ d).wrapping_add(f.wrapping_mul(length)),
        )
    }
}

impl fmt::Debug for TreeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TreeKey(..)")
    }
}

/// A leaf of a [`TreeKey`] in the making.
pub struct Pieces<'k> {
    key: &'k TreeKey,
    all: xxhash3_128::RawHasher<&'k [u8; SECRET]>,
    start: [u8; 16],
    length: usize,
}

impl Pieces<'_> {
    /// Adds the bytes that follow.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = self.start.get_mut(self.length..).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.length += bytes.len();
        self.all.write(bytes);
    }

    /// What [`TreeKey::leaf`] says of all the bytes.
    #[must_use]
    pub fn finish(&self) -> u128 {
        if self.length <= self.start.len() {
            return self.key.short(words(&self.start), self.length);
        }
        self.all.finish_128()
    }
}

impl fmt::Debug for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces(..)")
    }
}

/// The bits of the first bytes of two words, by how many they are.
const MASKS: [[u64; 2]; 17] = {
    let mut masks = [[0; 2]; 17];
    let mut length = 1;
    while length < masks.len() {
        masks[length] = masks[length - 1];
        let word = &mut masks[length][(length - 1) / 8];
        *word = *word << 8 | 0xFF;
        length += 1;
    }
    masks
};

const fn words(block: &[u8; 16]) -> [u64; 2] {
    let block = u128::from_le_bytes(*block);
    [block as u64, (block >> 64) as u64]
}

/// The words of at most 16 bytes that have no others behind them.
#[cold]
fn last_words(bytes: &[u8]) -> [u64; 2] {
    let mut block = [0; 16];
    block[..bytes.len()].copy_from_slice(bytes);
    words(&block)
}

const fn joined(low: u64, high: u64) -> u128 {
    (high as u128) << 64 | low as u128
}

const fn folded_product(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
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
        let long = [b'x'; 100];
        let lists: Vec<Vec<&[u8]>> =
            (0..12).flat_map(|parts| [vec![&b"x"[..]; parts], vec![&long[..]; parts]]).collect();
        let hashes: std::collections::HashSet<u128> = lists.iter().map(|parts| hash128(key, parts)).collect();
        // Without parts the two are one.
        assert_eq!(hashes.len(), lists.len() - 1);
    }

    #[test]
    fn each_byte_of_each_part_counts() {
        let key = HashKey::fixed(1);
        for length in [1, 63, 64, 65, 240, 241, 1000] {
            let parts: [Vec<u8>; 5] = std::array::from_fn(|part| vec![part as u8; length]);
            let hash = |parts: &[Vec<u8>; 5]| hash128(key, &parts.each_ref().map(Vec::as_slice));
            for part in 0..5 {
                for at in [0, length / 2, length - 1] {
                    let mut other = parts.clone();
                    other[part][at] ^= 0x80;
                    assert_ne!(hash(&parts), hash(&other), "byte {at} of part {part}, {length} bytes each");
                }
            }
        }
    }

    #[test]
    fn the_key_counts() {
        assert_ne!(hash128(HashKey::fixed(1), &[b"a"]), hash128(HashKey::fixed(2), &[b"a"]));
    }

    #[test]
    fn a_leaf_is_its_bytes_whatever_stands_around_them() {
        let key = TreeKey::process();
        let bytes: Vec<u8> = (0..2000_u32).map(|n| (n * n % 251) as u8).collect();
        for length in (0..300).chain([512, 1024, 1025, 1900]) {
            let leaf = key.leaf(&bytes, 0..length);
            assert_eq!(key.leaf(&bytes[..length], 0..length), leaf, "{length} bytes at the end");
            let within = [b"before", &bytes[..length], b"a long text behind"].concat();
            assert_eq!(key.leaf(&within, 6..6 + length), leaf, "{length} bytes within");
            for step in [1, 7, 64, 256, 300] {
                let mut pieces = key.pieces();
                bytes[..length].chunks(step).for_each(|piece| pieces.push(piece));
                assert_eq!(pieces.finish(), leaf, "{length} bytes by {step}");
            }
        }
    }

    #[test]
    fn every_byte_of_a_leaf_and_its_length_count() {
        let key = TreeKey::process();
        for length in 0..40 {
            let bytes = vec![0; length];
            let leaf = key.leaf(&bytes, 0..length);
            assert_ne!(key.leaf(&[0; 64], 0..length + 1), leaf);
            for place in 0..length {
                let mut other = bytes.clone();
                other[place] = 1;
                assert_ne!(key.leaf(&other, 0..length), leaf, "byte {place} of {length}");
            }
        }
    }

    #[test]
    fn a_pair_has_a_first_and_a_second_and_belongs_together() {
        let key = TreeKey::process();
        let [a, b, x, y] = [0, 1, 2, 3].map(|place| key.leaf(b"abxy", place..place + 1));
        assert_ne!(key.pair(a, x), key.pair(x, a));
        let sum =
            |one: (u128, u128), other: (u128, u128)| key.pair(one.0, one.1).wrapping_add(key.pair(other.0, other.1));
        assert_ne!(sum((a, x), (b, y)), sum((a, y), (b, x)));
    }

    #[test]
    fn every_key_hashes_trees_in_its_own_way() {
        let (one, other) = (TreeKey::draw(), TreeKey::draw());
        for length in [0, 1, 4, 9, 17, 129, 241, 2000] {
            let bytes = vec![b'a'; length];
            assert_ne!(one.leaf(&bytes, 0..length), other.leaf(&bytes, 0..length), "{length}");
        }
        assert_ne!(one.pair(1, 2), other.pair(1, 2));
    }
}
