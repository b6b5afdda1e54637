//! The one spelling of a string's text, of the many that JSON has for it.

use std::borrow::Cow;

use super::scan::Spelling;
use super::words::{HIGH, ONES, hex};

/// Hands on a string piece by piece, spelled as most encoders do: `\"`, `\\`, `\b`, `\f`, `\n`, `\r` and `\t` as such,
/// other control characters and halves of surrogate pairs as `\u` with lower-case digits, all else as itself.
/// `spelled` is a string that is known to be JSON, with or without its quotes.
pub(crate) fn respell(spelled: &[u8], take: impl FnMut(&[u8])) {
    let mut pieces = Pieces { take, buffer: [0; 512], used: 0 };
    let mut rest = spelled;
    while !rest.is_empty() {
        rest = match rest {
            [b'\\', b'u', ..] => {
                let (unit, length) = unit(rest);
                pieces.unit(unit);
                &rest[length..]
            }
            [b'\\', b'/', after @ ..] => {
                pieces.short(u64::from(b'/'), 1);
                after
            }
            [b'\\', of, after @ ..] => {
                pieces.short(escape(*of), 2);
                after
            }
            [b'\\'] => break,
            _ => pieces.run(rest),
        };
    }
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

/// The character, or the half of a surrogate pair, of the escapes `\uXXXX` that `text` begins with, and their length.
fn unit(text: &[u8]) -> (u32, usize) {
    let unit = |text: &[u8]| hex(*text.strip_prefix(br"\u")?.first_chunk()?);
    let Some(high) = unit(text) else { return (char::REPLACEMENT_CHARACTER.into(), text.len()) };
    if (0xD800..0xDC00).contains(&high)
        && let Some(low @ 0xDC00..0xE000) = unit(&text[6..])
    {
        return (0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00), 12);
    }
    (high, 6)
}

/// A backslash and a byte.
const fn escape(of: u8) -> u64 {
    b'\\' as u64 | (of as u64) << 8
}

/// What was spelled and not handed on yet.
struct Pieces<F> {
    take: F,
    buffer: [u8; 512],
    used: usize,
}

impl<F: FnMut(&[u8])> Pieces<F> {
    /// Adds what `text` begins with up to its first backslash; returns what comes behind.
    fn run<'a>(&mut self, mut text: &'a [u8]) -> &'a [u8] {
        for _ in 0..4 {
            let Some(block) = text.first_chunk() else { break };
            let word = u64::from_le_bytes(*block);
            let backslash = word ^ (ONES * u64::from(b'\\'));
            let hit = backslash.wrapping_sub(ONES) & !backslash & HIGH;
            let length = if hit == 0 { 8 } else { (hit.trailing_zeros() / 8) as usize };
            self.short(word, length);
            text = &text[length..];
            if hit != 0 {
                return text;
            }
        }
        let (run, after) = text.split_at(memchr::memchr(b'\\', text).unwrap_or(text.len()));
        self.long(run);
        after
    }

    /// Adds at most eight bytes, the first in the lowest bits.
    #[inline]
    fn short(&mut self, bytes: u64, length: usize) {
        if self.used > self.buffer.len() - 8 {
            self.flush();
        }
        self.buffer[self.used..self.used + 8].copy_from_slice(&bytes.to_le_bytes());
        self.used += length;
    }

    fn long(&mut self, piece: &[u8]) {
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

    /// Adds a character, or half a surrogate pair.
    fn unit(&mut self, unit: u32) {
        let code = u64::from(unit);
        let next = |shift: u32| 0x80 | (code >> shift & 0x3F);
        match unit {
            0x22 | 0x5C => self.short(escape(unit as u8), 2),
            0x08 => self.short(escape(b'b'), 2),
            0x0C => self.short(escape(b'f'), 2),
            0x0A => self.short(escape(b'n'), 2),
            0x0D => self.short(escape(b'r'), 2),
            0x09 => self.short(escape(b't'), 2),
            0x20..0x80 => self.short(code, 1),
            0x80..0x800 => self.short(0xC0 | code >> 6 | next(0) << 8, 2),
            0x800..0xD800 | 0xE000..0x1_0000 => self.short(0xE0 | code >> 12 | next(6) << 8 | next(0) << 16, 3),
            0x1_0000.. => self.short(0xF0 | code >> 18 | next(12) << 8 | next(6) << 16 | next(0) << 24, 4),
            0..0x20 | 0xD800..0xE000 => {
                let digit = |shift: u32| b"0123456789abcdef"[(unit >> shift & 15) as usize];
                self.long(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
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
