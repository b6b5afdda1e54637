//! Events of a streamed answer, to neutral events.

use std::borrow::Cow;

use llm_core::{Citation, Error, ErrorKind, StopReason, StreamEvent, Usage};

use super::block::{own_seal, read_citation, read_input};
use super::delta::{self, Of};
use super::error::error_within;
use super::response::{not_json, stop_reason};
use super::usage::Counts;
use crate::wire::json::{Kind, Raw};
use crate::wire::{Sink, StreamDecoder, Text, seal};

/// Turns the data of a stream's events into neutral events.
#[derive(Debug, Default)]
pub struct EventDecoder {
    done: bool,
    /// The block that is being told.
    block: Block,
    /// The calls told so far.
    calls: u32,
    /// The characters of text told so far.
    characters: u32,
    counts: Counts,
    stop: Option<StopReason>,
    /// Whether the block told last is a thought without a seal.
    unsealed: bool,
}

#[derive(Debug, Default)]
enum Block {
    #[default]
    None,
    /// Text that began after so many characters, and what it is based on.
    Text {
        from: u32,
        citations: Vec<Citation>,
    },
    Thought,
    /// A call, what its beginning said of its arguments, and whether a piece of them was told.
    Call {
        index: u32,
        input: Option<String>,
        told: bool,
    },
}

