//! What targets are compared by: lower is better. Single precision, one function a strategy, so that a loop over many
//! targets becomes vector instructions.

/// Seconds that a target without an outcome is taken to need, and the least of any: it begins optimistic.
pub(crate) const OPTIMISTIC: f32 = 0.001;

/// A share of the calls in flight that each adds to an expected time. Providers serve many calls side by side, so one
/// more weighs little; it weighs enough that a crowd does not run to one target before its answers are in.
const CROWDING: f32 = 1.0 / 32.0;

/// Dollars that a call costs at least: they keep the free ones in order too.
const LEAST_COST: f32 = 1e-8;

/// The expected time in which a share of failures counts as the penalty: `mean·(1 − faults) + penalty·faults`. A
/// failure never counts as less than a success.
#[inline]
pub(crate) fn expected(mean: f32, faults: f32, penalty: f32) -> f32 {
    mean + at_least(penalty - mean, 0.0) * faults
}

/// What `calls` in flight make of an expected time.
#[inline]
pub(crate) fn crowded(seconds: f32, calls: i32) -> f32 {
    seconds * (1.0 + CROWDING * calls as f32)
}

/// The price of one success, `dollars / (1 − faults)`, a target that only fails not being free of charge; among prices
/// within a hundredth, the fewer calls in flight.
#[inline]
pub(crate) fn price(dollars: f32, faults: f32, calls: i32) -> f32 {
    let (calls, once) = (calls as f32, dollars + LEAST_COST);
    // One division instead of two: once / successes · (1 + 0.01 · calls / (1 + calls))
    once * (1.0 + 1.01 * calls) / (at_least(1.0 - faults, 0.05) * (1.0 + calls))
}

/// The share of failures; among shares within a hundredth, the faster.
#[inline]
pub(crate) fn reliability(faults: f32, seconds: f32) -> f32 {
    faults + 0.01 * seconds / (1.0 + seconds)
}

/// A factor from 1 to 1.05, another for each target: what tells near equals apart. 1 without random bits.
#[inline]
pub(crate) fn luck(draw: u64, index: usize) -> f32 {
    1.0 + lot(draw, index) * (0.05 / LOTS)
}

/// Which of the unknown is tried: the less it failed in the last hour, the likelier.
pub(crate) fn turn(draw: u64, index: usize, hourly_faults: f32) -> f32 {
    lot(draw, index) * (1.0 + 20.0 * hourly_faults)
}

/// A number below [`LOTS`] for each target, out of a decision's random bits; 0 out of none.
#[inline]
fn lot(draw: u64, index: usize) -> f32 {
    // The upper bits of a product with an odd number are as random as the other factor.
    let bits = ((draw >> 32) as u32).wrapping_mul((index as u32).wrapping_mul(0x9e37_79ba).wrapping_add(0x85eb_ca6b));
    // Signed, because that is one instruction.
    (bits >> 8) as i32 as f32
}

const LOTS: f32 = (1 << 24) as f32;

/// The greater of both; `floor` where `value` is not a number.
#[inline]
pub(crate) fn at_least(value: f32, floor: f32) -> f32 {
    if value > floor { value } else { floor }
}
