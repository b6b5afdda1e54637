//! Chunks of a streamed chat completion, to neutral events.

use std::borrow::Cow;

use llm_core::{Content, Error, ErrorKind, Signature, StreamEvent, Usage};

use super::answer::not_json;
use super::error::error_within;
use super::glance::Choices;
use super::message::{read_citation, read_details};
use super::piece::{self, Of};
use super::response::stop_reason;
use super::stream::interrupted;
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw};
use crate::wire::{Sink, StreamDecoder, Text, seal};

/// Turns the data of a stream's events into neutral events.
#[derive(Debug, Default)]
pub struct ChunkDecoder {
    started: bool,
    done: bool,
    id: String,
    calls: Vec<PendingCall>,
    stopped: Vec<u32>,
    choices: Choices,
    /// Later totals replace earlier ones: told when the stream ends.
    usage: Option<Usage>,
}

/// A tool call whose pieces arrive.
#[derive(Debug)]
struct PendingCall {
    choice: u32,
    index: u32,
    custom: bool,
    id: String,
    name: String,
    seal: Option<Signature>,
    /// Arguments that came before the name.
    held: String,
    told: bool,
}

impl ChunkDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the data of one SSE event (`[DONE]` too) and appends what it says to `events`.
    ///
    /// # Errors
    /// `BadAnswer` when it is no chunk; what the provider says when it is an error.
    pub fn decode(&mut self, data: &[u8], events: &mut Vec<StreamEvent>) -> Result<(), Error> {
        StreamDecoder::decode(self, data, &mut |event| events.push(event.map(|text| text.into_string())))
    }

    /// Whether `[DONE]` was read: the stream is at its end.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Ends the stream where its bytes end, and appends the usage if no `[DONE]` has.
    ///
    /// # Errors
    /// `StreamInterrupted` when neither `[DONE]` nor the end of every choice was read.
    pub fn finish(&mut self, events: &mut Vec<StreamEvent>) -> Result<(), Error> {
        StreamDecoder::finish(self, &mut |event| events.push(event.map(|text| text.into_string())))
    }

    fn chunk(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        let chunk = Raw::parse(data).map_err(|syntax| not_json(syntax, data))?;
        if chunk.kind() != Kind::Object {
            return Err(Error::new(ErrorKind::BadAnswer, "an event of the stream is no chunk"));
        }
        let (mut id, mut model, mut created, mut choices, mut usage) = Default::default();
        for (key, value) in chunk.members().filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "error" | "object" => {
                    if (key == "error" || value.text() == "\"error\"")
                        && let Some(error) = error_within(chunk)
                    {
                        return Err(error);
                    }
                }
                "id" => id = value.string(),
                "model" => model = value.string(),
                "created" => created = value.u64(),
                "choices" => choices = Some(value),
                "usage" => usage = read_usage(value),
                _ => {}
            }
        }
        let mut choices = choices.into_iter().flat_map(Raw::items).peekable();
        // A chunk without choice and id, as Azure sends first, does not begin the answer.
        if !self.started && (choices.peek().is_some() || id.as_deref().is_some_and(|id| !id.is_empty())) {
            self.started = true;
            self.id = id.unwrap_or_default().into_owned();
            let model = model.unwrap_or_default();
            sink(StreamEvent::Start { id: Text::plain(&self.id), model: Text::plain(&model), created });
        }
        for choice in choices {
            self.choice(choice, sink);
        }
        self.usage = usage.or(self.usage);
        Ok(())
    }

    /// Tells a chunk of the common form. `None` when it is of another, and nothing was told.
    fn piece_alone(&mut self, data: &[u8], sink: Sink<'_>) -> Option<()> {
        let piece = piece::read(data)?;
        let (choice, text) = (piece.choice, Text::quoted(piece.token)?);
        let event = match piece.of {
            Of::Text => StreamEvent::Text { choice, text },
            Of::Thought => StreamEvent::Reasoning { choice, text },
            Of::Call(index) => {
                let is_told = |call: &PendingCall| call.choice == choice && call.index == index && call.told;
                self.calls.iter().any(is_told).then_some(())?;
                StreamEvent::ToolArguments { choice, index, fragment: text }
            }
        };
        self.choices.mark(choice, false);
        if !text.is_empty() {
            sink(event);
        }
        Some(())
    }

    fn choice(&mut self, raw: Raw<'_>, sink: Sink<'_>) {
        let (mut choice, mut delta, mut reason, mut logprobs) = (0, None, None, None);
        for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "index" => choice = index(value).unwrap_or(0),
                "delta" => delta = Some(value),
                "logprobs" => logprobs = Some(value),
                "finish_reason" => reason = value.string().filter(|reason| !reason.is_empty()),
                _ => {}
            }
        }
        if let Some(delta) = delta {
            self.delta(choice, delta, sink);
        }
        if let Some(logprobs) = logprobs {
            sink(StreamEvent::Logprobs { choice, logprobs: logprobs.json() });
        }
        self.choices.mark(choice, reason.is_some());
        if let Some(reason) = reason
            && !self.stopped.contains(&choice)
        {
            self.stopped.push(choice);
            for call in self.calls.iter_mut().filter(|call| call.choice == choice) {
                call.tell(&self.id, sink);
            }
            let called = self.calls.iter().any(|call| call.choice == choice && call.told);
            sink(StreamEvent::Stop { choice, reason: stop_reason(&reason, called) });
        }
    }

    fn delta(&mut self, choice: u32, delta: Raw<'_>, sink: Sink<'_>) {
        let mut thought = false;
        for (key, value) in delta.members() {
            match key.as_ref() {
                // Servers that send both names send the same text twice.
                "reasoning_content" | "reasoning" if !thought => {
                    thought = value.kind() == Kind::String;
                    Text::tell(value, |text| sink(StreamEvent::Reasoning { choice, text }));
                }
                "reasoning_details" => seals(choice, value, sink),
                "content" if value.kind() == Kind::Array => {
                    for text in value.items().filter_map(|part| part.member("text")) {
                        Text::tell(text, |text| sink(StreamEvent::Text { choice, text }));
                    }
                }
                "content" => Text::tell(value, |text| sink(StreamEvent::Text { choice, text })),
                "refusal" => Text::tell(value, |text| sink(StreamEvent::Refusal { choice, text })),
                "annotations" => value.items().filter_map(read_citation).for_each(|citation| {
                    sink(StreamEvent::Citation { choice, citation: Box::new(citation) });
                }),
                "tool_calls" => value.items().for_each(|piece| self.tool_call(choice, piece, sink)),
                "function_call" => {
                    let body = (value.member("name"), value.member("arguments"));
                    self.piece(choice, value, false, body, None, sink);
                }
                _ => {}
            }
        }
    }

    fn tool_call(&mut self, choice: u32, piece: Raw<'_>, sink: Sink<'_>) {
        let (mut function, mut custom, mut seal) = (None, None, None);
        for (key, value) in piece.members() {
            match key.as_ref() {
                "function" => function = Some(value),
                "custom" => custom = Some(value),
                seal::MEMBER => seal = seal::read(value),
                _ => {}
            }
        }
        let body = match (function, custom) {
            (Some(function), _) => (function.member("name"), function.member("arguments")),
            (None, Some(custom)) => (custom.member("name"), custom.member("input")),
            (None, None) => (None, None),
        };
        self.piece(choice, piece, function.is_none() && custom.is_some(), body, seal, sink);
    }

    /// A piece of a tool call. Some servers leave the index out, the id too, or send id and name apart.
    fn piece(
        &mut self,
        choice: u32,
        piece: Raw<'_>,
        custom: bool,
        (name, arguments): (Option<Raw<'_>>, Option<Raw<'_>>),
        seal: Option<Signature>,
        sink: Sink<'_>,
    ) {
        let place = piece.member("index").and_then(index);
        let id = piece.member("id").and_then(Raw::string).unwrap_or_default();
        let name = name.and_then(Raw::string).unwrap_or_default();
        let known = match place {
            Some(place) => self.calls.iter().position(|call| call.choice == choice && call.index == place),
            None => self.calls.iter().rposition(|call| call.choice == choice).filter(|last| {
                let call = &self.calls[*last];
                (id == call.id && !id.is_empty()) || (id.is_empty() && (name.is_empty() || call.name.is_empty()))
            }),
        };
        let known = known.unwrap_or_else(|| {
            let before = self.calls.iter().filter(|call| call.choice == choice).count();
            let index = place.unwrap_or_else(|| u32::try_from(before).unwrap_or(u32::MAX));
            let (id, name, held) = Default::default();
            self.calls.push(PendingCall { choice, index, custom, id, name, seal: None, held, told: false });
            self.calls.len() - 1
        });
        let call = &mut self.calls[known];
        if !call.told {
            call.seal = seal.or(call.seal.take());
            call.id.push_str(if call.id.is_empty() { &id } else { "" });
            call.name.push_str(&name);
            if let Some(arguments) = arguments {
                call.held.push_str(&arguments.string().unwrap_or(Cow::Borrowed(arguments.text())));
            }
            if !call.id.is_empty() || !call.held.is_empty() {
                call.tell(&self.id, sink);
            }
        } else if let Some(arguments) = arguments {
            let index = call.index;
            let mut tell = |fragment: Text<'_>| sink(StreamEvent::ToolArguments { choice, index, fragment });
            match arguments.kind() {
                Kind::String => Text::tell(arguments, tell),
                _ => tell(Text::plain(arguments.text())),
            }
        }
    }
}

