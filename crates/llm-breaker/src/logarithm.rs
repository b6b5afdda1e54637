//! Logarithms in whole numbers, for what works on orders of magnitude.

/// Binary digits after the point of [`log2`].
pub(crate) const LOG2_FRACTION: u32 = 14;

/// log₂ of `value` in 2⁻¹⁴ ([`LOG2_FRACTION`]), within 0.01; of 0 as of 1. It grows with `value`, without a
/// division or a table: the exponent is the place of the highest bit, and for the mantissa `1 + m` stands the parabola
/// `m + m·(1 − m)/3`, which meets the logarithm at both ends.
#[inline]
pub(crate) const fn log2(value: u64) -> u32 {
    let value = if value == 0 { 1 } else { value };
    let leading = value.leading_zeros();
    // 15 digits of the mantissa, without the leading one.
    let mantissa = ((value << leading) >> 48) & 0x7fff;
    let curve = (mantissa * (0x8000 - mantissa) * 21_845) >> 31;
    ((63 - leading) << LOG2_FRACTION) | ((mantissa + curve) >> 1) as u32
}

#[cfg(all(test, not(llm_loom)))]
mod tests {
    use super::*;

    fn real(value: u64) -> f64 {
        f64::from(log2(value)) / f64::from(1 << LOG2_FRACTION)
    }

    #[test]
    fn it_is_within_a_hundredth() {
        let mut value = 1.0f64;
        while value < 1.8e19 {
            let found = real(value as u64);
            let exact = (value as u64 as f64).log2();
            assert!((found - exact).abs() < 0.01, "{value}: {found} for {exact}");
            value *= 1.003;
        }
        assert_eq!((log2(0), log2(1), log2(2), log2(u64::MAX)), (0, 0, 1 << LOG2_FRACTION, (64 << LOG2_FRACTION) - 1));
    }

    #[test]
    fn it_grows() {
        let values = (0u64..1 << 17).chain((0..1 << 17).map(|step| (1 << 40) + (step << 23)));
        let mut last = (0, 0);
        for value in values {
            assert!(log2(value) >= last.1 || value < last.0, "{value}");
            last = (value, log2(value));
        }
    }
}
