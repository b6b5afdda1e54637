//! Texts on their way from one JSON document into another.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};

use super::json::{Raw, unescape};

/// A text where it stands. One that is read from JSON is written into JSON again without being decoded in between.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(Form<'a>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form<'a> {
    Plain(&'a str),
    /// What stands between a JSON string's quotes; half a surrogate pair is not among it.
    Quoted(&'a str),
}

impl<'a> Text<'a> {
    /// A text as it is.
    #[must_use]
    pub const fn plain(text: &'a str) -> Self {
        Self(Form::Plain(text))
    }

    /// The text of the JSON string `token`, quotes included. `None` if it holds half a surrogate pair, which has no form
    /// in UTF-8, or is no string.
    pub(crate) fn quoted(token: &'a str) -> Option<Self> {
        let quoted = token.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', quoted.as_bytes()).is_none() {
            return Some(Self::plain(quoted));
        }
        has_whole_characters(quoted).then_some(Self(Form::Quoted(quoted)))
    }

    /// Tells `sink` the text of the string `value`, unless it is empty or no string. Half a surrogate pair becomes U+FFFD.
    pub(crate) fn tell(value: Raw<'_>, sink: impl FnOnce(Text<'_>)) {
        match Text::quoted(value.text()) {
            Some(text) if text.is_empty() => {}
            Some(text) => sink(text),
            None => {
                if let Some(text) = value.string() {
                    sink(Text::plain(&text));
                }
            }
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        match self.0 {
            Form::Plain(text) | Form::Quoted(text) => text.is_empty(),
        }
    }

    /// The text itself; copied only if it was written with escapes.
    #[must_use]
    pub fn decode(self) -> Cow<'a, str> {
        match self.0 {
            Form::Plain(text) => Cow::Borrowed(text),
            Form::Quoted(text) => unescape(text).0,
        }
    }

    /// The text for keeping.
    #[must_use]
    pub fn into_string(self) -> String {
        self.decode().into_owned()
    }

    /// The number of its characters.
    pub(crate) fn characters(self) -> u32 {
        let mut count = 0_u32;
        self.steps(|_| count = count.saturating_add(1));
        count
    }

    /// Tells `look` the text's bytes that are ASCII, in order.
    pub(crate) fn for_each_ascii(self, mut look: impl FnMut(u8)) {
        self.steps(|character| character.into_iter().for_each(&mut look));
    }

    /// Tells `look` the text's characters, in order: those that are ASCII as they are, others as `None`.
    fn steps(self, mut look: impl FnMut(Option<u8>)) {
        let (text, quoted) = match self.0 {
            Form::Plain(text) => (text.as_bytes(), false),
            Form::Quoted(text) => (text.as_bytes(), true),
        };
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            at += 1;
            if byte == b'\\' && quoted {
                at += escape(&text[at..], &mut look);
            } else if byte.is_ascii() {
                look(Some(byte));
            } else if byte & 0xC0 == 0xC0 {
                look(None);
            }
        }
    }

    /// Appends the text as a JSON string, quotes included.
    pub(crate) fn write(self, out: &mut BytesMut) {
        match self.0 {
            Form::Plain(text) => {
                serde_json::to_writer(out.writer(), text).expect("a string can be written to memory");
            }
            Form::Quoted(text) => {
                out.reserve(text.len() + 2);
                out.put_u8(b'"');
                out.put_slice(text.as_bytes());
                out.put_u8(b'"');
            }
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.decode(), f)
    }
}

/// Tells `look` the character of an escape whose backslash is left out. The escape's length.
fn escape(escape: &[u8], look: &mut impl FnMut(Option<u8>)) -> usize {
    match escape.first() {
        Some(b'u') => {
            let digits = escape.get(1..5).and_then(|digits| std::str::from_utf8(digits).ok());
            let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()).unwrap_or_default();
            // A pair of surrogates is one character; the first of the two is passed over.
            if !(0xD800..0xDC00).contains(&unit) {
                look(u8::try_from(unit).ok().filter(u8::is_ascii));
            }
            5
        }
        Some(b'n' | b't' | b'r' | b'b' | b'f') => {
            look(Some(b' '));
            1
        }
        Some(&other) => {
            look(Some(other));
            1
        }
        None => 0,
    }
}

/// Whether every surrogate among the escapes has its other half.
fn has_whole_characters(quoted: &str) -> bool {
    memchr::memmem::find(quoted.as_bytes(), b"\\u").is_none() || unescape(quoted).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: Text<'_>) -> String {
        let mut out = BytesMut::new();
        text.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_is_read_from_json_is_written_as_it_stood() {
        for token in [r#""plain""#, r#""a\nb\u00e9\/""#, r#""\ud83d\ude00""#, r#""""#] {
            let text = Text::quoted(token).unwrap();
            assert_eq!(written(text), token);
            assert_eq!(text.decode(), serde_json::from_str::<String>(token).unwrap());
        }
        assert_eq!(written(Text::plain("a\"\n")), r#""a\"\n""#);
    }

    #[test]
    fn characters_are_counted_as_if_they_were_decoded() {
        for token in ["\"plain é\u{1f600}\"", r#""a\n\"b\u00e9\/\ud83d\ude00é""#, r#""""#] {
            let text = Text::quoted(token).unwrap();
            assert_eq!(text.characters() as usize, text.decode().chars().count(), "{token}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_no_text() {
        assert_eq!(Text::quoted(r#""\ud83d""#), None);
        assert_eq!(Text::quoted("7"), None);
    }
}