impl StreamDecoder for ChunkDecoder {
    fn decode(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        if data.starts_with(b"[DONE]") {
            self.done = true;
            self.usage.into_iter().for_each(|usage| sink(StreamEvent::Usage(usage)));
            return Ok(());
        }
        if self.started && self.piece_alone(data, sink).is_some() {
            return Ok(());
        }
        self.chunk(data, sink)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        if !self.choices.all_finished() {
            return Err(interrupted());
        }
        self.done = true;
        self.usage.into_iter().for_each(|usage| sink(StreamEvent::Usage(usage)));
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}

impl PendingCall {
    /// Tells of the call once its name is known; one without an id is given one.
    fn tell(&mut self, answer: &str, sink: Sink<'_>) {
        if self.told || self.name.is_empty() {
            return;
        }
        self.told = true;
        if self.id.is_empty() {
            self.id = format!("call_{answer}_{}_{}", self.choice, self.index);
        }
        let (choice, index, custom) = (self.choice, self.index, self.custom);
        let (id, name) = (Text::plain(&self.id), Text::plain(&self.name));
        sink(StreamEvent::ToolCall { choice, index, id, name, custom });
        if let Some(signature) = self.seal.take() {
            sink(StreamEvent::Signature { choice, signature });
        }
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            sink(StreamEvent::ToolArguments { choice, index, fragment: Text::plain(&held) });
        }
    }
}

