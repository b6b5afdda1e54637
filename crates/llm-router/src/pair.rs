//! Two numbers in one atomic word.

use llm_core::sync::{AtomicU64, Ordering};

/// Two numbers that are read and written together.
#[derive(Debug)]
pub(crate) struct Pair(AtomicU64);

impl Pair {
    pub(crate) fn new(first: f32, second: f32) -> Self {
        Self(AtomicU64::new(pack(first, second)))
    }

    // Relaxed, both: the word is the whole pair and publishes nothing else.
    pub(crate) fn set(&self, first: f32, second: f32) {
        self.0.store(pack(first, second), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> (f32, f32) {
        let word = self.0.load(Ordering::Relaxed);
        (f32::from_bits(word as u32), f32::from_bits((word >> 32) as u32))
    }
}

const fn pack(first: f32, second: f32) -> u64 {
    (second.to_bits() as u64) << 32 | first.to_bits() as u64
}
