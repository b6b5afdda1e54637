//! The frames of a streamed answer, from neutral events.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use llm_core::{Citation, Dialect, Error, ErrorKind, Signature, StopReason, StreamEvent, Usage};

use super::block::native_citation;
use super::error::write_error;
use super::response::{Told, write_stop};
use super::usage::write_usage;
use crate::wire::arguments::Progress;
use crate::wire::json::Writer;
use crate::wire::{AnswerOptions, StreamEncoder, Text, seal};

/// Turns neutral events into the frames of a stream.
///
/// Blocks do not overlap here. Calls whose arguments arrive side by side are told one after the other: the pieces of
/// the later ones wait until those of the earlier are whole.
#[derive(Debug)]
pub struct EventEncoder {
    native: bool,
    id: String,
    model: Option<String>,
    started: bool,
    /// The next block's place.
    next: u32,
    open: Open,
    /// The calls in their order, from the one that is told now.
    calls: Vec<Call>,
    told: Told,
    stop: Option<StopReason>,
    usage: Option<Usage>,
    /// What went wrong without the upstream's saying so: told in place of an end.
    broken: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    None,
    Text,
    Thought,
    Call,
}

/// A call that is told, or waits for it.
#[derive(Debug)]
struct Call {
    index: u32,
    id: String,
    name: String,
    seal: Option<String>,
    progress: Progress,
    /// The pieces of its arguments that wait.
    held: String,
    /// Whether its block has begun.
    begun: bool,
}

impl EventEncoder {
    /// An encoder at the beginning of a stream.
    #[must_use]
    pub fn new(options: &AnswerOptions<'_>) -> Self {
        Self {
            native: options.from == Some(Dialect::Anthropic),
            id: options.id.to_owned(),
            model: options.model.map(str::to_owned),
            started: false,
            next: 0,
            open: Open::None,
            calls: Vec::new(),
            told: Told::default(),
            stop: None,
            usage: None,
            broken: None,
        }
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>, out: &mut BytesMut) {
        self.started = true;
        out.put_slice(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":");
        if id.is_empty() { Text::plain(&self.id) } else { id }.write(out);
        out.put_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
        self.model.as_deref().map_or(model, Text::plain).write(out);
        out.put_slice(
            b",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\
              \"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}\n\n",
        );
    }

    /// Begins a block unless one of its kind is open.
    fn turn_to(&mut self, open: Open, beginning: &[u8], out: &mut BytesMut) {
        if self.open == open {
            return;
        }
        self.end_calls(out);
        self.close(out);
        self.begin(out);
        out.put_slice(beginning);
        out.put_slice(b"}\n\n");
        self.open = open;
    }

