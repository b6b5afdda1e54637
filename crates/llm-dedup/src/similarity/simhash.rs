//! The fingerprint of a text, 64 bits of which few differ where few words do.

use llm_core::hash64;

/// Charikar's SimHash of the text's words and pairs of words, each of one vote: bit i is set where more of their hashes
/// have it set than not. Case, punctuation and white space do not count.
pub(super) fn simhash(text: &str) -> u64 {
    let mut votes = Votes::default();
    let mut before = None;
    words(text, |word| {
        let hash = hash64(word.as_bytes());
        votes.add(hash);
        if let Some(before) = before.replace(hash) {
            votes.add(paired(before, hash));
        }
    });
    votes.majority()
}

/// One hash of two words in their order.
const fn paired(first: u64, second: u64) -> u64 {
    let product = (first.rotate_left(23) ^ 0x9e37_79b9_7f4a_7c15) as u128 * (second ^ 0xd1b5_4a32_d192_ed03) as u128;
    (product >> 64) as u64 ^ product as u64
}

/// Tells `each` the text's words in lower case: what stands between characters that are no letters and no digits. An
/// apostrophe within a word is left out.
pub(super) fn words(text: &str, mut each: impl FnMut(&str)) {
    let mut word = String::with_capacity(32);
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            word.push(character.to_ascii_lowercase());
        } else if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        } else if !matches!(character, '\'' | '’') && !word.is_empty() {
            each(&word);
            word.clear();
        }
    }
    if !word.is_empty() {
        each(&word);
    }
}

/// Counts of 64 votes at once, a bit of each count in each plane.
#[derive(Default)]
struct Votes {
    planes: [u64; PLANES],
    cast: u32,
    /// Votes that wait to be counted seven at a time.
    waiting: [u64; 7],
    held: usize,
}

/// Counts up to 2^24: more words than a request may have.
const PLANES: usize = 24;

impl Votes {
    fn add(&mut self, vote: u64) {
        self.waiting[self.held] = vote;
        self.held += 1;
        self.cast = self.cast.saturating_add(1);
        if self.held == self.waiting.len() {
            self.count();
        }
    }

    /// Seven votes are a number of three bits in each place: four full adders.
    fn count(&mut self) {
        const fn adder(a: u64, b: u64, c: u64) -> (u64, u64) {
            (a ^ b ^ c, a & b | c & (a ^ b))
        }
        let [a, b, c, d, e, f, g] = std::mem::take(&mut self.waiting);
        self.held = 0;
        let (ones, twos) = adder(a, b, c);
        let (ones, twos_too) = adder(ones, d, e);
        let (ones, twos_three) = adder(ones, f, g);
        let (twos, fours) = adder(twos, twos_too, twos_three);
        for (first, mut carry) in [(0, ones), (1, twos), (2, fours)] {
            for plane in &mut self.planes[first..] {
                if carry == 0 {
                    break;
                }
                (*plane, carry) = (*plane ^ carry, *plane & carry);
            }
        }
    }

    /// The places in which more than half of the votes are set.
    fn majority(mut self) -> u64 {
        self.count();
        // Greater than: compared from the highest plane down.
        let half = self.cast / 2;
        let (mut greater, mut equal) = (0, u64::MAX);
        for (place, plane) in self.planes.iter().enumerate().rev() {
            let bit = if half >> place & 1 == 1 { u64::MAX } else { 0 };
            greater |= equal & plane & !bit;
            equal &= !(plane ^ bit);
        }
        greater
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_punctuation_do_not_count_and_another_name_does() {
        let asked = simhash("What is the capital of France?");
        assert_eq!(asked, simhash("what is  the capital of france"));
        assert!((asked ^ simhash("What is the capital of Germany?")).count_ones() > 6);
        assert_eq!(simhash("Don’t"), simhash("dont"));
        assert_eq!(simhash(""), 0);
    }

    proptest! {
        #[test]
        fn the_majority_is_that_of_counting_one_by_one(votes in proptest::collection::vec(any::<u64>(), 0..200)) {
            let mut counted = Votes::default();
            votes.iter().for_each(|vote| counted.add(*vote));
            let more = |place: usize| votes.iter().filter(|vote| **vote >> place & 1 == 1).count() > votes.len() / 2;
            let naive = (0..64).filter(|place| more(*place)).fold(0_u64, |bits, place| bits | 1 << place);
            prop_assert_eq!(counted.majority(), naive);
        }
    }
}
