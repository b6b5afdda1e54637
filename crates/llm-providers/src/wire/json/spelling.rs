//! The one spelling of a string's text, of the many that JSON has for it.

use std::borrow::Cow;

use super::scan::Spelling;

/// Hands on a string piece by piece, spelled as most encoders do: `\"`, `\\`, `\b`, `\f`, `\n`, `\r` and `\t` as such,
/// other control characters and halves of surrogate pairs as `\u` with lower-case digits, all else as itself.
/// `spelled` is a string that is known to be JSON, with or without its quotes.
pub(crate) fn respell(spelled: &[u8], take: impl FnMut(&[u8])) {
    let mut pieces = Pieces { take, buffer: [0; 256], used: 0 };
    let mut rest = spelled;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        pieces.push(&rest[..at]);
        rest = &rest[at..];
        if let Some((unit, length)) = unit(rest) {
            let low = || (0xD800..0xDC00).contains(&unit).then(|| self::unit(&rest[length..])).flatten();
            if let Some((low @ 0xDC00..0xE000, more)) = low() {
                pieces.unit(0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00));
                rest = &rest[length + more..];
            } else {
                pieces.unit(unit);
                rest = &rest[length..];
            }
        } else {
            let (escape, after) = rest.split_at(rest.len().min(2));
            pieces.push(escape.strip_prefix(b"\\").filter(|of| *of == b"/").unwrap_or(escape));
            rest = after;
        }
    }
    pieces.push(rest);
    pieces.flush();
}

/// What stands between a string's quotes, in that spelling.
pub(crate) fn respelled(inner: &[u8], spelling: Spelling) -> Cow<'_, [u8]> {
    if spelling != Spelling::Unusual {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(inner.len());
    respell(inner, |piece| text.extend_from_slice(piece));
    Cow::Owned(text)
}

/// The number of the escape `\uXXXX` that `text` begins with, and the escape's length.
fn unit(text: &[u8]) -> Option<(u32, usize)> {
    let escape: &[u8; 6] = text.first_chunk()?;
    let digits = escape.strip_prefix(br"\u")?;
    // The low four bits of a letter count from `a`, and only letters have the bit 64.
    let value = |digit: u8| u32::from(digit & 15) + 9 * u32::from(digit >> 6);
    Some((digits.iter().fold(0, |number, &digit| number << 4 | value(digit)), escape.len()))
}

struct Pieces<F> {
    take: F,
    buffer: [u8; 256],
    used: usize,
}

impl<F: FnMut(&[u8])> Pieces<F> {
    fn push(&mut self, piece: &[u8]) {
        if piece.len() > self.buffer.len() - self.used {
            self.flush();
        }
        if piece.len() > self.buffer.len() {
            (self.take)(piece);
            return;
        }
        self.buffer[self.used..self.used + piece.len()].copy_from_slice(piece);
        self.used += piece.len();
    }

    /// A character, or half a surrogate pair.
    fn unit(&mut self, unit: u32) {
        let short = |letter: u8| [b'\\', letter];
        match (unit, char::from_u32(unit)) {
            (0x22, _) => self.push(&short(b'"')),
            (0x5C, _) => self.push(&short(b'\\')),
            (0x08, _) => self.push(&short(b'b')),
            (0x0C, _) => self.push(&short(b'f')),
            (0x0A, _) => self.push(&short(b'n')),
            (0x0D, _) => self.push(&short(b'r')),
            (0x09, _) => self.push(&short(b't')),
            (0x20.., Some(character)) => self.push(character.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => {
                let digit = |place: u32| b"0123456789abcdef"[(unit >> place & 15) as usize];
                self.push(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
        }
    }

    fn flush(&mut self) {
        if self.used > 0 {
            (self.take)(&self.buffer[..self.used]);
            self.used = 0;
        }
    }
}
