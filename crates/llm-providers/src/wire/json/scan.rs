//! One pass over JSON text: strict RFC 8259, and nothing is built.

use super::words::{HIGH, USUAL, hex, no_digits, special};

/// Objects and arrays may lie this deep within each other.
const MAX_DEPTH: u32 = 128;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The length of a leading byte order mark: 3 or 0.
pub(crate) fn skip_bom(text: &[u8]) -> usize {
    if text.starts_with(BOM) { BOM.len() } else { 0 }
}

/// Why a text is not JSON, and where it stops being it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

impl Syntax {
    /// The sentence for people; `text` is what was scanned.
    pub(crate) fn describe(self, text: &[u8]) -> String {
        let before = &text[..self.at.min(text.len())];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = 1 + before.len() - memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        format!("{} at line {line} column {column}", self.what)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

impl Kind {
    /// The kind with its article.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::True | Self::False => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A value that was stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// How it is spelled, if it is a string.
    pub(crate) spelling: Spelling,
}

impl Token {
    /// The bytes between a string's quotes.
    pub(crate) fn inner<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start + 1..self.end - 1]
    }

    /// Whether it is a string with escapes.
    pub(crate) fn is_escaped(&self) -> bool {
        self.spelling != Spelling::Plain
    }
}

/// The escapes of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spelling {
    /// None.
    Plain,
    /// Those that every encoder writes alike: `\"`, `\\`, `\b`, `\f`, `\n`, `\r`, `\t`.
    Usual,
    /// `\u` or `\/` too, for which others may write something else.
    Unusual,
}

/// That the text is not JSON. Where and why, the scanner knows: so that what is returned at each step fits a register.
#[derive(Debug)]
pub(super) struct Stop;

pub(super) type Step<T = ()> = Result<T, Stop>;

/// Steps through JSON text value by value. What it steps over is checked; UTF-8 is checked at the end.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    /// The bytes seen in strings, one over the other: tells whether there was any but ASCII.
    seen: u64,
    stopped: Syntax,
}

impl<'a> Scanner<'a> {
    /// A scanner of `text` that begins at `at`.
    pub(crate) const fn new(text: &'a [u8], at: usize) -> Self {
        Self { text, at, depth: 0, seen: 0, stopped: Syntax { at, what: "" } }
    }

    /// A scanner of the same text that stands at `at`, before a value.
    pub(crate) const fn another(&self, at: usize) -> Self {
        Self::new(self.text, at)
    }

