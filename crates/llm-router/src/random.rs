//! Random bits that need no lock: a counter, mixed.

/// The 64-bit golden ratio, the step of splitmix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The `turn`th number of the sequence that `seed` begins: splitmix64 (Steele, Lea and Flood, 2014).
pub(crate) const fn draw(seed: u64, turn: u64) -> u64 {
    mix(seed.wrapping_add(turn.wrapping_mul(STEP)))
}

/// Another number for each `stream` out of one draw.
pub(crate) const fn mix2(draw: u64, stream: u64) -> u64 {
    mix(draw ^ stream.wrapping_add(1).wrapping_mul(STEP))
}

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// From 0, inclusive, to 1, exclusive.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// From 0 to `bound`, exclusive; 0 when `bound` is 0.
pub(crate) const fn below(bits: u64, bound: u32) -> u32 {
    (((bits >> 32) * bound as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_uniform_over_what_it_chooses_from() {
        let mut counts = [0u32; 5];
        for turn in 0..50_000 {
            counts[below(draw(7, turn), 5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
        let mean = (0..50_000).map(|turn| unit(mix2(draw(7, turn), 3))).sum::<f64>() / 50_000.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }
}