impl EventDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells a delta of the common form. `None` when the event is of another, and nothing was told.
    fn plain_delta(&mut self, data: &[u8], sink: Sink<'_>) -> Option<()> {
        let delta = delta::read(data)?;
        let text = Text::quoted(delta.token)?;
        match (delta.of, &mut self.block) {
            _ if text.is_empty() => {}
            (Of::Text, Block::Text { .. }) => {
                self.characters = self.characters.saturating_add(text.characters());
                sink(StreamEvent::Text { choice: 0, text });
            }
            (Of::Thought, Block::Thought) => sink(StreamEvent::Reasoning { choice: 0, text }),
            (Of::Arguments, Block::Call { index, told, .. }) => {
                *told = true;
                sink(StreamEvent::ToolArguments { choice: 0, index: *index, fragment: text });
            }
            _ => {}
        }
        Some(())
    }

    fn event(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        let raw = Raw::parse(data).map_err(|syntax| not_json(syntax, data))?;
        if raw.kind() != Kind::Object {
            return Err(Error::new(ErrorKind::BadAnswer, "an event of the stream is no object"));
        }
        let (mut kind, mut message, mut block, mut delta, mut usage) = Default::default();
        for (key, value) in raw.members() {
            match key.as_ref() {
                "type" => kind = value.text(),
                "message" => message = Some(value),
                "content_block" => block = Some(value),
                "delta" => delta = Some(value),
                "usage" => usage = Some(value),
                _ => {}
            }
        }
        match (kind, message, block, delta) {
            ("\"content_block_delta\"", _, _, Some(delta)) => self.delta(delta, sink),
            ("\"content_block_start\"", _, Some(block), _) => {
                self.end_block(sink);
                self.start_block(block, sink);
            }
            ("\"content_block_stop\"", ..) => self.end_block(sink),
            ("\"message_start\"", Some(message), ..) => self.start(message, sink),
            ("\"message_delta\"", _, _, delta) => {
                usage.into_iter().for_each(|usage| self.counts.read(usage));
                let text = |name| delta.and_then(|delta| delta.member(name)).and_then(Raw::string);
                if let Some(reason) = text("stop_reason") {
                    self.stop = Some(stop_reason(&reason, text("stop_sequence").map(Cow::into_owned)));
                }
            }
            ("\"message_stop\"", ..) => {
                self.end_block(sink);
                let reason = self.stop.take().unwrap_or(StopReason::Stop);
                sink(StreamEvent::Stop { choice: 0, reason });
                self.counts.usage().into_iter().for_each(|usage| sink(StreamEvent::Usage(usage)));
                self.done = true;
            }
            ("\"error\"", ..) | ("", ..) => {
                let unclear = || Error::new(ErrorKind::BadAnswer, "an event of the stream has no type");
                return Err(error_within(raw).unwrap_or_else(unclear));
            }
            // Pings, and what is not known yet.
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, message: Raw<'_>, sink: Sink<'_>) {
        let (mut id, mut model) = (Cow::Borrowed(""), Cow::Borrowed(""));
        for (key, value) in message.members() {
            match key.as_ref() {
                "id" => id = value.string().unwrap_or_default(),
                "model" => model = value.string().unwrap_or_default(),
                "usage" => self.counts.read(value),
                _ => {}
            }
        }
        sink(StreamEvent::Start { id: Text::plain(&id), model: Text::plain(&model), created: None });
    }

    fn start_block(&mut self, raw: Raw<'_>, sink: Sink<'_>) {
        let unsealed = std::mem::take(&mut self.unsealed);
        match raw.member("type").map_or("", Raw::text) {
            "\"text\"" => {
                let citations = raw.member("citations").into_iter().flat_map(Raw::items).map(read_citation).collect();
                self.block = Block::Text { from: self.characters, citations };
                raw.member("text").into_iter().for_each(|text| self.text(text, sink));
            }
            "\"thinking\"" => {
                if unsealed {
                    sink(StreamEvent::EndOfThought { choice: 0 });
                }
                (self.block, self.unsealed) = (Block::Thought, true);
                // Told even if nothing of it is shown: the seal that follows is its own.
                let text = raw.member("thinking").and_then(|text| Text::quoted(text.text()));
                sink(StreamEvent::Reasoning { choice: 0, text: text.unwrap_or(Text::plain("")) });
                raw.member("signature").into_iter().for_each(|seal| self.seal(seal, sink));
            }
            "\"redacted_thinking\"" => {
                if let Some(data) = raw.member("data").and_then(Raw::string) {
                    let signature = own_seal(data.into_owned());
                    sink(StreamEvent::RedactedReasoning { choice: 0, signature });
                }
            }
            "\"tool_use\"" => {
                let text = |name| raw.member(name).and_then(Raw::string).unwrap_or_default();
                let (id, name) = (text("id"), text("name"));
                let index = self.calls;
                self.calls += 1;
                let (id, name) = (Text::plain(&id), Text::plain(&name));
                sink(StreamEvent::ToolCall { choice: 0, index, id, name, custom: false });
                if let Some(signature) = raw.member(seal::MEMBER).and_then(seal::read) {
                    sink(StreamEvent::Signature { choice: 0, signature });
                }
                let input = raw.member("input").map(read_input);
                let input = input.filter(|input| !input.trim_matches(['{', '}', ' ']).is_empty());
                self.block = Block::Call { index, input: input.map(Cow::into_owned), told: false };
            }
            _ => {}
        }
    }

    fn delta(&mut self, raw: Raw<'_>, sink: Sink<'_>) {
        for (key, value) in raw.members() {
            match (key.as_ref(), &mut self.block) {
                ("text", Block::Text { .. }) => self.text(value, sink),
                ("thinking", Block::Thought) => {
                    Text::tell(value, |text| sink(StreamEvent::Reasoning { choice: 0, text }));
                }
                ("signature", Block::Thought) => self.seal(value, sink),
                ("partial_json", Block::Call { index, told, .. }) => {
                    Text::tell(value, |fragment| {
                        *told = true;
                        sink(StreamEvent::ToolArguments { choice: 0, index: *index, fragment });
                    });
                }
                ("citation", Block::Text { citations, .. }) => citations.push(read_citation(value)),
                _ => {}
            }
        }
    }

    /// Tells the seal of a thought, unless it is empty: it will be told later then.
    fn seal(&mut self, seal: Raw<'_>, sink: Sink<'_>) {
        if let Some(seal) = seal.string().filter(|seal| !seal.is_empty()) {
            self.unsealed = false;
            sink(StreamEvent::Signature { choice: 0, signature: own_seal(seal.into_owned()) });
        }
    }

    fn text(&mut self, text: Raw<'_>, sink: Sink<'_>) {
        Text::tell(text, |text| {
            self.characters = self.characters.saturating_add(text.characters());
            sink(StreamEvent::Text { choice: 0, text });
        });
    }

    fn end_block(&mut self, sink: Sink<'_>) {
        match std::mem::take(&mut self.block) {
            Block::Text { from, citations } => {
                for mut citation in citations {
                    citation.span = Some((from, self.characters));
                    sink(StreamEvent::Citation { choice: 0, citation: Box::new(citation) });
                }
            }
            Block::Call { index, input, told: false } => {
                let fragment = Text::plain(input.as_deref().unwrap_or("{}"));
                sink(StreamEvent::ToolArguments { choice: 0, index, fragment });
            }
            Block::None | Block::Thought | Block::Call { .. } => {}
        }
    }
}

