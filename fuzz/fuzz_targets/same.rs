//! Two requests: they are the same exactly if a naive model says so, and then their digests are equal.
#![no_main]

use std::fmt;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use llm_core::Envelope;
use llm_providers::wire::openai::{read_chat, same_request};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

fuzz_target!(|input: (&[u8], &[u8], u8)| {
    let (one, other, cut) = input;
    // Half of the bytes in common, or the same bytes with another end: else two texts are never alike.
    let common = one.len() * usize::from(cut) / 255;
    let other = [&one[..common], other].concat();
    assert!(same_request(one, one));
    assert_eq!(same_request(one, &other), same_request(&other, one));

    let (Some(a), Some(b)) = (request(one), request(&other)) else { return };
    let same = a.asks_as(&b);
    assert_eq!(same, b.asks_as(&a));
    assert_eq!(same, same_request(&a.body, &b.body));
    assert!(same || a.body != b.body);
    let (Some(first), Some(second)) = (Model::of(&a.body), Model::of(&b.body)) else { return };
    if first.depth.max(second.depth) > 16 {
        return;
    }
    assert_eq!(same, first.text == second.text);

    let turned = read_chat(Bytes::from(first.turned)).expect("another order is a request too");
    assert!(turned.asks_as(&a) && a.asks_as(&turned));
});

/// A request that says `value`: as a member of the whole, and in a message.
fn request(value: &[u8]) -> Option<Envelope> {
    let body = [br#"{"model":"m","messages":[{"x":"#, value, br#","user":1}],"x":"#, value, br#","user":1}"#].concat();
    read_chat(body.into()).ok()
}

/// What a text says, the naive way.
struct Model {
    /// Members in the order of their keys, strings as they are escaped for people.
    text: String,
    /// The text with its members in another order, those of one key in theirs, and white space between.
    turned: String,
    depth: usize,
}

impl Model {
    fn of(body: &[u8]) -> Option<Self> {
        Self::read(std::str::from_utf8(body).ok()?.trim_start_matches('\u{feff}'), true)
    }

    /// None for a string that has no form in UTF-8.
    fn read(text: &str, top: bool) -> Option<Self> {
        const ASIDE: [&str; 6] =
            ["stream", "stream_options", "user", "safety_identifier", "prompt_cache_key", "metadata"];
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        Some(match text.as_bytes().first()? {
            b'{' => {
                let Ordered(members) = serde_json::from_str(text).ok()?;
                let mut members: Vec<(String, Self)> = members
                    .into_iter()
                    .map(|(key, value)| Some((key, Self::read(value.get(), false)?)))
                    .collect::<Option<_>>()?;
                members.sort_by(|one, other| one.0.cmp(&other.0));
                let depth = 1 + members.iter().map(|(_, value)| value.depth).max().unwrap_or(0);
                let quoted = |key| serde_json::to_string(key).expect("a string can be written to memory");
                let mut groups: Vec<_> = members.chunk_by(|one, other| one.0 == other.0).collect();
                groups.reverse();
                let turned: Vec<_> = groups
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| format!(" {} :\n{}", quoted(key), value.turned))
                    .collect();
                let text: Vec<_> = members
                    .iter()
                    .filter(|(key, _)| !top || !ASIDE.contains(&key.as_str()))
                    .map(|(key, value)| format!("{key:?}:{}", value.text))
                    .collect();
                Self { text: format!("{{{}}}", text.join(",")), turned: format!("{{{}}}", turned.join(",")), depth }
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let items: Vec<_> = items.iter().map(|item| Self::read(item.get(), false)).collect::<Option<_>>()?;
                let depth = 1 + items.iter().map(|item| item.depth).max().unwrap_or(0);
                let join = |of: fn(&Self) -> &str| format!("[{}]", items.iter().map(of).collect::<Vec<_>>().join(","));
                Self { text: join(|item| &item.text), turned: join(|item| &item.turned), depth }
            }
            b'"' => {
                let string: String = serde_json::from_str(text).ok()?;
                let turned = serde_json::to_string(&string).expect("a string can be written to memory");
                Self { text: format!("{string:?}"), turned, depth: 0 }
            }
            _ => Self { text: text.to_owned(), turned: text.to_owned(), depth: 0 },
        })
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
