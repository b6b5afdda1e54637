//! The messages of a streamed answer, from neutral events.

use bytes::{BufMut, BytesMut};
use llm_core::{Error, StopReason, StreamEvent, Usage};

use super::error::row;
use super::event_stream::{Kind, write};
use super::response::reason_name;
use super::usage::write_usage;
use crate::wire::json::Writer;
use crate::wire::{StreamEncoder, Text};

/// Turns neutral events into the messages of a stream. Calls come one after the other, as they are told.
#[derive(Debug, Default)]
pub struct ConverseEncoder {
    /// The place of the block that is open, or of the next one.
    at: u32,
    open: Option<Open>,
    called: bool,
    stop: Option<StopReason>,
    usage: Option<Usage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
    Call,
}

impl ConverseEncoder {
    /// An encoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            self.block("contentBlockStop", |_| {}, out);
            self.at += 1;
        }
    }

    fn turn_to(&mut self, open: Open, out: &mut BytesMut) {
        if self.open != Some(open) {
            self.close(out);
            self.open = Some(open);
        }
    }

    /// Writes a message about the block that is open.
    fn block(&self, name: &str, fill: impl FnOnce(&mut BytesMut), out: &mut BytesMut) {
        let mut payload = BytesMut::from("{\"contentBlockIndex\":");
        payload.put_slice(self.at.to_string().as_bytes());
        fill(&mut payload);
        payload.put_u8(b'}');
        write(Kind::Event, name, &payload, out);
    }

    /// Writes a piece of the block that is open: `text` between two halves of JSON.
    fn delta(&self, before: &str, text: Text<'_>, after: &str, out: &mut BytesMut) {
        let fill = |payload: &mut BytesMut| {
            payload.put_slice(b",\"delta\":{");
            payload.put_slice(before.as_bytes());
            text.write(payload);
            payload.put_slice(after.as_bytes());
        };
        self.block("contentBlockDelta", fill, out);
    }
}

impl StreamEncoder for ConverseEncoder {
    fn encode(&mut self, event: StreamEvent<Text<'_>>, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { .. } => write(Kind::Event, "messageStart", br#"{"role":"assistant"}"#, out),
            StreamEvent::Text { choice: 0, text } | StreamEvent::Refusal { choice: 0, text } if !text.is_empty() => {
                self.turn_to(Open::Text, out);
                self.delta("\"text\":", text, "}", out);
            }
            StreamEvent::Reasoning { choice: 0, text } => {
                self.turn_to(Open::Thought, out);
                self.delta("\"reasoningContent\":{\"text\":", text, "}}", out);
            }
            StreamEvent::EndOfThought { choice: 0 } if self.open == Some(Open::Thought) => self.close(out),
            StreamEvent::RedactedReasoning { choice: 0, signature } => {
                self.close(out);
                self.open = Some(Open::Thought);
                self.delta("\"reasoningContent\":{\"redactedContent\":", Text::plain(&signature.value), "}}", out);
                self.close(out);
            }
            StreamEvent::Signature { choice: 0, signature } if self.open == Some(Open::Thought) => {
                self.delta("\"reasoningContent\":{\"signature\":", Text::plain(&signature.value), "}}", out);
                self.close(out);
            }
            StreamEvent::ToolCall { choice: 0, id, name, .. } => {
                self.close(out);
                (self.open, self.called) = (Some(Open::Call), true);
                let fill = |payload: &mut BytesMut| {
                    payload.put_slice(b",\"start\":{\"toolUse\":{\"toolUseId\":");
                    id.write(payload);
                    payload.put_slice(b",\"name\":");
                    name.write(payload);
                    payload.put_slice(b"}}");
                };
                self.block("contentBlockStart", fill, out);
            }
            StreamEvent::ToolArguments { choice: 0, fragment, .. } if self.open == Some(Open::Call) => {
                self.delta("\"toolUse\":{\"input\":", fragment, "}}", out);
            }
            StreamEvent::Stop { choice: 0, reason } => self.stop = Some(reason),
            StreamEvent::Usage(usage) => self.usage = Some(usage),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.close(out);
        let mut stop = Writer::default();
        let reason = reason_name(self.stop.as_ref(), self.called);
        stop.object(|writer| writer.key("stopReason").string(reason));
        write(Kind::Event, "messageStop", &stop.into_bytes(), out);
        let mut metadata = Writer::default();
        metadata.object(|writer| self.usage.iter().for_each(|usage| write_usage(writer, usage)));
        write(Kind::Event, "metadata", &metadata.into_bytes(), out);
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        let (_, name) = row(error.kind());
        // Within a stream the names begin with small letters.
        let name = name[..1].to_ascii_lowercase() + &name[1..];
        let mut payload = Writer::default();
        payload.object(|writer| writer.key("message").string(error.message()));
        write(Kind::Exception, &name, &payload.into_bytes(), out);
    }
}
