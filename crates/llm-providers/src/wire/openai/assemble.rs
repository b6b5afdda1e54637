//! A streamed chat completion as the whole answer that it makes up. Members that nobody here knows are kept.

use bytes::Bytes;
use llm_core::{Error, ErrorKind};

use super::answer::not_json;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::sse::Framer;

/// Puts the chunks of a stream together.
///
/// Within a delta, texts are joined, lists of numbered items are joined item by item, other lists are appended to,
/// and of everything else the last counts; beside the deltas the last of everything counts.
#[derive(Debug)]
pub struct ChatAssembler {
    framer: Framer,
    /// The members of the answer, the choices aside.
    members: Vec<(String, Node)>,
    choices: Vec<Assembled>,
}

#[derive(Debug, Default)]
struct Assembled {
    index: u64,
    message: Vec<(String, Node)>,
    logprobs: Option<Node>,
    /// Why it ended, and what nobody here knows.
    members: Vec<(String, Node)>,
}

/// A value in the making.
#[derive(Debug)]
enum Node {
    /// As received.
    Json(String),
    Text(String),
    Object(Vec<(String, Self)>),
    List(Vec<Self>),
}

impl ChatAssembler {
    /// Nothing yet, of a stream whose events are at most `limit` bytes long.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { framer: Framer::new(limit), members: Vec::new(), choices: Vec::new() }
    }

    /// Adds bytes of the stream.
    ///
    /// # Errors
    /// `BadAnswer` when an event is no chunk or too long.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.framer.push(bytes);
        loop {
            let event = self.framer.next_event();
            let event = event.map_err(|error| Error::new(ErrorKind::BadAnswer, error.to_string()))?;
            let Some(event) = event else { return Ok(()) };
            let Some(data) = event.fields().data else { continue };
            if data.is_empty() || data.starts_with(b"[DONE]") {
                continue;
            }
            let chunk = Raw::parse(&data).map_err(|syntax| not_json(syntax, &data))?;
            chunk_into(&mut self.members, &mut self.choices, chunk);
        }
    }

    /// The whole answer.
    ///
    /// # Errors
    /// `BadAnswer` when the stream had no choice.
    pub fn finish(mut self) -> Result<Bytes, Error> {
        if self.choices.is_empty() {
            return Err(Error::new(ErrorKind::BadAnswer, "the stream has no choice"));
        }
        self.choices.sort_by_key(|choice| choice.index);
        let usage = self.members.iter().position(|(key, _)| key == "usage").map(|at| self.members.remove(at));
        let mut writer = Writer::default();
        writer.object(|writer| {
            for (key, value) in &self.members {
                writer.key(key);
                value.write(writer);
            }
            writer.key("choices").array(|writer| self.choices.iter().for_each(|choice| choice.write(writer)));
            if let Some((key, usage)) = &usage {
                writer.key(key);
                usage.write(writer);
            }
        });
        Ok(writer.into_bytes())
    }
}

fn chunk_into(members: &mut Vec<(String, Node)>, choices: &mut Vec<Assembled>, chunk: Raw<'_>) {
    for (key, value) in chunk.members() {
        match key.as_ref() {
            "choices" => value.items().for_each(|choice| choice_into(choices, choice)),
            "object" => set(members, &key, Node::Text("chat.completion".to_owned())),
            // Padding of the chunk's, not of the answer.
            "obfuscation" => {}
            _ if value.is_null() => {}
            // Azure's first chunk has an id that is no text, which is to say none.
            "id" | "model" if value.text() == "\"\"" => {}
            _ => set(members, &key, Node::of(value)),
        }
    }
}

fn choice_into(choices: &mut Vec<Assembled>, raw: Raw<'_>) {
    let index = raw.member("index").and_then(Raw::u64).unwrap_or(0);
    let place = choices.iter().position(|choice| choice.index == index).unwrap_or_else(|| {
        choices.push(Assembled { index, ..Assembled::default() });
        choices.len() - 1
    });
    let choice = &mut choices[place];
    for (key, value) in raw.members() {
        match key.as_ref() {
            "index" => {}
            _ if value.is_null() => {}
            "delta" => value.members().for_each(|(key, value)| join(&mut choice.message, &key, value)),
            "logprobs" => match &mut choice.logprobs {
                Some(logprobs) => logprobs.add(value),
                none => *none = Some(Node::of(value)),
            },
            _ => set(&mut choice.members, &key, Node::of(value)),
        }
    }
}

/// Members of which each chunk tells the whole.
const WHOLE: [&str; 5] = ["role", "id", "type", "name", "index"];