    /// Writes the beginning of a frame that begins a block.
    fn begin(&mut self, out: &mut BytesMut) {
        out.put_slice(b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
        number(self.next, out);
        out.put_slice(b",\"content_block\":");
    }

    /// Writes a delta of the block that is open.
    fn delta(&self, beginning: &[u8], text: Text<'_>, out: &mut BytesMut) {
        out.put_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        number(self.next, out);
        out.put_slice(b",\"delta\":{");
        out.put_slice(beginning);
        text.write(out);
        out.put_slice(b"}}\n\n");
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open == Open::None {
            return;
        }
        out.put_slice(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        number(self.next, out);
        out.put_slice(b"}\n\n");
        self.open = Open::None;
        self.next += 1;
    }

    fn redacted(&mut self, signature: &Signature, out: &mut BytesMut) {
        if signature.dialect != Dialect::Anthropic {
            // It is left out, and what follows is another thought all the same.
            if self.open == Open::Thought {
                self.close(out);
            }
            return;
        }
        self.end_calls(out);
        self.close(out);
        self.begin(out);
        out.put_slice(b"{\"type\":\"redacted_thinking\",\"data\":");
        Text::plain(&signature.value).write(out);
        out.put_slice(b"}}\n\n");
        self.open = Open::Thought;
        self.close(out);
    }

    fn signature(&mut self, signature: &Signature, out: &mut BytesMut) {
        let own = signature.dialect == Dialect::Anthropic;
        match self.calls.last_mut() {
            // Only in the beginning of a block there is place for it.
            Some(call) if signature.dialect == Dialect::Gemini && !call.begun => {
                call.seal = Some(signature.value.clone());
            }
            _ if self.open == Open::Thought => {
                if own {
                    self.delta(SIGNATURE, Text::plain(&signature.value), out);
                }
                self.close(out);
            }
            // A thought of which nothing is shown.
            _ if own => {
                self.turn_to(Open::Thought, THOUGHT, out);
                self.delta(SIGNATURE, Text::plain(&signature.value), out);
                self.close(out);
            }
            _ => {}
        }
    }

    fn call(&mut self, index: u32, id: Text<'_>, name: Text<'_>, out: &mut BytesMut) {
        self.told.called = true;
        // A call that is whole makes place for the next.
        self.advance(out);
        if self.calls.is_empty() {
            self.close(out);
        }
        self.calls.push(Call {
            index,
            id: id.into_string(),
            name: name.into_string(),
            seal: None,
            progress: Progress::default(),
            held: String::new(),
            begun: false,
        });
    }

    fn arguments(&mut self, index: u32, fragment: Text<'_>, out: &mut BytesMut) {
        let Some(place) = self.calls.iter().position(|call| call.index == index) else {
            if !fragment.decode().trim().is_empty() {
                self.broken = Some("the provider went on with a tool call that was over");
            }
            return;
        };
        self.calls[place].progress.read(fragment);
        if place == 0 {
            self.open_call(out);
            self.delta(ARGUMENTS, fragment, out);
        } else {
            self.calls[place].held.push_str(&fragment.decode());
        }
        if self.calls.len() > 1 {
            self.advance(out);
        }
    }

    /// Begins the block of the first call, and tells what waits of it.
    fn open_call(&mut self, out: &mut BytesMut) {
        if self.calls.first().is_none_or(|call| call.begun) {
            return;
        }
        self.begin(out);
        self.open = Open::Call;
        let call = &mut self.calls[0];
        call.begun = true;
        out.put_slice(b"{\"type\":\"tool_use\",\"id\":");
        Text::plain(&call.id).write(out);
        out.put_slice(b",\"name\":");
        Text::plain(&call.name).write(out);
        out.put_slice(b",\"input\":{}");
        if let Some(seal) = &call.seal {
            let mut member = Writer::default();
            seal::write(&mut member, seal);
            out.put_u8(b',');
            out.put_slice(&member.into_bytes());
        }
        out.put_slice(b"}}\n\n");
        let held = std::mem::take(&mut call.held);
        if !held.is_empty() {
            self.delta(ARGUMENTS, Text::plain(&held), out);
        }
    }

    /// Closes the first call while it is whole and others wait.
    fn advance(&mut self, out: &mut BytesMut) {
        while self.calls.first().is_some_and(|call| call.progress.is_whole()) {
            self.open_call(out);
            self.close(out);
            self.calls.remove(0);
        }
        if self.calls.first().is_some_and(|call| !call.held.is_empty()) {
            self.open_call(out);
        }
    }

    /// Tells all calls to their ends.
    fn end_calls(&mut self, out: &mut BytesMut) {
        while !self.calls.is_empty() {
            self.open_call(out);
            self.close(out);
            self.calls.remove(0);
        }
    }

    fn citation(&mut self, citation: &Citation, out: &mut BytesMut) {
        if let Some(native) = native_citation(citation).filter(|_| self.open == Open::Text) {
            out.put_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
            number(self.next, out);
            out.put_slice(b",\"delta\":{\"type\":\"citations_delta\",\"citation\":");
            out.put_slice(native.as_str().as_bytes());
            out.put_slice(b"}}\n\n");
        }
    }
}

const TEXT: &[u8] = b"{\"type\":\"text\",\"text\":\"\"}";
const THOUGHT: &[u8] = b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}";
const TEXT_DELTA: &[u8] = b"\"type\":\"text_delta\",\"text\":";
const THOUGHT_DELTA: &[u8] = b"\"type\":\"thinking_delta\",\"thinking\":";
const SIGNATURE: &[u8] = b"\"type\":\"signature_delta\",\"signature\":";
const ARGUMENTS: &[u8] = b"\"type\":\"input_json_delta\",\"partial_json\":";

impl StreamEncoder for EventEncoder {
    fn encode(&mut self, event: StreamEvent<Text<'_>>, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { id, model, .. } if !self.started => self.start(id, model, out),
            StreamEvent::Text { choice: 0, text } => {
                self.turn_to(Open::Text, TEXT, out);
                self.delta(TEXT_DELTA, text, out);
            }
            StreamEvent::Refusal { choice: 0, text } => {
                self.told.refused = true;
                self.turn_to(Open::Text, TEXT, out);
                self.delta(TEXT_DELTA, text, out);
            }
            StreamEvent::Reasoning { choice: 0, text } => {
                self.turn_to(Open::Thought, THOUGHT, out);
                if !text.is_empty() {
                    self.delta(THOUGHT_DELTA, text, out);
                }
            }
            StreamEvent::EndOfThought { choice: 0 } if self.open == Open::Thought => self.close(out),
            StreamEvent::RedactedReasoning { choice: 0, signature } => self.redacted(&signature, out),
            StreamEvent::Signature { choice: 0, signature } => self.signature(&signature, out),
            StreamEvent::ToolCall { choice: 0, index, id, name, .. } => self.call(index, id, name, out),
            StreamEvent::ToolArguments { choice: 0, index, fragment } => self.arguments(index, fragment, out),
            StreamEvent::Citation { choice: 0, citation } => self.citation(&citation, out),
            StreamEvent::Stop { choice: 0, reason } => self.stop = Some(reason),
            StreamEvent::Usage(usage) => self.usage = Some(usage),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        if let Some(broken) = self.broken {
            return self.fail(&Error::new(ErrorKind::BadAnswer, broken), out);
        }
        if !self.started {
            self.start(Text::plain(""), Text::plain(""), out);
        }
        self.end_calls(out);
        self.close(out);
        let mut writer = Writer::after(b"event: message_delta\ndata: ");
        writer.object(|writer| {
            writer.key("type").string("message_delta");
            writer.key("delta").object(|writer| {
                let reason = self.stop.as_ref().unwrap_or(&StopReason::Stop);
                write_stop(writer, Some(reason), self.told, self.native);
            });
            writer.key("usage");
            write_usage(writer, self.usage.as_ref());
        });
        out.put_slice(&writer.into_bytes());
        out.put_slice(b"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        let mut writer = Writer::after(b"event: error\ndata: ");
        write_error(&mut writer, error, None);
        out.put_slice(&writer.into_bytes());
        out.put_slice(b"\n\n");
    }
}

fn number(number: u32, out: &mut BytesMut) {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.put_u8(b'0' + digit),
        _ => {
            let _ = write!(out, "{number}");
        }
    }
}
