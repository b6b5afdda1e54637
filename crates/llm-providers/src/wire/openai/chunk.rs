//! Chunks of a streamed chat completion, to and from neutral events.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{Error, ErrorKind, StopReason, StreamEvent, Usage};

use super::answer::not_json;
use super::error::{ErrorBody, error_within, write_error};
use super::glance::Choices;
use super::request::IncludeUsage;
use super::response::{reason_name, stop_reason};
use super::stream::interrupted;
use super::usage::{read_usage, write_usage};
use crate::wire::json::{Kind, Raw, Writer};

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
    id: String,
    name: String,
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
        if self.done {
            return Ok(());
        }
        if data.starts_with(b"[DONE]") {
            self.done = true;
            events.extend(self.usage.take().map(StreamEvent::Usage));
            return Ok(());
        }
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
            let model = model.unwrap_or_default().into_owned();
            events.push(StreamEvent::Start { id: self.id.clone(), model, created });
        }
        for choice in choices {
            self.choice(choice, events);
        }
        self.usage = usage.or(self.usage);
        Ok(())
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
        if !self.done && !self.choices.all_finished() {
            return Err(interrupted());
        }
        self.done = true;
        events.extend(self.usage.take().map(StreamEvent::Usage));
        Ok(())
    }

    fn choice(&mut self, raw: Raw<'_>, events: &mut Vec<StreamEvent>) {
        let (mut choice, mut delta, mut reason) = (0, None, None);
        for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "index" => choice = index(value).unwrap_or(0),
                "delta" => delta = Some(value),
                "finish_reason" => reason = value.string().filter(|reason| !reason.is_empty()),
                _ => {}
            }
        }
        if let Some(delta) = delta {
            self.delta(choice, delta, events);
        }
        self.choices.mark(choice, reason.is_some());
        if let Some(reason) = reason
            && !self.stopped.contains(&choice)
        {
            self.stopped.push(choice);
            for call in self.calls.iter_mut().filter(|call| call.choice == choice) {
                call.tell(&self.id, events);
            }
            let called = self.calls.iter().any(|call| call.choice == choice && call.told);
            events.push(StreamEvent::Stop { choice, reason: stop_reason(&reason, called) });
        }
    }

    fn delta(&mut self, choice: u32, delta: Raw<'_>, events: &mut Vec<StreamEvent>) {
        let mut thought = false;
        for (key, value) in delta.members() {
            let text = || value.string().filter(|text| !text.is_empty()).map(Cow::into_owned);
            match key.as_ref() {
                // Servers that send both names send the same text twice.
                "reasoning_content" | "reasoning" if !thought => {
                    thought = value.kind() == Kind::String;
                    events.extend(text().map(|text| StreamEvent::Reasoning { choice, text, signature: None }));
                }
                "content" if value.kind() == Kind::Array => {
                    let texts = value.items().filter_map(|part| part.member("text").and_then(Raw::string));
                    let texts = texts.filter(|text| !text.is_empty()).map(Cow::into_owned);
                    events.extend(texts.map(|text| StreamEvent::Text { choice, text }));
                }
                "content" => events.extend(text().map(|text| StreamEvent::Text { choice, text })),
                "refusal" => events.extend(text().map(|text| StreamEvent::Refusal { choice, text })),
                "tool_calls" => value.items().for_each(|piece| self.tool_call(choice, piece, events)),
                "function_call" => {
                    self.piece(choice, value, value.member("name"), value.member("arguments"), events);
                }
                _ => {}
            }
        }
    }

    fn tool_call(&mut self, choice: u32, piece: Raw<'_>, events: &mut Vec<StreamEvent>) {
        let function = piece.member("function");
        let custom = piece.member("custom");
        let name = function.or(custom).and_then(|function| function.member("name"));
        let arguments = function.and_then(|function| function.member("arguments"));
        let arguments = arguments.or_else(|| custom.and_then(|custom| custom.member("input")));
        self.piece(choice, piece, name, arguments, events);
    }

    /// A piece of a tool call. Some servers leave the index out, the id too, or send id and name apart.
    fn piece(
        &mut self,
        choice: u32,
        piece: Raw<'_>,
        name: Option<Raw<'_>>,
        arguments: Option<Raw<'_>>,
        events: &mut Vec<StreamEvent>,
    ) {
        let place = piece.member("index").and_then(index);
        let id = piece.member("id").and_then(Raw::string).unwrap_or_default();
        let name = name.and_then(Raw::string).unwrap_or_default();
        let arguments = arguments.map(|arguments| arguments.string().unwrap_or(Cow::Borrowed(arguments.text())));
        let arguments = arguments.unwrap_or_default();

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
            self.calls.push(PendingCall { choice, index, id, name, held, told: false });
            self.calls.len() - 1
        });
        let call = &mut self.calls[known];
        if !call.told {
            call.id.push_str(if call.id.is_empty() { &id } else { "" });
            call.name.push_str(&name);
            call.held.push_str(&arguments);
            if !call.id.is_empty() || !call.held.is_empty() {
                call.tell(&self.id, events);
            }
        } else if !arguments.is_empty() {
            let fragment = arguments.into_owned();
            events.push(StreamEvent::ToolArguments { choice, index: call.index, fragment });
        }
    }
}

impl PendingCall {
    /// Tells of the call once its name is known; one without an id is given one.
    fn tell(&mut self, answer: &str, events: &mut Vec<StreamEvent>) {
        if self.told || self.name.is_empty() {
            return;
        }
        self.told = true;
        if self.id.is_empty() {
            self.id = format!("call_{answer}_{}_{}", self.choice, self.index);
        }
        let (choice, index) = (self.choice, self.index);
        events.push(StreamEvent::ToolCall { choice, index, id: self.id.clone(), name: self.name.clone() });
        let fragment = std::mem::take(&mut self.held);
        if !fragment.is_empty() {
            events.push(StreamEvent::ToolArguments { choice, index, fragment });
        }
    }
}

