//! Random bits that need no lock: a counter, multiplied.

/// The constants of wyrand (Wang Yi, 2019).
const STEP: u64 = 0x2d35_8dcc_aa6c_78a5;
const OTHER: u64 = 0x8bb8_4b93_962e_acc9;

/// The `turn`th number of the sequence that `seed` begins.
pub(crate) const fn draw(seed: u64, turn: u64) -> u64 {
    let state = seed.wrapping_add(turn.wrapping_mul(STEP));
    folded(state, state ^ OTHER)
}

/// The state after `state`, which is not 0: xorshift (Marsaglia, 2003). Each is a random number.
pub(crate) const fn after(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

/// Another number for each `stream` out of one draw: the next ones.
pub(crate) const fn mix2(draw: u64, stream: u64) -> u64 {
    self::draw(draw, stream.wrapping_add(1))
}

const fn folded(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}

/// From 0, inclusive, to 1, exclusive.
pub(crate) fn unit(bits: u64) -> f64 {
    // Signed, because that is one instruction.
    (bits >> 11) as i64 as f64 * (1.0 / (1u64 << 53) as f64)
}

/// From 0 to `bound`, exclusive; 0 when `bound` is 0.
pub(crate) const fn below(bits: u32, bound: u32) -> u32 {
    ((bits as u64 * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_even(counts: &[u32], each: u32) {
        assert!(counts.iter().all(|count| count.abs_diff(each) < each / 20), "{counts:?}");
    }

    #[test]
    fn both_halves_of_a_draw_are_uniform_over_pairs() {
        let mut pairs = [0u32; 20];
        let mut bits = draw(7, 0) | 1;
        for _ in 0..400_000 {
            bits = after(bits);
            pairs[(below((bits >> 32) as u32, 5) * 4 + below(bits as u32, 4)) as usize] += 1;
        }
        assert_even(&pairs, 20_000);
    }

    #[test]
    fn the_least_of_a_draws_streams_is_uniform() {
        let mut least = [0u32; 5];
        let mut sum = 0.0;
        for turn in 0..100_000 {
            let lanes = [0, 1, 2, 15, 63].map(|stream| mix2(draw(7, turn), stream));
            let place = lanes.iter().enumerate().min_by_key(|(_, bits)| **bits).map(|(place, _)| place);
            least[place.unwrap()] += 1;
            sum += unit(lanes[4]);
        }
        assert_even(&least, 20_000);
        assert!((sum / 100_000.0 - 0.5).abs() < 0.01, "{sum}");
    }
}
