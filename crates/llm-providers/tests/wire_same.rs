//! Which request bodies ask the same: what can change the answer counts, how it is written does not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;

use bytes::Bytes;
use llm_core::Digest;
use llm_providers::wire::openai::{read_chat, read_embeddings, same_request};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

fn digest(body: &str) -> Digest {
    read_chat(Bytes::copy_from_slice(body.as_bytes())).unwrap().digest
}

/// A chat body with `members` before its messages.
fn chat(members: &str) -> String {
    format!(r#"{{"model":"m",{members}"messages":[{{"role":"user","content":"hi"}}]}}"#)
}

/// Whether two chat bodies ask the same, by comparison and by digest.
fn same(a: &str, b: &str) -> bool {
    let same = same_request(a.as_bytes(), b.as_bytes());
    assert_eq!(same, same_request(b.as_bytes(), a.as_bytes()), "{a} {b}");
    assert_eq!(same, digest(a) == digest(b), "{a} {b}");
    same
}

#[test]
fn how_the_answer_travels_and_for_whom_it_is_does_not_count() {
    for aside in [
        r#""stream":true,"#,
        r#""stream":false,"stream_options":{"include_usage":true},"#,
        r#""user":"u","#,
        r#""safety_identifier":"s","user":null,"#,
        r#""prompt_cache_key":"k","#,
        r#""metadata":{"a":"b"},"metadata":{},"#,
        r#""\u0073tream":true,"meta\u0064ata":[{"deep":[]}],"#,
    ] {
        assert!(same(&chat(aside), &chat("")), "{aside}");
    }
}

#[test]
fn labels_count_where_the_answer_is_stored_with_them() {
    let stored = |members: &str| chat(&format!(r#"{members}"store":true,"#));
    for (one, other, are) in [
        (r#""metadata":{"a":"b"},"#, r#""metadata":{"a":"c"},"#, false),
        (r#""metadata":{"a":"b"},"#, "", false),
        (r#""metadata":{"a":"b","c":"d"},"#, r#""meta\u0064ata":{"c":"d", "a":"b"},"#, true),
        (r#""metadata":{"a":"b"},"user":"u","#, r#""user":"v","metadata":{"a":"b"},"#, true),
    ] {
        assert_eq!(same(&stored(one), &stored(other)), are, "{one} {other}");
    }
    // Wherever `store` stands, and however often.
    for (one, other) in [
        (r#""store":true,"metadata":{"a":"b"},"#, r#""metadata":{},"store":true,"#),
        (r#""store":true,"metadata":{},"store":false,"#, r#""store":true,"store":false,"#),
    ] {
        assert!(!same(&chat(one), &chat(other)), "{one} {other}");
    }
    for aside in [r#""store":false,"metadata":{"a":"b"},"#, r#""x":{"store":true},"metadata":{"a":"b"},"#] {
        assert!(same(&chat(aside), &chat(&aside.replace(r#""metadata":{"a":"b"},"#, ""))), "{aside}");
    }
}

#[test]
fn what_others_set_aside_counts_deeper_down() {
    for aside in ["stream", "stream_options", "user", "safety_identifier", "prompt_cache_key", "metadata"] {
        let with = format!(r#""x":{{"{aside}":"1"}},"#);
        let without = r#""x":{},"#;
        assert!(!same(&chat(&with), &chat(without)), "{aside}");
    }
}

#[test]
fn all_else_counts() {
    let all = [
        "",
        r#""store":true,"#,
        r#""store":false,"#,
        r#""service_tier":"flex","#,
        r#""prompt_cache_retention":"24h","#,
        r#""prompt_cache_options":{},"#,
        r#""temperature":0,"#,
        r#""temperature":0.0,"#,
        r#""temperature":-0,"#,
        r#""n":1,"#,
        r#""n":2,"#,
        r#""seed":9007199254740993,"#,
        r#""seed":9007199254740992,"#,
        r#""max_tokens":1,"#,
        r#""max_completion_tokens":1,"#,
        r#""unknown":null,"#,
        r#""unknown":"null","#,
        r#""unknown":[],"#,
        r#""unknown":{},"#,
        r#""unknown":[null],"#,
        r#""unknown":[[]],"#,
        r#""unknown":[{}],"#,
        r#""unknown":[[],[]],"#,
        r#""unknown":[1,2],"#,
        r#""unknown":[2,1],"#,
        r#""unknown":[12],"#,
        r#""unknown":[[1],2],"#,
        r#""unknown":[1,[2]],"#,
        r#""unknown":{"1":2},"#,
        r#""unknown":{"2":1},"#,
        r#""unknown":"\ud83d","#,
        r#""unknown":"\ud83e","#,
        r#""unknown":"\ufffd","#,
        r#""unknown":"\ud83d\ude00","#,
        r#""unknown":"\\ud83d","#,
        r#""unknown":"\u0000","#,
        r#""unknown":"0","#,
    ];
    for (place, one) in all.iter().enumerate() {
        for other in &all[..place] {
            assert!(!same(&chat(one), &chat(other)), "{one} {other}");
        }
    }
}

#[test]
fn the_models_name_counts_and_so_does_a_messages_place() {
    let body = |model: &str, messages: &str| format!(r#"{{"model":"{model}","messages":[{messages}]}}"#);
    assert!(!same(&body("a", "{}"), &body("b", "{}")));
    assert!(!same(&body("a", "{}"), &body("a", "{},{}")));
    assert!(!same(&body("a", r#"{"x":1},{"x":2}"#), &body("a", r#"{"x":2},{"x":1}"#)));
    assert!(!same(&body("a", r#"{"x":1,"y":2}"#), &body("a", r#"{"x":2,"y":1}"#)));
    assert!(same(&body("a", r#"{"x":1,"y":2}"#), &body("a", r#"{"y":2,"x":1}"#)));
}

#[test]
fn a_strings_spelling_does_not_count() {
    for (one, other) in [
        (r#""/""#, r#""\/""#),
        (r#""é😀\u0001\n\"\\""#, r#""\u00e9\ud83d\uDE00\u0001\u000A\u0022\u005c""#),
        (r#""\b\f\n\r\t\u001f""#, r#""\u0008\u000c\u000a\u000D\u0009\u001F""#),
        (r#""\ud83d\ud83d\ude00\ude00""#, r#""\uD83D😀\uDE00""#),
        (r#"{"é":{"\/":1}}"#, r#"{"\u00e9":{"/":1}}"#),
    ] {
        assert!(same(&chat(&format!(r#""x":{one},"#)), &chat(&format!(r#""x":{other},"#))), "{one} {other}");
        // Longer than what a digest reads at once.
        let long = |text: &str| chat(&format!(r#""x":["{}",{text}],"#, "a\\u00e9".repeat(200)));
        assert!(same(&long(one), &long(other)));
    }
}

#[test]
fn keys_that_are_given_twice_keep_their_order() {
    let x = |members: &str| chat(&format!(r#""x":{{{members}}},"#));
    let differ = |one: &str, other: &str| {
        assert!(!same_request(x(one).as_bytes(), x(other).as_bytes()), "{one} {other}");
    };
    differ(r#""a":1,"a":2"#, r#""a":2,"a":1"#);
    differ(r#""a":1,"b":0,"a":2"#, r#""a":2,"b":0,"a":1"#);
    differ(r#""a":1,"\u0061":2"#, r#""\u0061":2,"a":1"#);
    differ(r#""a":1,"a":1"#, r#""a":1"#);
    differ(r#""a":1,"a":1,"b":1"#, r#""a":1,"b":1,"b":1"#);
    assert!(same(&x(r#""a":1,"b":0,"a":2"#), &x(r#""a":1,"a":2,"b":0"#)));
    assert!(same(&x(r#""a":1,"a":2"#), &x(r#""a":1,"\u0061":2"#)));
    // At the top too, where they are not read here.
    differ(r#"}, "y":1,"y":2, "z":{"#, r#"}, "y":2,"y":1, "z":{"#);
}

#[test]
fn a_byte_order_mark_does_not_count() {
    let body = chat(r#""x":1,"#);
    assert!(same(&format!("\u{feff}{body}"), &body));
}

#[test]
fn an_embeddings_body_is_told_from_another() {
    let digest = |text: &str| read_embeddings(text.to_owned().into()).unwrap().digest;
    let one = r#"{"model":"m","input":["a","b"],"user":"u"}"#;
    let respaced = r#"{ "input" : [ "a" , "b" ] , "model" : "m" }"#;
    let other = r#"{"model":"m","input":["b","a"]}"#;
    assert_eq!(digest(one), digest(respaced));
    assert_ne!(digest(one), digest(other));
    assert!(same_request(one.as_bytes(), respaced.as_bytes()));
    assert!(!same_request(one.as_bytes(), other.as_bytes()));
}

#[test]
fn an_envelope_knows_whether_another_asks_the_same() {
    let chat = |members: &str| read_chat(chat(members).into()).unwrap();
    assert!(chat(r#""x":1,"y":2,"stream":true,"#).asks_as(&chat(r#""y":2,"x":1,"user":"u","#)));
    assert!(!chat(r#""x":1,"#).asks_as(&chat(r#""x":2,"#)));
    // The digests are equal here: a key that is given twice takes the comparison in full.
    assert!(!chat(r#""x":1,"x":2,"#).asks_as(&chat(r#""x":2,"x":1,"#)));
    let both = r#"{"model":"m","input":"a","messages":[{}]}"#;
    assert!(!read_chat(both.into()).unwrap().asks_as(&read_embeddings(both.into()).unwrap()));
}

#[test]
fn what_is_no_json_is_the_same_as_itself_alone() {
    assert!(same_request(b"{", b"{"));
    assert!(!same_request(b"{", b"{ "));
    assert!(!same_request(br#"{"a":1"#, br#"{"a":1 "#));
    assert!(!same_request(b"", b" "));
}

#[test]
fn reordering_is_followed_sixteen_objects_deep() {
    let nest = |depth: usize, turned: bool| {
        let (before, after) = if turned { (r#""b":1,"a":"#, "") } else { (r#""a":"#, r#","b":1"#) };
        let x = format!("{}0{}", format!("{{{before}").repeat(depth), format!("{after}}}").repeat(depth));
        chat(&format!(r#""x":{x},"#))
    };
    assert!(same(&nest(16, false), &nest(16, true)));
    assert!(!same_request(nest(17, false).as_bytes(), nest(17, true).as_bytes()));
    assert!(same(&nest(100, true), &nest(100, true).replace(':', " : ")));
}

/// A JSON value whose numbers are text.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    /// A number or a word.
    Bare(String),
    Text(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Tree {
    fn write(&self, style: &mut Style, out: &mut String) {
        style.space(out);
        match self {
            Self::Bare(text) => out.push_str(text),
            Self::Text(text) => style.quote(text, out),
            Self::Array(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "" });
                    item.write(style, out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (place, (key, value)) in style.shuffled(members).into_iter().enumerate() {
                    out.push_str(if place > 0 { "," } else { "" });
                    style.space(out);
                    style.quote(key, out);
                    style.space(out);
                    out.push(':');
                    value.write(style, out);
                }
                style.space(out);
                out.push('}');
            }
        }
        style.space(out);
    }

    fn written(&self, seed: u64) -> String {
        let mut out = String::new();
        self.write(&mut Style(seed), &mut out);
        out
    }

    /// The values in it, itself included, each as often as it is met.
    fn size(&self) -> usize {
        1 + match self {
            Self::Bare(_) | Self::Text(_) => 0,
            Self::Array(items) => items.iter().map(Self::size).sum(),
            Self::Object(members) => members.iter().map(|(_, value)| value.size()).sum(),
        }
    }

    /// The `at`th of the values in it.
    fn nth(&mut self, at: &mut usize) -> Option<&mut Self> {
        if *at == 0 {
            return Some(self);
        }
        *at -= 1;
        match self {
            Self::Bare(_) | Self::Text(_) => None,
            Self::Array(items) => items.iter_mut().find_map(|item| item.nth(at)),
            Self::Object(members) => members.iter_mut().find_map(|(_, value)| value.nth(at)),
        }
    }
}

/// How a tree is written: the order of its members, the white space, the spelling of its strings. 0 is the plain way.
struct Style(u64);

impl Style {
    fn draw(&mut self, below: u64) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn space(&mut self, out: &mut String) {
        out.push_str(["", "", "", " ", "\n\t", "  \r\n"][self.draw(6) as usize]);
    }

    fn quote(&mut self, text: &str, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            match self.draw(8) {
                7 => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        let upper = self.draw(2) == 1;
                        out.push_str(&if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") });
                    }
                }
                6 if character == '/' => out.push_str("\\/"),
                _ => {
                    let quoted = serde_json::to_string(&character).unwrap();
                    out.push_str(&quoted[1..quoted.len() - 1]);
                }
            }
        }
        out.push('"');
    }

    /// The members in any order; those of one key stay in theirs.
    fn shuffled<'a>(&mut self, members: &'a [(String, Tree)]) -> Vec<&'a (String, Tree)> {
        let mut all: Vec<_> = members.iter().collect();
        for place in 1..all.len() {
            let other = place - self.draw(place as u64 + 1) as usize;
            if all[other..=place].iter().all(|member| std::ptr::eq(*member, all[other]) || member.0 != all[other].0)
                && all[other..place].iter().all(|member| member.0 != all[place].0)
            {
                all.swap(other, place);
            }
        }
        all
    }
}

/// What a body asks, as text: the naive way. Members in the order of their keys, strings as serde_json writes them.
fn model(text: &str, top: bool) -> String {
    const ASIDE: [&str; 6] = ["stream", "stream_options", "user", "safety_identifier", "prompt_cache_key", "metadata"];
    let text = text.trim();
    match text.as_bytes()[0] {
        b'{' => {
            let Ordered(mut members) = serde_json::from_str(text).unwrap();
            let stored = members.iter().any(|(key, value)| key == "store" && value.get() == "true");
            let counts = |key: &str| !ASIDE.contains(&key) || (key == "metadata" && stored);
            members.retain(|(key, _)| !top || counts(key));
            members.sort_by(|one, other| one.0.cmp(&other.0));
            let members: Vec<_> =
                members.iter().map(|(key, value)| format!("{key:?}:{}", model(value.get(), false))).collect();
            format!("{{{}}}", members.join(","))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            let items: Vec<_> = items.iter().map(|item| model(item.get(), false)).collect();
            format!("[{}]", items.join(","))
        }
        b'"' => format!("{:?}", serde_json::from_str::<String>(text).unwrap()),
        _ => text.to_owned(),
    }
}

/// An object's members, all of them, in order.
struct Ordered<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Ordered<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Ordered<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        "[a-c/\"\\\\\n\u{1}é😀]{0,12}",
        any::<String>(),
        // As long as the sizes at which a hash changes its way.
        (0..300_usize, any::<char>()).prop_map(|(length, last)| format!("{}{last}", "é/".repeat(length / 2))),
    ]
}

fn bare() -> impl Strategy<Value = Tree> {
    prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
    ]
    .prop_map(Tree::Bare)
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![bare(), text().prop_map(Tree::Text)];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = prop_oneof![Just("a".to_owned()), Just("stream".to_owned()), text()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Tree::Array),
            prop::collection::vec((key, inner), 0..5).prop_map(Tree::Object),
        ]
    })
}

const KNOWN: &[&str] = &[
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
    "store",
    "tools",
    "input",
];

/// Members that a chat request may have: known ones at most once, others as often as they come.
fn request() -> impl Strategy<Value = Tree> {
    let message = prop::collection::vec((text(), tree()), 0..4).prop_map(Tree::Object);
    let known = prop::sample::subsequence(KNOWN, 0..=KNOWN.len());
    let streams = prop::option::of(any::<bool>());
    let others = prop::collection::vec(("x_[a-c]{1,2}", tree()), 0..4);
    (
        (text().prop_filter("a name", |name| !name.is_empty()), prop::collection::vec(message, 1..4)),
        (known, prop::collection::vec(tree(), KNOWN.len()), streams, others),
    )
        .prop_map(|((model, messages), (known, values, streams, others))| {
            let mut members =
                vec![("model".to_owned(), Tree::Text(model)), ("messages".to_owned(), Tree::Array(messages))];
            members.extend(known.into_iter().map(str::to_owned).zip(values));
            members.extend(streams.map(|on| ("stream".to_owned(), Tree::Bare(on.to_string()))));
            members.extend(others);
            Tree::Object(members)
        })
}

/// Changes one value, key or order; false if there was nothing to change.
fn mutate(tree: &mut Tree, at: usize, change: u8, other: Tree, word: String) -> bool {
    let mut at = at % tree.size();
    let target = tree.nth(&mut at).unwrap();
    let before = target.clone();
    match (change % 6, &mut *target) {
        (0, Tree::Array(items)) => items.push(other),
        (0, Tree::Object(members)) => members.push((word, other)),
        (1, Tree::Array(items)) if !items.is_empty() => {
            items.pop();
        }
        (1, Tree::Object(members)) if !members.is_empty() => {
            members.remove(0);
        }
        (2, Tree::Array(items)) => items.reverse(),
        (2, Tree::Object(members)) if !members.is_empty() => members[0].0 = word,
        (3, target) => *target = Tree::Array(vec![target.clone()]),
        (4, Tree::Bare(text)) if text.contains('.') => text.push('0'),
        (4, Tree::Bare(text)) if text.trim_start_matches('-').starts_with(|first| ('1'..='9').contains(&first)) => {
            text.push('0');
        }
        (4, Tree::Text(text)) => text.push('a'),
        (_, target) => *target = other,
    }
    *target != before
}

proptest! {
    #[test]
    fn how_a_request_is_written_does_not_count(request in request(), seed in 1_u64..) {
        let (one, other) = (request.written(0), request.written(seed));
        prop_assert!(same_request(one.as_bytes(), other.as_bytes()), "{} {}", one, other);
        prop_assert!(same_request(other.as_bytes(), one.as_bytes()));
        prop_assert_eq!(digest(&one), digest(&other), "{} {}", one, other);
        prop_assert_eq!(model(&one, true), model(&other, true));
    }

    #[test]
    fn every_change_counts_that_the_naive_model_sees(
        request in request(), at: usize, change: u8, other in tree(), word in text(), seed: u64,
    ) {
        let one = request.written(0);
        let mut changed = request.clone();
        mutate(&mut changed, at, change, other, word);
        let other = changed.written(seed);
        let same = model(&one, true) == model(&other, true);
        prop_assert_eq!(same_request(one.as_bytes(), other.as_bytes()), same, "{} {}", one, other);
        prop_assert_eq!(same_request(other.as_bytes(), one.as_bytes()), same);
        if let Ok(envelope) = read_chat(other.clone().into()) {
            // Of keys that are given twice only the comparison sees the order.
            prop_assert!(envelope.digest == digest(&one) || !same, "{} {}", one, other);
            let turned = || model(&sorted(&one), true) == model(&sorted(&other), true);
            prop_assert!(envelope.digest != digest(&one) || same || turned(), "{} {}", one, other);
        }
    }

    #[test]
    fn a_changed_member_that_counts_is_another_request(
        request in request(), at: usize, change: u8, other in tree(), word in text(), seed: u64,
    ) {
        let Tree::Object(members) = &request else { unreachable!("a request is an object") };
        let mut changed = request.clone();
        let Tree::Object(of) = &mut changed else { unreachable!("a request is an object") };
        let place = at % members.len();
        let key = members[place].0.clone();
        prop_assume!(!["stream", "user", "safety_identifier", "prompt_cache_key", "metadata"].contains(&key.as_str()));
        prop_assume!(members.iter().filter(|(other, _)| *other == key).count() == 1);
        prop_assume!(mutate(&mut of[place].1, at / members.len(), change, other, word));
        let (one, other) = (request.written(0), changed.written(seed));
        prop_assert!(!same_request(one.as_bytes(), other.as_bytes()), "{} {}", one, other);
    }
}

/// The body with the values of each key in the order of their text.
fn sorted(text: &str) -> String {
    let text = text.trim();
    match text.as_bytes()[0] {
        b'{' => {
            let Ordered(members) = serde_json::from_str(text).unwrap();
            let mut members: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("{}:{}", serde_json::to_string(key).unwrap(), sorted(value.get())))
                .collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            let items: Vec<_> = items.iter().map(|item| sorted(item.get())).collect();
            format!("[{}]", items.join(","))
        }
        b'"' => serde_json::to_string(&serde_json::from_str::<String>(text).unwrap()).unwrap(),
        _ => text.to_owned(),
    }
}