fn set(members: &mut Vec<(String, Node)>, key: &str, value: Node) {
    match members.iter_mut().find(|(known, _)| known == key) {
        Some((_, known)) => *known = value,
        None => members.push((key.to_owned(), value)),
    }
}

fn join(members: &mut Vec<(String, Node)>, key: &str, value: Raw<'_>) {
    if value.is_null() {
        return;
    }
    match members.iter_mut().find(|(known, _)| known == key) {
        Some((_, known)) if WHOLE.contains(&key) => {
            if value.text() != "\"\"" {
                *known = Node::of(value);
            }
        }
        Some((_, known)) => known.add(value),
        None => members.push((key.to_owned(), Node::of(value))),
    }
}

/// The number of an item whose pieces come one by one.
fn number(item: Raw<'_>) -> Option<u64> {
    item.member("index").and_then(Raw::u64)
}

impl Node {
    fn of(value: Raw<'_>) -> Self {
        match value.kind() {
            Kind::String => {
                value.string().map_or_else(|| Self::Json(value.text().to_owned()), |text| Self::Text(text.into()))
            }
            Kind::Object => {
                Self::Object(value.members().map(|(key, value)| (key.into_owned(), Self::of(value))).collect())
            }
            Kind::Array => {
                let mut list = Self::List(Vec::new());
                list.add(value);
                list
            }
            _ => Self::Json(value.text().to_owned()),
        }
    }

    /// The next piece of a value.
    fn add(&mut self, value: Raw<'_>) {
        match (&mut *self, value.kind()) {
            (Self::Text(text), Kind::String) => text.push_str(&value.string().unwrap_or_default()),
            (Self::Object(members), Kind::Object) => {
                value.members().for_each(|(key, value)| join(members, &key, value));
            }
            (Self::List(items), Kind::Array) => value.items().for_each(|item| {
                let known =
                    number(item).and_then(|number| items.iter_mut().find(|known| known.number() == Some(number)));
                match known {
                    Some(known) => known.add(item),
                    None => items.push(Self::of(item)),
                }
            }),
            (_, Kind::Null) => {}
            _ => *self = Self::of(value),
        }
    }

    fn number(&self) -> Option<u64> {
        let Self::Object(members) = self else { return None };
        members.iter().find_map(|(key, value)| match value {
            Self::Json(number) if key == "index" => number.parse().ok(),
            _ => None,
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Json(text) => writer.text(text),
            Self::Text(text) => writer.string(text),
            Self::Object(members) => writer.object(|writer| {
                for (key, value) in members {
                    writer.key(key);
                    value.write(writer);
                }
            }),
            Self::List(items) => writer.array(|writer| items.iter().for_each(|item| item.write(writer))),
        }
    }

    /// A list of tool calls: in a whole answer they have no numbers.
    fn write_calls(&self, writer: &mut Writer) {
        let Self::List(calls) = self else { return self.write(writer) };
        writer.array(|writer| {
            for call in calls {
                let Self::Object(members) = call else {
                    call.write(writer);
                    continue;
                };
                writer.object(|writer| {
                    for (key, value) in members.iter().filter(|(key, _)| key != "index") {
                        writer.key(key);
                        value.write(writer);
                    }
                });
            }
        });
    }
}

impl Assembled {
    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("index").integer(self.index);
            writer.key("message").object(|writer| self.write_message(writer));
            writer.key("logprobs");
            match &self.logprobs {
                Some(logprobs) => logprobs.write(writer),
                None => writer.null(),
            }
            if !self.members.iter().any(|(key, _)| key == "finish_reason") {
                writer.key("finish_reason").null();
            }
            for (key, value) in &self.members {
                writer.key(key);
                value.write(writer);
            }
        });
    }

    fn write_message(&self, writer: &mut Writer) {
        let find = |name: &str| self.message.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        writer.key("role");
        match find("role") {
            Some(role) => role.write(writer),
            None => writer.string("assistant"),
        }
        let called = find("tool_calls").is_some() || find("function_call").is_some();
        for name in ["content", "refusal"] {
            writer.key(name);
            match find(name) {
                // Streams begin with an empty text whatever follows.
                Some(Node::Text(text)) if text.is_empty() && (called || name == "refusal") => writer.null(),
                Some(value) => value.write(writer),
                None => writer.null(),
            }
        }
        for (key, value) in
            self.message.iter().filter(|(key, _)| !matches!(key.as_str(), "role" | "content" | "refusal"))
        {
            writer.key(key);
            if key == "tool_calls" { value.write_calls(writer) } else { value.write(writer) }
        }
    }
}
