//! The frames of a streamed answer, from neutral events.

use bytes::{BufMut, Bytes, BytesMut};
use llm_core::{Dialect, Error, Signature, StopReason, StreamEvent, Usage};

use super::error::write_error;
use super::part::{object_text, write_call, write_seal};
use super::probability;
use super::response::{MALFORMED, malformed_message, reason_name, shows_thoughts, write_citation};
use super::usage::write_usage;
use crate::wire::arguments::Progress;
use crate::wire::json::Writer;
use crate::wire::{AnswerOptions, StreamEncoder, Text};

/// Turns neutral events into the frames of a stream, as server-sent events or as one JSON array.
///
/// A call is told whole: the pieces of its arguments wait for the last. The reasons wait for the usage, which stands beside
/// them in the last chunk.
#[derive(Debug)]
pub struct PartEncoder {
    native: bool,
    thoughts: bool,
    array: bool,
    /// The answer's name and its model's, where the answer names none or another is to be named.
    id: String,
    model: Option<String>,
    /// What every chunk ends with.
    tail: Bytes,
    /// Whether an item of the array was written.
    begun: bool,
    /// The choices of which anything was told.
    choices: Vec<u32>,
    /// The calls that are not told yet, in order.
    calls: Vec<Call>,
    /// The choices whose last part is a thought.
    thinking: Vec<u32>,
    /// The choices that have ended, and a call that cannot be told of each.
    stops: Vec<(u32, StopReason, Option<String>)>,
    /// Whether the chunk that ends the answer was written.
    ended: bool,
}

/// A call in the making.
#[derive(Debug)]
struct Call {
    choice: u32,
    index: u32,
    id: String,
    name: String,
    custom: bool,
    seal: Option<Signature>,
    arguments: String,
    progress: Progress,
}

impl PartEncoder {
    /// An encoder at the beginning of a stream.
    #[must_use]
    pub fn new(options: &AnswerOptions<'_>) -> Self {
        let native = options.from == Some(Dialect::Gemini);
        Self {
            native,
            thoughts: shows_thoughts(options, native),
            array: options.array,
            id: options.id.to_owned(),
            model: options.model.map(str::to_owned),
            tail: tail(Text::plain(options.model.unwrap_or_default()), Text::plain(options.id)),
            begun: false,
            choices: Vec::new(),
            calls: Vec::new(),
            thinking: Vec::new(),
            stops: Vec::new(),
            ended: false,
        }
    }

    /// Begins a frame.
    fn open(&mut self, out: &mut BytesMut) {
        out.put_slice(match (self.array, self.begun) {
            (false, _) => b"data: ",
            (true, false) => b"[",
            (true, true) => b"\n,\n",
        });
        self.begun = true;
    }

    /// Ends a frame.
    fn close(&self, out: &mut BytesMut) {
        if !self.array {
            out.put_slice(b"\r\n\r\n");
        }
    }

    /// Writes a chunk of one candidate whose members after the index `fill` writes.
    fn chunk(&mut self, choice: u32, out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
        self.tell_of(choice);
        self.open(out);
        out.put_slice(b"{\"candidates\":[{\"index\":");
        number(choice, out);
        fill(out);
        out.put_slice(b"}]");
        out.put_slice(&self.tail);
        self.close(out);
    }

    fn tell_of(&mut self, choice: u32) {
        if !self.choices.contains(&choice) {
            self.choices.push(choice);
        }
    }

    /// Writes a chunk of one part, whose members `fill` writes.
    fn part(&mut self, choice: u32, out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
        self.chunk(choice, out, |out| {
            out.put_slice(b",\"content\":{\"role\":\"model\",\"parts\":[{");
            fill(out);
            out.put_slice(b"}]}");
        });
    }

    fn text(&mut self, choice: u32, text: Text<'_>, thought: bool, out: &mut BytesMut) {
        self.tell_calls(choice, false, out);
        self.thinking.retain(|thinking| *thinking != choice);
        if thought {
            self.thinking.push(choice);
        }
        if !text.is_empty() {
            self.part(choice, out, |out| {
                out.put_slice(b"\"text\":");
                text.write(out);
                out.put_slice(if thought { b",\"thought\":true" } else { b"" });
            });
        }
    }

    /// Tells a seal: in the call that it is of, or after the part in one of nothing else.
    fn seal(&mut self, choice: u32, signature: Signature, out: &mut BytesMut) {
        if signature.dialect != Dialect::Gemini {
            return;
        }
        if let Some(call) = self.calls.iter_mut().rfind(|call| call.choice == choice) {
            call.seal = Some(signature);
            return;
        }
        let thought = self.thinking.contains(&choice);
        if thought && !self.thoughts {
            return;
        }
        self.part(choice, out, |out| {
            out.put_slice(if thought { &b"\"text\":\"\",\"thought\":true"[..] } else { b"\"text\":\"\"" });
            let mut seal = Writer::default();
            write_seal(&mut seal, Some(&signature));
            out.put_u8(b',');
            out.put_slice(&seal.into_bytes());
        });
    }

    /// Tells the calls of `choice` whose arguments have come to their end, up to one that has not; all of them if nothing
    /// more will come. The name of one that has no arguments that could be told.
    fn tell_calls(&mut self, choice: u32, all: bool, out: &mut BytesMut) -> Option<String> {
        let mut malformed = None;
        while let Some(place) = self.calls.iter().position(|call| call.choice == choice) {
            let call = &self.calls[place];
            if !all && (call.custom || !call.progress.is_whole()) {
                break;
            }
            let call = self.calls.remove(place);
            if !self.tell_call(&call, out) {
                malformed = malformed.or(Some(call.name));
            }
        }
        malformed
    }

