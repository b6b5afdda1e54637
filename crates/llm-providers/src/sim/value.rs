//! The values of a script's keys: how each kind is read and written.

use std::fmt::Write as _;
use std::time::Duration;

use llm_core::{format_duration, parse_duration};

/// The largest count in a script: what is simulated fits in memory.
const MOST: u32 = 1_000_000;

/// A kind of value. What is written reads back as it was.
pub(crate) trait Value: Sized {
    /// What is expected, for the error that names the key.
    const EXPECTED: &'static str;

    /// Reads what follows the key's `=`; none when there is no `=`.
    fn read(text: Option<&str>) -> Option<Self>;

    /// Writes `key=value` to the end of `line`.
    fn write(&self, key: &str, line: &mut String);
}

impl Value for Duration {
    const EXPECTED: &'static str = "a duration such as `50ms`";

    fn read(text: Option<&str>) -> Option<Self> {
        parse_duration(text?).ok()
    }

    fn write(&self, key: &str, line: &mut String) {
        let _ = write!(line, "{key}={}", format_duration(*self));
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "a whole number up to 1000000";

    fn read(text: Option<&str>) -> Option<Self> {
        text?.parse().ok().filter(|count| *count <= MOST)
    }

    fn write(&self, key: &str, line: &mut String) {
        let _ = write!(line, "{key}={self}");
    }
}

/// An HTTP status: 200, or one that is no success.
impl Value for u16 {
    const EXPECTED: &'static str = "200, or a status from 300 to 599";

    fn read(text: Option<&str>) -> Option<Self> {
        text?.parse().ok().filter(|status| matches!(status, 200 | 300..=599))
    }

    fn write(&self, key: &str, line: &mut String) {
        let _ = write!(line, "{key}={self}");
    }
}

/// A probability.
impl Value for f64 {
    const EXPECTED: &'static str = "a number from 0 to 1";

    fn read(text: Option<&str>) -> Option<Self> {
        text?.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))
    }

    fn write(&self, key: &str, line: &mut String) {
        let _ = write!(line, "{key}={self}");
    }
}

/// A switch. The key alone switches it on.
impl Value for bool {
    const EXPECTED: &'static str = "`on` or `off`";

    fn read(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("on" | "true" | "1") => Some(true),
            Some("off" | "false" | "0") => Some(false),
            Some(_) => None,
        }
    }

    fn write(&self, key: &str, line: &mut String) {
        line.push_str(key);
        if !self {
            line.push_str("=off");
        }
    }
}

/// A text. `%` and two hexadecimal digits stand for a byte, so that a text may hold the script's separators.
impl Value for String {
    const EXPECTED: &'static str = "a text, with `%2C` for a comma, `%26` for `&` and `%25` for `%`";

    fn read(text: Option<&str>) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut rest = text?.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let (byte, after) = match (first, after) {
                (b'%', [high, low, after @ ..]) => (hex(*high)? << 4 | hex(*low)?, after),
                (b'%', _) => return None,
                _ => (first, after),
            };
            bytes.push(byte);
            rest = after;
        }
        Self::from_utf8(bytes).ok()
    }

    fn write(&self, key: &str, line: &mut String) {
        let _ = write!(line, "{key}=");
        for (at, byte) in self.bytes().enumerate() {
            // A space at either end would be trimmed.
            let edge = at == 0 || at + 1 == self.len();
            match byte {
                b',' | b'&' | b'%' => drop(write!(line, "%{byte:02X}")),
                b' ' if !edge => line.push(' '),
                b'!'..=b'~' => line.push(char::from(byte)),
                _ => drop(write!(line, "%{byte:02X}")),
            }
        }
    }
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
