//! Bytes told apart by table, or eight at a time as one word, the first in its lowest bits.

/// The bytes that make one of the [`Usual`](super::scan::Spelling::Usual) escapes.
pub(super) const USUAL: [bool; 256] = {
    let mut usual = [false; 256];
    let mut place = 0;
    while place < 7 {
        usual[b"\"\\bfnrt"[place] as usize] = true;
        place += 1;
    }
    usual
};

/// The number of four hexadecimal digits.
#[inline]
pub(super) fn hex(digits: [u8; 4]) -> Option<u32> {
    let [a, b, c, d] = digits.map(|digit| u32::from(HEX[usize::from(digit)]));
    (a | b | c | d < 16).then_some(a << 12 | b << 8 | c << 4 | d)
}

/// What a byte is worth as a hexadecimal digit; 16 if it is none.
const HEX: [u8; 256] = {
    let mut values = [16; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        values[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

pub(super) const ONES: u64 = u64::MAX / 255;
pub(super) const HIGH: u64 = ONES * 0x80;

/// The high bit of each byte that is a quote, a backslash or a control character. Exact up to the lowest bit
/// set, which is all that is looked at.
#[inline]
pub(super) const fn special(word: u64) -> u64 {
    // With one bit turned, the quote (0x22) comes right after the control characters, and 0x20 does not.
    let quote_or_control = (word ^ (ONES * 0x02)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (quote_or_control | backslash) & !word & HIGH
}

/// The high bit of each byte that is no digit.
#[inline]
pub(super) const fn no_digits(word: u64) -> u64 {
    // A digit's bits but for 0x30 are 0 to 9: more, and adding 0x76 sets the high bit.
    let value = word ^ (ONES * b'0' as u64);
    (((value & !HIGH) + ONES * 0x76) | value) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_special_or_plain_at_every_place() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut block = [b'a'; 8];
                block[place] = byte;
                let hit = special(u64::from_le_bytes(block));
                let is = byte < 0x20 || byte == b'"' || byte == b'\\';
                assert_eq!(hit != 0, is, "{byte:#x}");
                assert!(!is || hit.trailing_zeros() as usize / 8 == place);
            }
        }
    }

    #[test]
    fn every_byte_is_told_from_a_digit_at_every_place() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                let mut block = [b'7'; 8];
                block[place] = byte;
                let is_digit = byte.is_ascii_digit();
                let expected = if is_digit { 0 } else { 0x80 << (8 * place) };
                assert_eq!(no_digits(u64::from_le_bytes(block)), expected, "{byte:#x}");
            }
        }
    }

    #[test]
    fn a_hexadecimal_digit_has_its_value_and_no_other_byte_has_one() {
        for byte in 0..=255_u8 {
            let value = char::from(byte).to_digit(16);
            assert_eq!(hex([byte, b'0', b'0', b'0']), value.map(|value| value << 12));
            assert_eq!(hex([b'0', b'a', b'F', byte]), value.map(|value| 0xAF0 + value));
        }
    }
}
