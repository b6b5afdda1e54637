//! A JSON value as its text, read when asked. Numbers keep their spelling, keys their order.

use std::borrow::Cow;

use llm_core::Json;

use super::scan::{Kind, Scanner, Syntax, Token, skip_bom};

/// A value whose text is known to be JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// Checks `text`; a leading byte order mark is left out.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Syntax> {
        let mut scanner = Scanner::new(text, skip_bom(text));
        let token = scanner.value()?;
        scanner.end()?;
        let value = std::str::from_utf8(&text[token.start..token.end]);
        Ok(Self(value.expect("the scanner checked that it is UTF-8")))
    }

    /// The value of `text` that a scanner has stepped over, if the text is UTF-8.
    pub(crate) fn of(text: &'a [u8], token: &Token) -> Option<Self> {
        std::str::from_utf8(&text[token.start..token.end]).ok().map(Self)
    }

    pub(crate) fn kind(self) -> Kind {
        Scanner::new(self.0.as_bytes(), 0).peek().expect("the text is JSON")
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The value's text.
    pub(crate) const fn text(self) -> &'a str {
        self.0
    }

    /// The value for keeping.
    pub(crate) fn json(self) -> Json {
        Json::parse(self.0).expect("the text is JSON")
    }

    /// The object's members, in order; none if it is no object.
    pub(crate) fn members(self) -> impl Iterator<Item = (Cow<'a, str>, Self)> {
        let mut scanner = self.enter(Kind::Object);
        let mut first = true;
        std::iter::from_fn(move || {
            let inside = scanner.as_mut()?;
            let Some(key) = inside.key(&mut first).expect("the text is JSON") else {
                scanner = None;
                return None;
            };
            let value = inside.value().expect("the text is JSON");
            let name = &self.0[key.start + 1..key.end - 1];
            let name = if key.is_escaped() { unescape(name).0 } else { Cow::Borrowed(name) };
            Some((name, Self(&self.0[value.start..value.end])))
        })
    }

    /// The array's items; none if it is no array.
    pub(crate) fn items(self) -> impl Iterator<Item = Self> {
        let mut scanner = self.enter(Kind::Array);
        let mut first = true;
        std::iter::from_fn(move || {
            let inside = scanner.as_mut()?;
            if !inside.item(&mut first).expect("the text is JSON") {
                scanner = None;
                return None;
            }
            let value = inside.value().expect("the text is JSON");
            Some(Self(&self.0[value.start..value.end]))
        })
    }

    /// The member `name`, unless it is null; the last one if there are several.
    pub(crate) fn member(self, name: &str) -> Option<Self> {
        self.members().filter(|(key, _)| key == name).last().map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// The members of these names, each as [`member`](Self::member) gives it, in one pass.
    pub(crate) fn pick<const N: usize>(self, names: [&str; N]) -> [Option<Self>; N] {
        let mut picked = [None; N];
        for (key, value) in self.members() {
            if let Some(place) = names.iter().position(|name| *name == key) {
                picked[place] = Some(value).filter(|value| !value.is_null());
            }
        }
        picked
    }

    /// The string's text. Half a surrogate pair becomes U+FFFD.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        self.quoted().map(|quoted| unescape(quoted).0)
    }

    /// The string's text, if all of it has a form in UTF-8.
    pub(crate) fn exact_string(self) -> Option<Cow<'a, str>> {
        self.quoted().map(unescape).filter(|(_, whole)| *whole).map(|(text, _)| text)
    }

    /// The number, if it is whole and not negative: `7`, but also `7.0`.
    pub(crate) fn u64(self) -> Option<u64> {
        self.0.parse().ok().or_else(|| {
            let number = self.f64().filter(|number| number.fract() == 0.0 && (0.0..9e15).contains(number))?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: whole, 0 to 9e15")]
            Some(number as u64)
        })
    }

    pub(crate) fn i64(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The number, if it is finite.
    pub(crate) fn f64(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
    }

    pub(crate) fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    fn quoted(self) -> Option<&'a str> {
        self.0.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))
    }

    fn enter(self, kind: Kind) -> Option<Scanner<'a>> {
        let mut scanner = Scanner::new(self.0.as_bytes(), 0);
        let is = scanner.peek().expect("the text is JSON") == kind;
        is.then(|| scanner.enter().map(|()| scanner).expect("the text is JSON"))
    }
}

