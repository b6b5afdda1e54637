//! The usage that an answer tells which nothing else is read of: in bounded memory, whatever is beside it.

use llm_core::Usage;
use memchr::{memchr, memchr2};

use crate::wire::json::Raw;
use crate::wire::responses::read_usage;

/// Looks for the member `usage` of an answer, or of the events that make it up, as its bytes go by.
#[derive(Debug)]
pub struct UsageReader(Form);

#[derive(Debug)]
enum Form {
    Whole(Members),
    Events(Line),
}

impl UsageReader {
    /// A reader of an answer of the type `content_type`; none where such does not tell its usage.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return Some(Self(Form::Whole(Members::default())));
        }
        kind.eq_ignore_ascii_case("text/event-stream").then(|| Self(Form::Events(Line::default())))
    }

    /// Reads on. The usage, if its end is among these bytes: the last one, if there are several.
    pub fn read(&mut self, bytes: &[u8]) -> Option<Usage> {
        match &mut self.0 {
            Form::Whole(members) => members.read(bytes),
            Form::Events(line) => line.read(bytes),
        }
    }
}

/// A line of a stream of events: an object, if it is one of data.
#[derive(Debug, Default)]
struct Line {
    /// How much of `data:` it began with; none where it began otherwise.
    begun: Option<usize>,
    going: bool,
    data: Members,
}

const DATA: &[u8] = b"data:";

impl Line {
    fn read(&mut self, mut bytes: &[u8]) -> Option<Usage> {
        let mut usage = None;
        while !bytes.is_empty() {
            if !std::mem::replace(&mut self.going, true) {
                *self = Self { begun: Some(0), going: true, data: Members::default() };
            }
            while let Some(begun) = self.begun.filter(|begun| *begun < DATA.len())
                && let Some((first, rest)) = bytes.split_first()
                && *first != b'\n'
            {
                self.begun = (*first == DATA[begun]).then_some(begun + 1);
                bytes = rest;
            }
            let end = memchr(b'\n', bytes);
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.begun == Some(DATA.len()) {
                usage = self.data.read(line).or(usage);
            }
            self.going = end.is_none();
            bytes = rest.get(1..).unwrap_or_default();
        }
        usage
    }
}

/// The members of an object, of which one is kept.
#[derive(Debug, Default)]
struct Members {
    /// How many objects and lists are open.
    depth: usize,
    /// Within a string, and whether its next byte is escaped.
    string: Option<bool>,
    /// The beginning of the name of the member that is being read, until its value begins.
    name: Option<Vec<u8>>,
    /// The value that is being read, if it is the one.
    value: Option<Vec<u8>>,
}

const NAME: &[u8] = b"usage";

/// The most bytes of it that are kept: several times what providers tell.
const MOST: usize = 4096;

