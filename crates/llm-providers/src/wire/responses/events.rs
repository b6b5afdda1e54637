//! Events of a streamed response, to neutral events.

use std::borrow::Cow;

use llm_core::{Error, ErrorKind, StreamEvent, Usage};

use super::delta::{self, Of};
use super::part::{is_known, read_citation};
use super::response::{failure, logprobs_of, read_response, stop_reason};
use super::seal;
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw};
use crate::wire::openai::{error_object, error_within, not_json};
use crate::wire::{Sink, StreamDecoder, Text, events, seal as google};

/// Turns the data of a stream's events into neutral events.
#[derive(Debug, Default)]
pub struct ItemDecoder {
    started: bool,
    done: bool,
    /// The calls told so far.
    calls: u32,
    /// The items that were told, and what of them.
    items: Vec<Item>,
    /// The item and the part of what was told last, if that is a thought without a seal.
    unsealed: Option<(u32, u32)>,
    usage: Option<Usage>,
}

/// An item and what was told of it.
#[derive(Clone, Copy, Debug)]
struct Item {
    place: u32,
    /// Which call of the answer, if it is one.
    call: Option<u32>,
    /// Whether any of its text was told.
    told: bool,
}

impl ItemDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn item(&mut self, place: u32) -> &mut Item {
        let known = self.items.iter().rposition(|item| item.place == place);
        let at = known.unwrap_or_else(|| {
            self.items.push(Item { place, call: None, told: false });
            self.items.len() - 1
        });
        &mut self.items[at]
    }

    /// Tells a piece of a text, of the part of the item there that is at `part`.
    fn piece(&mut self, of: Of, (place, part): (u32, u32), text: Text<'_>, sink: Sink<'_>) {
        if text.is_empty() {
            return;
        }
        let thought = (of == Of::Thought).then_some((place, part));
        let last = std::mem::replace(&mut self.unsealed, thought);
        if thought.is_some() && last.is_some() && last != thought {
            sink(StreamEvent::EndOfThought { choice: 0 });
        }
        let item = self.item(place);
        item.told = true;
        match (of, item.call) {
            (Of::Text, _) => sink(StreamEvent::Text { choice: 0, text }),
            (Of::Refusal, _) => sink(StreamEvent::Refusal { choice: 0, text }),
            (Of::Thought, _) => sink(StreamEvent::Reasoning { choice: 0, text }),
            (Of::Arguments, Some(index)) => sink(StreamEvent::ToolArguments { choice: 0, index, fragment: text }),
            (Of::Arguments, None) => {}
        }
    }

    fn start(&mut self, response: Raw<'_>, sink: Sink<'_>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let text = |name| response.member(name).and_then(Raw::string).unwrap_or_default();
        let (id, model) = (text("id"), text("model"));
        let created = response.member("created_at").and_then(Raw::u64);
        sink(StreamEvent::Start { id: Text::plain(&id), model: Text::plain(&model), created });
    }

    fn event(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        let raw = Raw::parse(data).map_err(|syntax| not_json(syntax, data))?;
        if raw.kind() != Kind::Object {
            return Err(Error::new(ErrorKind::BadAnswer, "an event of the stream is no object"));
        }
        let (mut kind, mut place, mut part, mut response, mut item) = (Cow::Borrowed(""), 0, 0, None, None);
        let number = |value: Raw<'_>| value.u64().and_then(|place| u32::try_from(place).ok()).unwrap_or(0);
        let (mut delta, mut logprobs, mut annotation) = (None, None, None);
        for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "type" => kind = value.string().unwrap_or_default(),
                "output_index" => place = number(value),
                "content_index" | "summary_index" => part = number(value),
                "response" => response = Some(value),
                "item" => item = Some(value),
                "delta" => delta = Some(value),
                "logprobs" => logprobs = Some(value),
                "annotation" => annotation = Some(value),
                _ => {}
            }
        }
        match (kind.as_ref(), response, item) {
            ("error", ..) => return Err(raw.member("error").map_or_else(|| error_object(raw), error_object)),
            ("", ..) => {
                let unknown = || Error::new(ErrorKind::BadAnswer, "an event of the stream has no type");
                return Err(error_within(raw).unwrap_or_else(unknown));
            }
            ("response.created" | "response.queued" | "response.in_progress", Some(response), _) => {
                self.start(response, sink);
            }
            ("response.failed", response, _) => {
                let failed = || Error::new(ErrorKind::Upstream, "the provider's answer failed");
                return Err(response.and_then(failure).unwrap_or_else(failed));
            }
            ("response.completed" | "response.incomplete", Some(response), _) => return self.end(response, sink),
            ("response.output_item.added", _, Some(item)) => self.begin(place, item, sink),
            ("response.output_item.done", _, Some(item)) => self.over(place, item, sink),
            ("response.output_text.annotation.added", ..) => {
                if let Some(citation) = annotation.map(read_citation).filter(is_known) {
                    sink(StreamEvent::Citation { choice: 0, citation: Box::new(citation) });
                }
            }
            (kind, ..) => {
                let of = match kind {
                    "response.output_text.delta" => Of::Text,
                    "response.refusal.delta" => Of::Refusal,
                    "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => Of::Thought,
                    "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => Of::Arguments,
                    _ => return Ok(()),
                };
                if let Some(delta) = delta {
                    Text::tell(delta, |text| self.piece(of, (place, part), text, sink));
                }
                let tokens: Vec<_> = logprobs.into_iter().flat_map(Raw::items).collect();
                if !tokens.is_empty() {
                    sink(StreamEvent::Logprobs { choice: 0, logprobs: logprobs_of(&tokens) });
                }
            }
        }
        Ok(())
    }

    /// An item begins: a call is told of.
    fn begin(&mut self, place: u32, item: Raw<'_>, sink: Sink<'_>) {
        let custom = match item.member("type").map(Raw::text) {
            Some("\"function_call\"") => false,
            Some("\"custom_tool_call\"") => true,
            _ => {
                self.item(place);
                return;
            }
        };
        if self.item(place).call.is_some() {
            return;
        }
        let index = self.calls;
        self.calls += 1;
        self.unsealed = None;
        self.item(place).call = Some(index);
        let text = |name| item.member(name).and_then(Raw::string).unwrap_or_default();
        let (id, name) = (text("call_id"), text("name"));
        let (id, name) = (Text::plain(&id), Text::plain(&name));
        sink(StreamEvent::ToolCall { choice: 0, index, id, name, custom });
        if let Some(signature) = item.member(google::MEMBER).and_then(google::read) {
            sink(StreamEvent::Signature { choice: 0, signature });
        }
    }

    /// An item is over: what was not told in pieces is told now, and the seal of thoughts.
    fn over(&mut self, place: u32, item: Raw<'_>, sink: Sink<'_>) {
        self.begin(place, item, sink);
        let told = self.item(place).told;
        match item.member("type").map(Raw::text) {
            Some(kind @ ("\"function_call\"" | "\"custom_tool_call\"")) if !told => {
                let member = if kind == "\"function_call\"" { "arguments" } else { "input" };
                if let Some(whole) = item.member(member) {
                    Text::tell(whole, |text| self.piece(Of::Arguments, (place, 0), text, sink));
                }
            }
            Some("\"message\"") if !told => {
                for part in item.member("content").into_iter().flat_map(Raw::items) {
                    for (of, member) in [(Of::Text, "text"), (Of::Refusal, "refusal")] {
                        if let Some(text) = part.member(member) {
                            Text::tell(text, |text| self.piece(of, (place, 0), text, sink));
                        }
                    }
                }
            }
            Some("\"reasoning\"") => {
                if !told {
                    for (part, text) in (0..).zip(item.member("summary").into_iter().flat_map(Raw::items)) {
                        if let Some(text) = text.member("text") {
                            Text::tell(text, |text| self.piece(Of::Thought, (place, part), text, sink));
                        }
                    }
                }
                if let Some(sealed) = item.member("encrypted_content").and_then(Raw::string) {
                    let told = self.item(place).told;
                    self.unsealed = None;
                    let (signature, of) = seal::read(&sealed);
                    if !told && of != Some(seal::Of::Open) {
                        sink(StreamEvent::RedactedReasoning { choice: 0, signature });
                    } else {
                        if !told {
                            sink(StreamEvent::Reasoning { choice: 0, text: Text::plain("") });
                        }
                        sink(StreamEvent::Signature { choice: 0, signature });
                    }
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, response: Raw<'_>, sink: Sink<'_>) -> Result<(), Error> {
        // Some servers tell all at the end.
        if self.items.is_empty() && response.member("output").is_some_and(|output| output.items().next().is_some()) {
            let whole = read_response(response)?;
            self.usage = whole.usage;
            self.done = true;
            for event in events(whole) {
                if !self.started || !matches!(event, StreamEvent::Start { .. }) {
                    sink(event.map(|text| Text::plain(text)));
                }
            }
            self.started = true;
            return Ok(());
        }
        self.start(response, sink);
        self.done = true;
        self.usage = response.member("usage").and_then(read_usage);
        sink(StreamEvent::Stop { choice: 0, reason: stop_reason(response, self.calls > 0) });
        self.usage.into_iter().for_each(|usage| sink(StreamEvent::Usage(usage)));
        Ok(())
    }
}

impl StreamDecoder for ItemDecoder {
    fn decode(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        // No mark of an end here: some servers send it after the event that is one.
        if self.done || data.starts_with(b"[DONE]") {
            return Ok(());
        }
        if let Some(delta) = delta::read(data)
            && let Some(text) = Text::quoted(delta.token)
        {
            self.piece(delta.of, (delta.item, delta.part), text, sink);
            return Ok(());
        }
        self.event(data, sink)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        Err(Error::new(ErrorKind::StreamInterrupted, "the provider's stream broke off before its end"))
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