/// What the string `token` of `text` says. Bytes that are no UTF-8 become U+FFFD: the scanner tells of them at the end.
pub(crate) fn string_of<'a>(text: &'a [u8], token: &Token) -> Cow<'a, str> {
    let inner = String::from_utf8_lossy(token.inner(text));
    if token.is_escaped() { Cow::Owned(unescape(&inner).0.into_owned()) } else { inner }
}

/// As [`string_of`], in bytes: most are taken as they stand, and compared.
pub(crate) fn bytes_of<'a>(text: &'a [u8], token: &Token) -> Cow<'a, [u8]> {
    if token.is_escaped() { Cow::Owned(string_of(text, token).into_owned().into()) } else { token.inner(text).into() }
}

/// The text of what stands between a string's quotes, and whether all of it has a form in UTF-8: half a surrogate
/// pair has none and becomes U+FFFD.
pub(crate) fn unescape(quoted: &str) -> (Cow<'_, str>, bool) {
    let Some(first) = memchr::memchr(b'\\', quoted.as_bytes()) else {
        return (Cow::Borrowed(quoted), true);
    };
    let mut text = String::with_capacity(quoted.len());
    let mut whole = true;
    let mut rest = quoted;
    let mut next = Some(first);
    while let Some(at) = next {
        text.push_str(&rest[..at]);
        let (character, length) = escaped(&rest[at + 1..]);
        whole &= character.is_some();
        text.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &rest[at + 1 + length..];
        next = memchr::memchr(b'\\', rest.as_bytes());
    }
    text.push_str(rest);
    (Cow::Owned(text), whole)
}

/// The character of an escape whose backslash is left out, and the escape's length.
fn escaped(escape: &str) -> (Option<char>, usize) {
    let character = match escape.as_bytes()[0] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(escape),
        other => char::from(other),
    };
    (Some(character), 1)
}

fn unicode(escape: &str) -> (Option<char>, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let high = unit(1).unwrap_or_default();
    if (0xD800..0xDC00).contains(&high)
        && escape.get(5..7) == Some("\\u")
        && let Some(low @ 0xDC00..0xE000) = unit(7)
    {
        return (char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)), 11);
    }
    (char::from_u32(high), 5)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_surrogate_pair_becomes_a_replacement_character() {
        let read = |text: &'static str| Raw::parse(text.as_bytes()).unwrap().string().unwrap().into_owned();
        assert_eq!(read(r#""a\ud83db""#), "a\u{fffd}b");
        assert_eq!(read(r#""\ud83d\ud83d\ude00""#), "\u{fffd}\u{1f600}");
        assert_eq!(read(r#""\ude00\u00e9\\u""#), "\u{fffd}é\\u");
        assert!(Raw::parse(br#""\ud83d""#).unwrap().exact_string().is_none());
    }

    #[test]
    fn members_keep_their_order_and_numbers_their_spelling() {
        let raw = Raw::parse(br#" {"b":1.0,"a":9007199254740993, "\u0062":-0} "#).unwrap();
        let members: Vec<_> = raw.members().map(|(key, value)| format!("{key}={}", value.text())).collect();
        assert_eq!(members, ["b=1.0", "a=9007199254740993", "b=-0"]);
    }

    #[test]
    fn of_several_members_of_a_name_the_last_counts_unless_it_is_null() {
        let raw = Raw::parse(br#"{"a":1,"b":2,"\u0061":3,"b":null,"d":4}"#).unwrap();
        let picked = raw.pick(["a", "b", "c"]).map(|value| value.map(Raw::text));
        assert_eq!(picked, [Some("3"), None, None]);
        assert_eq!(picked, ["a", "b", "c"].map(|name| raw.member(name).map(Raw::text)));
        assert_eq!(Raw::parse(b"7").unwrap().pick(["a"]).map(|value| value.map(Raw::text)), [None]);
    }

    #[test]
    fn the_end_of_a_list_stays_its_end() {
        for text in ["{}", r#"{"a":1}"#, "[]", "[1]", "7"] {
            let raw = Raw::parse(text.as_bytes()).unwrap();
            let (mut members, mut items) = (raw.members().skip(1), raw.items().skip(1));
            for _ in 0..3 {
                assert!(members.next().is_none() && items.next().is_none());
            }
        }
    }

    proptest! {
        #[test]
        fn a_string_reads_as_serde_json_reads_it(text in any::<String>(), ascii in any::<bool>()) {
            let mut written = serde_json::to_string(&text).unwrap();
            if ascii {
                let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                written = format!("\"{units}\"");
            }
            let raw = Raw::parse(written.as_bytes()).unwrap();
            let read = raw.exact_string();
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }
    }
}