    /// All that is scanned.
    pub(crate) const fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The bytes of what was stepped over.
    pub(crate) fn bytes(&self, token: &Token) -> &'a [u8] {
        &self.text[token.start..token.end]
    }

    /// Where the scanner stands.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// Goes back to where a key or a value of the object or array began that the scanner is in.
    pub(super) const fn go_back(&mut self, at: usize) {
        self.at = at;
    }

    /// What the next value is, if it is one.
    pub(crate) fn peek(&mut self) -> Result<Kind, Syntax> {
        self.next_kind().map_err(|stop| self.why(stop))
    }

    /// Steps into the object or the array that [`peek`](Self::peek) saw.
    pub(crate) fn enter(&mut self) -> Result<(), Syntax> {
        self.open().map_err(|stop| self.why(stop))
    }

    /// The object's next key, with its colon stepped over; `None` at the object's end.
    #[inline]
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<Option<Token>, Syntax> {
        let step = self.next_member(first).and_then(|any| {
            if !any {
                return Ok(None);
            }
            let key = self.quoted()?;
            self.colon().map(|()| Some(key))
        });
        step.map_err(|stop| self.why(stop))
    }

    /// Whether the array goes on; its next item then follows.
    pub(crate) fn item(&mut self, first: &mut bool) -> Result<bool, Syntax> {
        self.next_item(first).map_err(|stop| self.why(stop))
    }

    /// Steps over a value with all that is in it.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Token, Syntax> {
        let step = self.next_kind().and_then(|kind| {
            let start = self.at;
            let spelling = self.step_over(kind)?;
            Ok(Token { kind, start, end: self.at, spelling })
        });
        step.map_err(|stop| self.why(stop))
    }

    /// Steps over the string that begins here.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Token, Syntax> {
        self.quoted().map_err(|stop| self.why(stop))
    }

    /// Steps over `text` if it comes next, byte for byte.
    pub(crate) fn skip(&mut self, text: &[u8]) -> bool {
        let comes = self.text[self.at..].starts_with(text);
        self.at += if comes { text.len() } else { 0 };
        comes
    }

    /// Checks that nothing but white space follows.
    pub(crate) fn end_of_value(&mut self) -> Result<(), Syntax> {
        match self.visible() {
            Some(_) => Err(Syntax { at: self.at, what: "something follows the value" }),
            None => Ok(()),
        }
    }

    /// Checks that nothing but white space follows, and that the text is UTF-8.
    pub(crate) fn end(&mut self) -> Result<(), Syntax> {
        self.end_of_value()?;
        if self.seen & HIGH == 0 {
            return Ok(());
        }
        std::str::from_utf8(self.text)
            .map(|_| ())
            .map_err(|error| Syntax { at: error.valid_up_to(), what: "the text is not UTF-8" })
    }

    /// Where and why the text is not JSON.
    #[cold]
    pub(super) const fn why(&self, Stop: Stop) -> Syntax {
        self.stopped
    }

    #[inline]
    pub(super) fn next_kind(&mut self) -> Step<Kind> {
        Ok(match self.visible() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            Some(b'n') => Kind::Null,
            _ => return Err(self.expected("expected a value")),
        })
    }

    /// Steps into the object or the array that begins here.
    #[inline]
    pub(super) fn open(&mut self) -> Step {
        self.deeper(1)?;
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether the object goes on; its next key then stands here.
    #[inline]
    pub(super) fn next_member(&mut self, first: &mut bool) -> Step<bool> {
        match self.visible() {
            Some(b'}') => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            _ if std::mem::take(first) => {}
            Some(b',') => self.at += 1,
            _ => return Err(self.expected("expected `,` or `}`")),
        }
        self.name().map(|()| true)
    }

    #[inline]
    pub(super) fn next_item(&mut self, first: &mut bool) -> Step<bool> {
        match self.visible() {
            Some(b']') => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            _ if std::mem::take(first) => {}
            Some(b',') => self.at += 1,
            _ => return Err(self.expected("expected `,` or `]`")),
        }
        Ok(true)
    }

    /// Steps over the value of that kind that begins here.
    #[inline]
    pub(super) fn step_over(&mut self, kind: Kind) -> Step<Spelling> {
        match kind {
            Kind::String => return self.rest_of_string(),
            Kind::Object | Kind::Array => self.nested()?,
            Kind::Number => self.number()?,
            Kind::True => self.word(b"true")?,
            Kind::False => self.word(b"false")?,
            Kind::Null => self.word(b"null")?,
        }
        Ok(Spelling::Plain)
    }

    /// Checks that a key's quote stands here.
    #[inline]
    fn name(&mut self) -> Step {
        if self.visible() == Some(b'"') { Ok(()) } else { Err(self.expected("expected a string as key")) }
    }

    #[inline]
    pub(super) fn colon(&mut self) -> Step {
        if self.visible() != Some(b':') {
            return Err(self.expected("expected `:`"));
        }
        self.at += 1;
        Ok(())
    }

    /// A key and its colon.
    #[inline]
    fn member(&mut self) -> Step {
        self.name()?;
        self.rest_of_string()?;
        self.colon()
    }

    #[inline]
    fn quoted(&mut self) -> Step<Token> {
        let start = self.at;
        let spelling = self.rest_of_string()?;
        Ok(Token { kind: Kind::String, start, end: self.at, spelling })
    }

    /// Objects and arrays, without recursion: one bit a level says which of the two it is.
    fn nested(&mut self) -> Step {
        let mut objects = 0_u128;
        let mut depth = 0;
        loop {
            match self.visible() {
                Some(open @ (b'{' | b'[')) => {
                    depth += 1;
                    self.deeper(depth)?;
                    objects = objects << 1 | u128::from(open == b'{');
                    self.at += 1;
                    match self.visible() {
                        Some(b'}') if open == b'{' => {}
                        Some(b']') if open == b'[' => {}
                        _ => {
                            if open == b'{' {
                                self.member()?;
                            }
                            continue;
                        }
                    }
                }
                Some(b'"') => {
                    self.rest_of_string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err(self.expected("expected a value")),
            }
            loop {
                match (self.visible(), objects & 1 == 1) {
                    (Some(b','), true) => {
                        self.at += 1;
                        self.member()?;
                        break;
                    }
                    (Some(b','), false) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        objects >>= 1;
                        depth -= 1;
                        if depth == 0 {
                            return Ok(());
                        }
                    }
                    (_, true) => return Err(self.expected("expected `,` or `}`")),
                    (_, false) => return Err(self.expected("expected `,` or `]`")),
                }
            }
        }
    }

    /// The next byte that is no white space.
    #[inline]
    fn visible(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Steps over the string whose quote stands here. Most are short and without escapes.
    #[inline]
    pub(super) fn rest_of_string(&mut self) -> Step<Spelling> {
        let mut at = self.at + 1;
        for _ in 0..2 {
            let Some(block) = self.text[at..].first_chunk() else { break };
            let word = u64::from_le_bytes(*block);
            self.seen |= word;
            let hit = special(word);
            if hit != 0 {
                at += (hit.trailing_zeros() / 8) as usize;
                if self.text[at] != b'"' {
                    break;
                }
                self.at = at + 1;
                return Ok(Spelling::Plain);
            }
            at += 8;
        }
        self.rest_of_long_string(at)
    }

    /// As [`rest_of_string`](Self::rest_of_string); the bytes before `at` need no look.
    fn rest_of_long_string(&mut self, mut at: usize) -> Step<Spelling> {
        let mut spelling = Spelling::Plain;
        loop {
            // Blocks pay off where nothing near needs a look.
            let near = at + 16;
            at = self.words(at, 2);
            if at == near {
                at = self.plain_blocks(at);
                at = self.common_blocks(at, &mut spelling);
                at = self.words(at, usize::MAX);
            }
            match self.text.get(at) {
                Some(b'"') => break,
                // Where one escape is, others are likely to follow.
                Some(b'\\') => {
                    while self.text.get(at) == Some(&b'\\') {
                        if self.text.get(at + 1).is_some_and(|of| USUAL[usize::from(*of)]) {
                            spelling = spelling.max(Spelling::Usual);
                            at += 2;
                        } else {
                            spelling = Spelling::Unusual;
                            at = self.unusual_escape(at)?;
                        }
                    }
                }
                Some(_) => return Err(self.stop(at, "a control character in a string")),
                None => return Err(self.stop(at, "the text ends within a string")),
            }
        }
        self.at = at + 1;
        Ok(spelling)
    }

    /// The first byte of a string from `at` on that needs a look, if it is within so many words.
    #[inline]
    fn words(&mut self, mut at: usize, most: usize) -> usize {
        for _ in 0..most {
            let Some(block) = self.text[at..].first_chunk() else { return self.plain_rest(at) };
            let word = u64::from_le_bytes(*block);
            self.seen |= word;
            let hit = special(word);
            if hit != 0 {
                return at + (hit.trailing_zeros() / 8) as usize;
            }
            at += 8;
        }
        at
    }

    /// Steps over blocks of a string in which no byte needs a look.
    #[inline]
    fn plain_blocks(&mut self, mut at: usize) -> usize {
        while let Some(block) = self.text[at..].first_chunk::<64>() {
            let (mut look, mut high) = (0, 0);
            for &byte in block {
                look |= u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
                high |= u8::from(byte > 0x7f);
            }
            if look != 0 {
                break;
            }
            self.seen |= if high == 0 { 0 } else { HIGH };
            at += block.len();
        }
        at
    }

    /// Steps over blocks of a string in which nothing but the commonest escapes (`\"`, `\n`, `\r`, `\t`) needs a look:
    /// without a branch for each of them, for it could not be foretold.
    #[inline]
    fn common_blocks(&mut self, mut at: usize, spelling: &mut Spelling) -> usize {
        const BLOCK: usize = 64;
        // The byte before the first block ends no escape: it would seem to begin one.
        if self.text[at - 1] == b'\\' {
            return at;
        }
        let mut escapes = 0;
        // A block has the byte before it.
        while let Some(block) = self.text[at - 1..].first_chunk::<{ BLOCK + 1 }>() {
            let (mut look, mut met, mut high) = (0, 0, 0);
            for (&before, &byte) in block[..BLOCK].iter().zip(&block[1..]) {
                let (escaped, quote) = (before == b'\\', byte == b'"');
                let rest = (byte == b'n') | (byte == b'r') | (byte == b't');
                // A quote is looked at unless it is escaped, and else an escape of another kind.
                look |= u8::from((byte < 0x20) | ((escaped & !rest) ^ quote));
                met |= u8::from(byte == b'\\');
                high |= u8::from(byte > 0x7f);
            }
            if look != 0 {
                break;
            }
            escapes |= met;
            self.seen |= if high == 0 { 0 } else { HIGH };
            at += BLOCK;
        }
        if escapes != 0 {
            *spelling = (*spelling).max(Spelling::Usual);
        }
        // An escape that the last block began is looked at whole.
        if self.text[at - 1] == b'\\' { at - 1 } else { at }
    }

    /// As [`words`](Self::words), for the last bytes of the text.
    fn plain_rest(&mut self, mut at: usize) -> usize {
        while let Some(&byte) = self.text.get(at) {
            if byte < 0x20 || byte == b'"' || byte == b'\\' {
                break;
            }
            self.seen |= u64::from(byte);
            at += 1;
        }
        at
    }

    /// The end of the escape at `at`. Half of a surrogate pair passes: it has a spelling, if no character.
    #[inline]
    fn unusual_escape(&mut self, at: usize) -> Step<usize> {
        match self.text.get(at + 1) {
            Some(b'/') => Ok(at + 2),
            Some(b'u') => match self.text[at + 2..].first_chunk() {
                Some(digits) if hex(*digits).is_some() => Ok(at + 6),
                _ => Err(self.stop(at, "`\\u` without four hexadecimal digits")),
            },
            Some(_) => Err(self.stop(at, "an unknown escape")),
            None => Err(self.stop(at, "the text ends within a string")),
        }
    }

    #[inline]
    pub(super) fn number(&mut self) -> Step {
        let start = self.at + usize::from(self.text[self.at] == b'-');
        let mut at = self.digits(start)?;
        if self.text[start] == b'0' {
            at = start + 1;
        }
        if self.text.get(at) == Some(&b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = self.text.get(at) {
            at = self.digits(at + 1 + usize::from(matches!(self.text.get(at + 1), Some(b'+' | b'-'))))?;
        }
        self.at = at;
        Ok(())
    }

    /// The end of the digits that begin at `start`, of which there must be one.
    #[inline]
    fn digits(&mut self, start: usize) -> Step<usize> {
        let mut at = start;
        while let Some(block) = self.text[at..].first_chunk() {
            let others = no_digits(u64::from_le_bytes(*block));
            if others == 0 {
                at += 8;
                continue;
            }
            at += (others.trailing_zeros() / 8) as usize;
            return if at > start { Ok(at) } else { Err(self.stop(at, "a number without digits")) };
        }
        at += self.text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if at > start { Ok(at) } else { Err(self.stop(at, "a number without digits")) }
    }

    fn word(&mut self, word: &[u8]) -> Step {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn deeper(&mut self, by: u32) -> Step {
        if self.depth + by > MAX_DEPTH {
            return Err(self.stop(self.at, "more than 128 levels of nesting"));
        }
        Ok(())
    }

    fn expected(&mut self, what: &'static str) -> Stop {
        let what = if self.at >= self.text.len() { "the text ends too early" } else { what };
        self.stop(self.at, what)
    }

    #[cold]
    const fn stop(&mut self, at: usize, what: &'static str) -> Stop {
        self.stopped = Syntax { at, what };
        Stop
    }
}

#[cfg(test)]
mod tests {
    use llm_core::TreeKey;
    use proptest::prelude::*;

    use super::super::digest::digested;
    use super::*;

    fn scan(text: &[u8]) -> Result<Token, Syntax> {
        let mut scanner = Scanner::new(text, 0);
        let token = scanner.value()?;
        scanner.end().map(|()| token)
    }

    fn digest(text: &[u8]) -> Result<Token, Syntax> {
        let mut scanner = Scanner::new(text, 0);
        let (token, _) = digested(&mut scanner, TreeKey::process())?;
        scanner.end().map(|()| token)
    }

    #[test]
    fn exactly_128_levels_pass() {
        let nest = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(scan(nest(128).as_bytes()).is_ok());
        assert!(scan(nest(129).as_bytes()).is_err());
        let mixed = |levels: usize| format!("{}1{}", r#"{"a":["#.repeat(levels), "]}".repeat(levels));
        assert!(scan(mixed(64).as_bytes()).is_ok());
        assert!(scan(mixed(65).as_bytes()).is_err());
        assert!(digest(mixed(64).as_bytes()).is_ok() && digest(nest(128).as_bytes()).is_ok());
        assert_eq!(digest(mixed(65).as_bytes()), scan(mixed(65).as_bytes()));
    }

    #[test]
    fn a_place_is_told_by_line_and_column() {
        let text = b"{\n  \"a\": nope}";
        assert_eq!(scan(text).unwrap_err().describe(text), "expected a value at line 2 column 8");
    }

    /// serde_json's reader of ignored values, which has no depth limit and does not check UTF-8.
    fn oracle(text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("false".to_owned()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
            "\"([a-zé\u{1f600} ]|\\\\[\"\\\\/bfnrtu]|\\\\ud83d|\\\\u00e9){0,12}\"",
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(" ,"))),
                prop::collection::vec(("[a-z]{0,3}", inner), 0..5).prop_map(|members| {
                    let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\" :{value}")).collect();
                    format!("{{{}}}\n", members.join(", "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_serde_json_on_what_is_json(
            text in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), change in 0..4_u8,
        ) {
            let mut text = text.into_bytes();
            let at = at.index(text.len());
            match change {
                0 => {}
                1 => text[at] = byte,
                2 => text.insert(at, byte),
                _ => { text.remove(at); }
            }
            prop_assert_eq!(scan(&text).is_ok(), oracle(&text), "{:?}", String::from_utf8_lossy(&text));
            prop_assert_eq!(digest(&text), scan(&text));
        }

        #[test]
        fn it_agrees_with_serde_json_on_noise(text in "[\\[\\]{}:,\"\\\\0-9eE+\\-. a-fnrtlsu\u{1}é]{0,24}") {
            prop_assert_eq!(scan(text.as_bytes()).is_ok(), oracle(text.as_bytes()));
            prop_assert_eq!(digest(text.as_bytes()), scan(text.as_bytes()));
        }

        #[test]
        fn a_long_string_has_its_end_and_its_spelling(
            pieces in prop::collection::vec(
                prop_oneof![
                    3 => "[a-z !#]{0,70}",
                    4 => prop::sample::select(&["\\\"", "\\n", "\\r", "\\t", "\\\\", "\\b", "\\f"][..]).prop_map(str::to_owned),
                    1 => prop::sample::select(&["\\/", "\\u00e9", "é", "\\x", "\\u00g0", "\u{1}", "\"", "\\"][..]).prop_map(str::to_owned),
                ],
                0..24,
            ),
        ) {
            let text = format!("\"{}\"", pieces.concat());
            // One byte after the other, as the grammar has it.
            let (mut at, mut spelling, mut is_string) = (1, Spelling::Plain, true);
            let bytes = text.as_bytes();
            while is_string && bytes.get(at) != Some(&b'"') {
                match (bytes.get(at), bytes.get(at + 1)) {
                    (Some(b'\\'), Some(of)) if b"\"\\bfnrt".contains(of) => {
                        spelling = spelling.max(Spelling::Usual);
                        at += 2;
                    }
                    (Some(b'\\'), of) => {
                        spelling = Spelling::Unusual;
                        let digits = bytes.get(at + 2..at + 6).is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit));
                        is_string = of == Some(&b'/') || of == Some(&b'u') && digits;
                        at += if of == Some(&b'/') { 2 } else { 6 };
                    }
                    (Some(byte), _) if *byte >= 0x20 => at += 1,
                    _ => is_string = false,
                }
            }
            let mut scanner = Scanner::new(bytes, 0);
            let read = scanner.string().ok().map(|token| (token.end, token.spelling));
            prop_assert_eq!(read, is_string.then_some((at + 1, spelling)), "{}", text);
        }

        #[test]
        fn a_token_spans_what_serde_json_reads(text in json()) {
            let token = scan(text.as_bytes()).ok();
            let raw = serde_json::from_str::<&serde_json::value::RawValue>(&text).ok();
            prop_assert_eq!(token.map(|token| &text[token.start..token.end]), raw.map(|raw| raw.get()));
        }
    }
}
