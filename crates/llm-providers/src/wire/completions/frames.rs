//! The frames of a streamed completion, from neutral events.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use llm_core::{Dialect, Error, Json, StopReason, StreamEvent};

use super::probability;
use super::response::reason_name;
use crate::wire::json::Writer;
use crate::wire::openai::{describe, error_frame, write_usage};
use crate::wire::{AnswerOptions, StreamEncoder, Text};

/// Turns neutral events into the frames of a stream. Thoughts and calls have no place here.
#[derive(Debug)]
pub struct TextEncoder {
    include_usage: bool,
    native: bool,
    id: String,
    model: Option<String>,
    created: u64,
    /// All chunks begin with this.
    head: Vec<u8>,
    /// The characters whose probabilities were told, by choice.
    offsets: Vec<(u32, usize)>,
}

impl TextEncoder {
    /// An encoder at the beginning of a stream.
    #[must_use]
    pub fn new(options: &AnswerOptions<'_>) -> Self {
        let mut encoder = Self {
            include_usage: options.include_usage,
            native: options.from.is_none_or(|from| from == Dialect::OpenAiCompletions),
            id: options.id.to_owned(),
            model: options.model.map(str::to_owned),
            created: options.created,
            head: Vec::new(),
            offsets: Vec::new(),
        };
        encoder.start(Text::plain(""), Text::plain(""), None);
        encoder
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>, created: Option<u64>) {
        let mut head = BytesMut::with_capacity(128);
        head.put_slice(b"data: {\"id\":");
        if id.is_empty() { Text::plain(&self.id) } else { id }.write(&mut head);
        let created = created.unwrap_or(self.created);
        let _ = write!(head, ",\"object\":\"text_completion\",\"created\":{created},\"model\":");
        self.model.as_deref().map_or(model, Text::plain).write(&mut head);
        head.put_slice(b",\"choices\":[");
        self.head = head.to_vec();
    }

    fn chunk(
        &self,
        choice: u32,
        text: Text<'_>,
        logprobs: Option<&[u8]>,
        reason: Option<&StopReason>,
        out: &mut BytesMut,
    ) {
        out.put_slice(&self.head);
        out.put_slice(b"{\"text\":");
        text.write(out);
        let _ = write!(out, ",\"index\":{choice},\"logprobs\":");
        out.put_slice(logprobs.unwrap_or(b"null"));
        out.put_slice(b",\"finish_reason\":");
        match reason {
            Some(reason) => Text::plain(reason_name(reason, self.native)).write(out),
            None => out.put_slice(b"null"),
        }
        out.put_slice(if self.include_usage { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" });
    }

    fn logprobs(&mut self, choice: u32, logprobs: &Json, out: &mut BytesMut) {
        let known = self.offsets.iter().position(|(known, _)| *known == choice);
        let place = known.unwrap_or_else(|| {
            self.offsets.push((choice, 0));
            self.offsets.len() - 1
        });
        let mut writer = Writer::default();
        self.offsets[place].1 += probability::write(&mut writer, logprobs, self.offsets[place].1);
        self.chunk(choice, Text::plain(""), Some(&writer.into_bytes()), None, out);
    }
}

impl StreamEncoder for TextEncoder {
    fn encode(&mut self, event: StreamEvent<Text<'_>>, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { id, model, created } => self.start(id, model, created),
            StreamEvent::Text { choice, text } | StreamEvent::Refusal { choice, text } => {
                self.chunk(choice, text, None, None, out);
            }
            StreamEvent::Logprobs { choice, logprobs } => self.logprobs(choice, &logprobs, out),
            StreamEvent::Stop { choice, reason } => self.chunk(choice, Text::plain(""), None, Some(&reason), out),
            StreamEvent::Usage(usage) if self.include_usage => {
                let mut writer = Writer::after(&self.head);
                writer.raw(b"]");
                writer.key("usage");
                write_usage(&mut writer, &usage);
                writer.raw(b"}\n\n");
                out.put_slice(&writer.into_bytes());
            }
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn tells_usage_apart(&self) -> bool {
        true
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        let (_, body) = describe(error);
        out.put_slice(&error_frame(&body));
    }
}