fn index(number: Raw<'_>) -> Option<u32> {
    number.u64().and_then(|number| u32::try_from(number).ok())
}

/// Turns neutral events into the frames of a stream.
#[derive(Debug)]
pub struct ChunkEncoder {
    usage: IncludeUsage,
    created: u64,
    /// All chunks begin with this.
    head: Vec<u8>,
    /// The choices whose role was told.
    begun: Vec<u32>,
}

impl ChunkEncoder {
    /// An encoder at the beginning of a stream. `created` (unix seconds) is used when the answer has no time of
    /// its own.
    #[must_use]
    pub fn new(usage: IncludeUsage, created: u64) -> Self {
        Self { usage, created, head: head("", "", created), begun: Vec::new() }
    }

    /// The frames that say `event`: one or more whole SSE events, or none (usage that was not asked for).
    pub fn encode(&mut self, event: &StreamEvent) -> Bytes {
        match event {
            StreamEvent::Start { id, model, created } => {
                self.head = head(id, model, created.unwrap_or(self.created));
                self.delta(0, |_| {})
            }
            StreamEvent::Text { choice, text } => self.delta(*choice, |delta| delta.key("content").string(text)),
            StreamEvent::Refusal { choice, text } => self.delta(*choice, |delta| delta.key("refusal").string(text)),
            StreamEvent::Reasoning { text, .. } if text.is_empty() => Bytes::new(),
            StreamEvent::Reasoning { choice, text, .. } => {
                self.delta(*choice, |delta| delta.key("reasoning_content").string(text))
            }
            StreamEvent::ToolCall { choice, index, id, name } => self.call(*choice, *index, |call| {
                call.key("id").string(id);
                call.key("type").string("function");
                call.key("function").object(|function| {
                    function.key("name").string(name);
                    function.key("arguments").string("");
                });
            }),
            StreamEvent::ToolArguments { choice, index, fragment } => self.call(*choice, *index, |call| {
                call.key("function").object(|function| function.key("arguments").string(fragment));
            }),
            StreamEvent::Stop { choice, reason } => self.chunk(*choice, |_| {}, Some(reason)),
            StreamEvent::Usage(usage) => self.usage(usage),
            _ => Bytes::new(),
        }
    }

    fn call(&mut self, choice: u32, index: u32, fill: impl FnOnce(&mut Writer)) -> Bytes {
        self.delta(choice, |delta| {
            delta.key("tool_calls").array(|calls| {
                calls.object(|call| {
                    call.key("index").integer(index);
                    fill(call);
                });
            });
        })
    }

    fn delta(&mut self, choice: u32, fill: impl FnOnce(&mut Writer)) -> Bytes {
        self.chunk(choice, fill, None)
    }

    /// A chunk of one choice; the choice's first tells the role, in a chunk before it.
    fn chunk(&mut self, choice: u32, fill: impl FnOnce(&mut Writer), reason: Option<&StopReason>) -> Bytes {
        let mut writer = Writer::default();
        let first = !self.begun.contains(&choice);
        if first {
            self.begun.push(choice);
            self.write(&mut writer, choice, None, |delta| {
                delta.key("role").string("assistant");
                delta.key("content").string("");
                delta.key("refusal").null();
            });
        }
        let mut filled = false;
        let before = writer.len();
        self.write(&mut writer, choice, reason, |delta| {
            let empty = delta.len();
            fill(delta);
            filled = delta.len() > empty;
        });
        if first && !filled && reason.is_none() {
            writer.truncate(before);
        }
        writer.into_bytes()
    }

    fn write(&self, writer: &mut Writer, choice: u32, reason: Option<&StopReason>, fill: impl FnOnce(&mut Writer)) {
        writer.raw(&self.head);
        writer.object(|writer| {
            writer.key("index").integer(choice);
            writer.key("delta").object(fill);
            writer.key("logprobs").null();
            writer.key("finish_reason").optional_string(reason.map(reason_name));
        });
        writer.raw(match self.usage {
            IncludeUsage::Yes => b"],\"usage\":null}\n\n",
            IncludeUsage::No => b"]}\n\n",
        });
    }

    fn usage(&self, usage: &Usage) -> Bytes {
        if self.usage == IncludeUsage::No {
            return Bytes::new();
        }
        let mut writer = Writer::after(&self.head);
        writer.raw(b"]");
        writer.key("usage");
        write_usage(&mut writer, usage);
        writer.raw(b"}\n\n");
        writer.into_bytes()
    }
}

/// What every chunk of an answer begins with, up to its choices.
fn head(id: &str, model: &str, created: u64) -> Vec<u8> {
    let mut writer = Writer::after(b"data: {");
    writer.key("id").string(id);
    writer.key("object").string("chat.completion.chunk");
    writer.key("created").integer(created);
    writer.key("model").string(model);
    writer.key("choices");
    writer.raw(b"[");
    writer.into_bytes().into()
}

/// The frame that ends a stream.
#[must_use]
pub const fn done_frame() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}

/// The frame that ends a stream which failed. Nothing may follow it.
#[must_use]
pub fn error_frame(body: &ErrorBody<'_>) -> Bytes {
    let mut writer = Writer::after(b"data: ");
    writer.object(|writer| write_error(writer, body));
    writer.raw(b"\n\n");
    writer.into_bytes()
}