/// Tells the seals among `reasoning_details`; their texts come under their own name too.
fn seals(choice: u32, details: Raw<'_>, sink: Sink<'_>) {
    for part in read_details(details).into_iter().flatten() {
        let Some(signature) = part.signature else { continue };
        let redacted = matches!(&part.content, Content::Reasoning(reasoning) if reasoning.redacted);
        sink(if redacted {
            StreamEvent::RedactedReasoning { choice, signature }
        } else {
            StreamEvent::Signature { choice, signature }
        });
    }
}

fn index(number: Raw<'_>) -> Option<u32> {
    number.u64().and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a decoder that has told of the answer and of one call tells of a chunk.
    fn told(data: &str, full: bool) -> (Vec<StreamEvent>, bool, Option<Usage>, bool) {
        let mut decoder = ChunkDecoder::new();
        let begin = r#"{"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f"}}]}}]}"#;
        StreamDecoder::decode(&mut decoder, begin.as_bytes(), &mut |_| {}).unwrap();
        let mut events = Vec::new();
        let mut sink = |event: StreamEvent<Text<'_>>| events.push(event.map(|text| text.into_string()));
        let read = match full {
            true => decoder.chunk(data.as_bytes(), &mut sink),
            false => StreamDecoder::decode(&mut decoder, data.as_bytes(), &mut sink),
        };
        (events, read.is_ok(), decoder.usage, decoder.choices.all_finished())
    }

    fn members(of: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(of), 0..4).prop_map(|members| members.join(","))
    }

    const DELTA: &[&str] = &[
        r#""role":"assistant""#,
        r#""content":"a\n\u00e9""#,
        r#""content":"""#,
        r#""content":null"#,
        r#""content":"\ud83d""#,
        r#""content":[{"text":"x"}]"#,
        r#""c\u006fntent":"x""#,
        r#""reasoning_content":"t""#,
        r#""reasoning":"u""#,
        r#""refusal":null"#,
        r#""refusal":"no""#,
        r#""made_up":{"content":"x"}"#,
        r#""annotations":[]"#,
        r#""tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]"#,
        r#""tool_calls":[{"index":0,"type":"function","id":null,"function":{"name":null,"arguments":"b"}}]"#,
        r#""tool_calls":[{"index":0,"function":{"name":"more","arguments":"b"}}]"#,
        r#""tool_calls":[{"index":1,"function":{"arguments":"c"}}]"#,
        r#""tool_calls":[{"function":{"arguments":"d"}}]"#,
        r#""tool_calls":[{"index":0,"function":{"arguments":{"e":1}}}]"#,
        r#""tool_calls":[{"index":0},{"index":0,"function":{"arguments":"f"}}]"#,
        r#""tool_calls":null"#,
        r#""tool_calls":[]"#,
        r#""function_call":{"name":"g","arguments":"h"}"#,
    ];
    const CHOICE: &[&str] = &[
        r#""index":0"#,
        r#""index":1"#,
        r#""index":1.0"#,
        r#""index":-1"#,
        r#""finish_reason":null"#,
        r#""finish_reason":"""#,
        r#""finish_reason":"stop""#,
        r#""logprobs":null"#,
        r#""logprobs":{"content":[]}"#,
        r#""made_up":[]"#,
    ];
    const CHUNK: &[&str] = &[
        r#""id":"x""#,
        r#""object":"chat.completion.chunk""#,
        r#""object":"error","message":"m""#,
        r#""object":7"#,
        r#""usage":null"#,
        r#""usage":{"prompt_tokens":1}"#,
        r#""error":null"#,
        r#""error":{"message":"m"}"#,
        r#""choices":null"#,
        r#""obfuscation":"x""#,
        "nope",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn a_chunk_of_the_common_form_says_what_it_says_when_it_is_read_in_full(
            delta in members(DELTA), choice in members(CHOICE), chunk in members(CHUNK), after in any::<bool>(), twice in 0..8_u8,
        ) {
            let comma = |members: &str| if members.is_empty() { String::new() } else { format!(",{members}") };
            let one = match after {
                true => format!(r#"{{"delta":{{{delta}}}{}}}"#, comma(&choice)),
                false if choice.is_empty() => format!(r#"{{"delta":{{{delta}}}}}"#),
                false => format!(r#"{{{choice},"delta":{{{delta}}}}}"#),
            };
            let list = if twice == 0 { format!("{one},{one}") } else { one };
            let data = format!(r#"{{"choices":[{list}]{}}}"#, comma(&chunk));
            prop_assert_eq!(told(&data, false), told(&data, true), "{}", data);
        }
    }
}