    fn tell_call(&mut self, call: &Call, out: &mut BytesMut) -> bool {
        let mut body = Writer::default();
        if call.custom {
            let mut input = Writer::default();
            input.object(|input| input.key("input").string(&call.arguments));
            let input = String::from_utf8_lossy(&input.into_bytes()).into_owned();
            write_call(&mut body, Some(&call.id), &call.name, &input);
        } else {
            let Some(args) = object_text(&call.arguments) else { return false };
            write_call(&mut body, Some(&call.id), &call.name, args);
        }
        write_seal(&mut body, call.seal.as_ref());
        body.unbreak();
        self.part(call.choice, out, |out| out.put_slice(&body.into_bytes()));
        true
    }

    /// Writes the chunk that ends the answer.
    fn end(&mut self, usage: Option<&Usage>, out: &mut BytesMut) {
        if self.ended {
            return;
        }
        self.ended = true;
        // Some upstreams give no reason. Clients take a stream that gives none for one that broke off.
        if self.choices.is_empty() && self.stops.is_empty() {
            self.choices.push(0);
        }
        for choice in std::mem::take(&mut self.choices) {
            if !self.stops.iter().any(|(stopped, ..)| *stopped == choice) {
                let malformed = self.tell_calls(choice, true, out);
                self.stops.push((choice, StopReason::Stop, malformed));
            }
        }
        let stops = std::mem::take(&mut self.stops);
        let mut writer = Writer::default();
        writer.object(|writer| {
            writer.key("candidates").array(|writer| {
                stops.iter().for_each(|stop| write_stop(writer, stop, self.native));
            });
            if let Some(usage) = usage {
                writer.key("usageMetadata");
                write_usage(writer, usage);
            }
        });
        let chunk = writer.into_bytes();
        self.open(out);
        out.put_slice(&chunk[..chunk.len() - 1]);
        out.put_slice(&self.tail);
        self.close(out);
    }
}

impl StreamEncoder for PartEncoder {
    fn encode(&mut self, event: StreamEvent<Text<'_>>, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { id, model, .. } => {
                let id = if id.is_empty() { Text::plain(&self.id) } else { id };
                self.tail = tail(self.model.as_deref().map_or(model, Text::plain), id);
            }
            StreamEvent::Text { choice, text } | StreamEvent::Refusal { choice, text } => {
                self.text(choice, text, false, out);
            }
            StreamEvent::Reasoning { choice, text } => {
                self.text(choice, if self.thoughts { text } else { Text::plain("") }, true, out);
            }
            StreamEvent::Signature { choice, signature } => self.seal(choice, signature, out),
            StreamEvent::ToolCall { choice, index, id, name, custom } => {
                self.tell_calls(choice, false, out);
                self.tell_of(choice);
                self.calls.push(Call {
                    choice,
                    index,
                    id: id.into_string(),
                    name: name.into_string(),
                    custom,
                    seal: None,
                    arguments: String::new(),
                    progress: Progress::default(),
                });
            }
            StreamEvent::ToolArguments { choice, index, fragment } => {
                let waiting = |call: &&mut Call| call.choice == choice && call.index == index;
                if let Some(call) = self.calls.iter_mut().find(waiting) {
                    call.progress.read(fragment);
                    call.arguments.push_str(&fragment.decode());
                }
            }
            StreamEvent::Citation { choice, citation } if citation.url.is_some() => {
                let mut writer = Writer::default();
                write_citation(&mut writer, &citation, None);
                self.chunk(choice, out, |out| {
                    out.put_slice(b",\"citationMetadata\":{\"citationSources\":[");
                    out.put_slice(&writer.into_bytes());
                    out.put_slice(b"]}");
                });
            }
            StreamEvent::Logprobs { choice, logprobs } => {
                let mut writer = Writer::default();
                probability::write(&mut writer, &logprobs);
                self.chunk(choice, out, |out| {
                    out.put_slice(b",\"logprobsResult\":");
                    out.put_slice(&writer.into_bytes());
                });
            }
            StreamEvent::Stop { choice, reason } => {
                let malformed = self.tell_calls(choice, true, out);
                self.stops.push((choice, reason, malformed));
            }
            StreamEvent::Usage(usage) => self.end(Some(&usage), out),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.end(None, out);
        if self.array {
            out.put_slice(if self.begun { b"]" } else { b"[]" });
        }
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        let mut writer = Writer::default();
        writer.object(|writer| {
            write_error(writer, error);
        });
        self.open(out);
        out.put_slice(&writer.into_bytes());
        self.close(out);
        if self.array {
            out.put_u8(b']');
        }
    }
}

fn write_stop(writer: &mut Writer, (choice, reason, malformed): &(u32, StopReason, Option<String>), native: bool) {
    writer.object(|writer| {
        writer.key("index").integer(choice);
        match malformed {
            None => writer.key("finishReason").string(reason_name(reason, native)),
            Some(name) => {
                writer.key("finishReason").string(MALFORMED);
                writer.key("finishMessage").string(&malformed_message(name));
            }
        }
    });
}

/// What every chunk of an answer ends with, after its candidates.
fn tail(model: Text<'_>, id: Text<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_slice(b",\"modelVersion\":");
    model.write(&mut out);
    out.put_slice(b",\"responseId\":");
    id.write(&mut out);
    out.put_u8(b'}');
    out.freeze()
}

fn number(number: u32, out: &mut BytesMut) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.put_u8(b'0' + digit),
        _ => out.put_slice(number.to_string().as_bytes()),
    }
}