impl Members {
    fn read(&mut self, mut bytes: &[u8]) -> Option<Usage> {
        let mut usage = None;
        while let Some((&byte, rest)) = bytes.split_first() {
            match self.string {
                Some(true) => {
                    self.keep(&bytes[..1]);
                    (self.string, bytes) = (Some(false), rest);
                }
                Some(false) => {
                    let end = memchr2(b'"', b'\\', bytes);
                    let (text, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    self.keep(text);
                    self.string = match text.last() {
                        Some(b'"') if end.is_some() => None,
                        _ => Some(end.is_some()),
                    };
                    bytes = rest;
                }
                None => {
                    usage = self.token(byte).or(usage);
                    bytes = rest;
                }
            }
        }
        usage
    }

    /// A byte between strings.
    fn token(&mut self, byte: u8) -> Option<Usage> {
        match byte {
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' if self.depth == 1 => (self.name, self.value) = (Some(Vec::new()), None),
            b':' if self.depth == 1 => {
                // With the quote that ends it.
                let named = self.name.take().is_some_and(|name| name.strip_suffix(b"\"") == Some(NAME));
                self.value = named.then(Vec::new);
                return None;
            }
            _ => {}
        }
        self.keep_value(&[byte]);
        match byte {
            b'{' | b'[' => {
                self.depth += 1;
                self.name = (self.depth == 1).then(Vec::new);
            }
            b'"' => {
                self.string = Some(false);
                self.name.iter_mut().for_each(Vec::clear);
            }
            b'}' if self.depth == 1 => return Raw::parse(&self.value.take()?).ok().and_then(read_usage),
            _ => {}
        }
        None
    }

    /// Keeps what stands in a string, the quote at its end included.
    fn keep(&mut self, text: &[u8]) {
        if let Some(name) = &mut self.name {
            // One more than fits: a longer name is another.
            name.extend_from_slice(&text[..text.len().min((NAME.len() + 2).saturating_sub(name.len()))]);
        }
        self.keep_value(text);
    }

    fn keep_value(&mut self, text: &[u8]) {
        match &mut self.value {
            Some(value) if value.len() + text.len() > MOST => self.value = None,
            Some(value) => value.extend_from_slice(text),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// What is read of `body`, cut into pieces of `cut` bytes.
    fn read(kind: &str, body: &[u8], cut: usize) -> Option<Usage> {
        let mut reader = UsageReader::of(kind).unwrap();
        body.chunks(cut.max(1)).fold(None, |last, piece| reader.read(piece).or(last))
    }

    const PICTURE: &str = r#"{"created":7,"data":[{"b64_json":"AA\"usage\":{}=="}],"usage":{"input_tokens":50,
        "input_tokens_details":{"image_tokens":40,"text_tokens":10},"output_tokens":90,"total_tokens":140},"size":"x"}"#;

    #[test]
    fn a_pictures_tokens_and_a_recordings_are_told() {
        let picture = Usage { input: 50, output: 90, ..Usage::default() };
        let text = r#"{"text":"{\"usage\":{\"input_tokens\":9}}","usage":{"type":"tokens","input_tokens":14,
            "input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":5,"total_tokens":19}}"#;
        let heard = Usage { input: 4, audio_input: Some(10), output: 5, ..Usage::default() };
        let spaced = " { \"usage\" : { \"input_tokens\" : 50 , \"output_tokens\" : 90 } } ";
        for (body, usage) in [(PICTURE, picture), (text, heard), (spaced, picture)] {
            for cut in 1..body.len() {
                assert_eq!(read("application/json; charset=utf-8", body.as_bytes(), cut), Some(usage), "{cut}");
            }
        }
    }

    #[test]
    fn what_tells_no_tokens_is_not_known() {
        for body in [
            r#"{"text":"x","usage":{"type":"duration","seconds":9}}"#,
            r#"{"usage":null,"x":1}"#,
            r#"{"data":{"usage":{"input_tokens":9}}}"#,
            r#"[{"usage":{"input_tokens":9}}]"#,
            r#"{"usages":{"input_tokens":9},"usag":{"input_tokens":9},"":{"input_tokens":9}}"#,
            r#"{"x":"usage","y":{"input_tokens":9}}"#,
            r#"{"usage\"":{"input_tokens":9}}"#,
            r#"{"usage":{"input_tokens":9"#,
            "",
        ] {
            for cut in [1, 3, 4096] {
                assert_eq!(read("application/json", body.as_bytes(), cut), None, "{body}");
            }
        }
        let long = format!(r#"{{"usage":{{"x":"{}","input_tokens":9}}}}"#, "x".repeat(MOST));
        assert_eq!(read("application/json", long.as_bytes(), 100), None);
        assert!(UsageReader::of("audio/mpeg").is_none() && UsageReader::of("text/plain").is_none());
    }

    #[test]
    fn the_last_event_that_tells_counts() {
        let events = "event: a\ndata: {\"usage\":{\"input_tokens\":1}}\n\n: {\"usage\":{\"input_tokens\":2}}\r\n\r\n\
            dat: {\"usage\":{\"input_tokens\":3}}\ndata:{\"b64_json\":\"AAAA\",\"usage\":{\"input_tokens\":4}}\r\n\n\
            data: {\"type\":\"x\"}\n\ndata: [DONE]\n\n";
        for cut in 1..events.len() {
            let usage = Usage { input: 4, ..Usage::default() };
            assert_eq!(read("text/event-stream", events.as_bytes(), cut), Some(usage), "{cut}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let word = || prop_oneof![Just("usage".to_owned()), Just("input_tokens".to_owned()), ".{0,6}"];
        let leaf = prop_oneof![Just(Value::Null), (0..99_u32).prop_map(Value::from), word().prop_map(Value::from)];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((word(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_reading_all_of_it_finds(mut whole in any_json(), usage in any_json(), named in any::<bool>(), cut in 1_usize..40) {
            if let (Some(members), true) = (whole.as_object_mut(), named) {
                members.insert("usage".to_owned(), json!({ "input_tokens": 3, "x": usage }));
            }
            for body in [whole.to_string(), serde_json::to_string_pretty(&whole).unwrap()] {
                let raw = Raw::parse(body.as_bytes()).unwrap();
                let expected = raw.member("usage").and_then(read_usage);
                prop_assert_eq!(read("application/json", body.as_bytes(), cut), expected, "{}", body);
                let event = format!("data: {}\n\n", body.replace('\n', " "));
                prop_assert_eq!(read("text/event-stream", event.as_bytes(), cut), expected, "{}", event);
            }
        }
    }
}