impl StreamDecoder for EventDecoder {
    fn decode(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        if self.done || self.plain_delta(data, sink).is_some() {
            return Ok(());
        }
        self.event(data, sink)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), Error> {
        match self.done {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::StreamInterrupted, "the provider's stream broke off before its end")),
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.counts.usage()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a decoder in the middle of a block tells of an event.
    fn told(block: &str, data: &str, full: bool) -> (Vec<StreamEvent>, bool, u32) {
        let mut decoder = EventDecoder::new();
        let begin = format!(r#"{{"type":"content_block_start","index":0,"content_block":{block}}}"#);
        StreamDecoder::decode(&mut decoder, begin.as_bytes(), &mut |_| {}).unwrap();
        let mut events = Vec::new();
        let mut sink = |event: StreamEvent<Text<'_>>| events.push(event.map(|text| text.into_string()));
        let read = match full {
            true => decoder.event(data.as_bytes(), &mut sink),
            false => StreamDecoder::decode(&mut decoder, data.as_bytes(), &mut sink),
        };
        (events, read.is_ok(), decoder.characters)
    }

    fn members(of: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(of), 0..4).prop_map(|members| members.join(","))
    }

    const BLOCKS: &[&str] = &[
        r#"{"type":"text","text":""}"#,
        r#"{"type":"thinking","thinking":"","signature":""}"#,
        r#"{"type":"tool_use","id":"t","name":"f","input":{}}"#,
        r#"{"type":"made_up"}"#,
    ];
    const DELTA: &[&str] = &[
        r#""type":"text_delta""#,
        r#""type":7"#,
        r#""text":"a\n\u00e9""#,
        r#""text":"""#,
        r#""text":"\ud83d""#,
        r#""text":null"#,
        r#""thinking":"t""#,
        r#""partial_json":"{\"a""#,
        r#""signature":"s""#,
        r#""t\u0065xt":"x""#,
        r#""made_up":1"#,
    ];
    const EVENT: &[&str] = &[
        r#""type":"content_block_delta""#,
        r#""type":"content_block_delta""#,
        r#""type":"content_block_stop""#,
        r#""type":"ping""#,
        r#""index":0"#,
        r#""index":"x""#,
        r#""error":{"message":"m"}"#,
        r#""made_up":{}"#,
        "nope",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn an_event_of_the_common_form_says_what_it_says_when_it_is_read_in_full(
            block in prop::sample::select(BLOCKS), delta in members(DELTA), event in members(EVENT), after in any::<bool>(),
            common in 0..4_u8,
        ) {
            let event = if common > 0 { r#""type":"content_block_delta","index":0"#.to_owned() } else { event };
            let data = match (event.is_empty(), after) {
                (true, _) => format!(r#"{{"delta":{{{delta}}}}}"#),
                (false, true) => format!(r#"{{"delta":{{{delta}}},{event}}}"#),
                (false, false) => format!(r#"{{{event},"delta":{{{delta}}}}}"#),
            };
            prop_assert_eq!(told(block, &data, false), told(block, &data, true), "{}", data);
        }
    }
}
