//! The frames of a streamed chat completion, from neutral events.

use std::fmt::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use llm_core::{Citation, Dialect, Error, Reasoning, Signature, StopReason, StreamEvent, Usage};

use super::error::{ErrorBody, describe, write_error};
use super::message::{Shown, is_link, write_citation, write_detail};
use super::request::IncludeUsage;
use super::response::reason_name;
use super::usage::write_usage;
use crate::wire::json::Writer;
use crate::wire::{AnswerOptions, StreamEncoder, Text, seal};

/// Turns neutral events into the frames of a stream.
#[derive(Debug)]
pub struct ChunkEncoder {
    usage: IncludeUsage,
    created: u64,
    shown: Shown,
    from: Dialect,
    /// The answer's name and its model's, where the answer names none or another is to be named.
    id: String,
    model: Option<String>,
    /// All chunks begin with this.
    head: Vec<u8>,
    /// The choices whose role was told, and what each told last.
    begun: Vec<(u32, Told)>,
    /// The calls whose arguments are free text, each with its choice.
    custom: Vec<(u32, u32)>,
}

/// What a choice told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Text,
    /// The thought with this number.
    Thought(usize),
    Call(u32),
}

impl ChunkEncoder {
    /// An encoder at the beginning of a stream. `created` (unix seconds) is used when the answer has no time of
    /// its own.
    #[must_use]
    pub fn new(usage: IncludeUsage, created: u64) -> Self {
        Self {
            usage,
            created,
            shown: Shown::Sealed,
            from: Dialect::OpenAi,
            id: String::new(),
            model: None,
            head: head(Text::plain(""), Text::plain(""), created),
            begun: Vec::new(),
            custom: Vec::new(),
        }
    }

    pub(super) fn with(options: &AnswerOptions<'_>) -> Self {
        let usage = if options.include_usage { IncludeUsage::Yes } else { IncludeUsage::No };
        let from = options.from.unwrap_or(Dialect::OpenAi);
        let mut encoder = Self::new(usage, options.created);
        encoder.shown = Shown::by(options, from);
        encoder.from = from;
        encoder.id = options.id.to_owned();
        encoder.model = options.model.map(str::to_owned);
        encoder
    }

    /// The frames that say `event`: one or more whole SSE events, or none (usage that was not asked for).
    pub fn encode(&mut self, event: &StreamEvent) -> Bytes {
        let mut out = BytesMut::new();
        StreamEncoder::encode(self, event.map(|text| Text::plain(text)), &mut out);
        out.freeze()
    }
}

impl StreamEncoder for ChunkEncoder {
    fn encode(&mut self, event: StreamEvent<Text<'_>>, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { id, model, created } => {
                let id = if id.is_empty() { Text::plain(&self.id) } else { id };
                let model = self.model.as_deref().map_or(model, Text::plain);
                self.head = head(id, model, created.unwrap_or(self.created));
                self.begin(0, out);
            }
            StreamEvent::Text { choice, text } => self.text(choice, "content", text, out),
            StreamEvent::Refusal { choice, text } => self.text(choice, "refusal", text, out),
            StreamEvent::Reasoning { choice, text } if self.shown != Shown::Nothing => {
                self.text(choice, "reasoning_content", text, out);
            }
            StreamEvent::EndOfThought { choice } if self.shown == Shown::Sealed => {
                let told = self.begun.iter_mut().find(|(begun, _)| *begun == choice);
                if let Some((_, Told::Thought(index))) = told {
                    *index += 1;
                }
            }
            StreamEvent::RedactedReasoning { choice, signature } => {
                self.seal(choice, &Reasoning { text: String::new(), redacted: true }, &signature, out);
            }
            StreamEvent::Signature { choice, signature } => self.signature(choice, &signature, out),
            StreamEvent::ToolCall { choice, index, id, name, custom } => {
                let (kind, input) = if custom { ("custom", "input") } else { ("function", "arguments") };
                self.begin(choice, out);
                *self.told(choice) = Told::Call(index);
                self.custom.extend(custom.then_some((choice, index)));
                self.open_call(choice, index, out);
                out.put_slice(b",\"id\":");
                id.write(out);
                let _ = write!(out, ",\"type\":\"{kind}\",\"{kind}\":{{\"name\":");
                name.write(out);
                let _ = write!(out, ",\"{input}\":\"\"}}}}]");
                self.close(None, out);
            }
            StreamEvent::ToolArguments { choice, index, fragment } => {
                self.begin(choice, out);
                let custom = self.custom.contains(&(choice, index));
                *self.told(choice) = Told::Call(index);
                self.open_call(choice, index, out);
                out.put_slice(if custom { &b",\"custom\":{\"input\":"[..] } else { b",\"function\":{\"arguments\":" });
                fragment.write(out);
                out.put_slice(b"}}]");
                self.close(None, out);
            }
            StreamEvent::Citation { choice, citation } => self.citation(choice, &citation, out),
            StreamEvent::Logprobs { choice, logprobs } => {
                self.begin(choice, out);
                out.put_slice(&self.head);
                let _ = write!(out, "{{\"index\":{choice},\"delta\":{{}},\"logprobs\":");
                out.put_slice(logprobs.as_str().as_bytes());
                out.put_slice(b",\"finish_reason\":null}");
                self.end_chunk(out);
            }
            StreamEvent::Stop { choice, reason } => {
                self.begin(choice, out);
                self.open(choice, out);
                self.close(Some(&reason), out);
            }
            StreamEvent::Usage(usage) => self.usage(&usage, out),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        out.put_slice(DONE);
    }

    fn tells_usage_apart(&self) -> bool {
        true
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        let (_, body) = describe(error);
        out.put_slice(&error_frame(&body));
    }
}

impl ChunkEncoder {
    /// Tells the choice's role, in a chunk before its first.
    fn begin(&mut self, choice: u32, out: &mut BytesMut) {
        if self.begun.iter().any(|(begun, _)| *begun == choice) {
            return;
        }
        self.begun.push((choice, Told::Text));
        self.open(choice, out);
        out.put_slice(b"\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
        self.close(None, out);
    }

    /// What the choice told last; it has begun.
    fn told(&mut self, choice: u32) -> &mut Told {
        let place = self.begun.iter().position(|(begun, _)| *begun == choice).unwrap_or_default();
        &mut self.begun[place].1
    }

    fn text(&mut self, choice: u32, member: &str, text: Text<'_>, out: &mut BytesMut) {
        self.begin(choice, out);
        let told = self.told(choice);
        *told = match (member, *told) {
            ("reasoning_content", Told::Thought(index)) => Told::Thought(index),
            ("reasoning_content", _) => Told::Thought(0),
            _ => Told::Text,
        };
        if text.is_empty() {
            return;
        }
        self.open(choice, out);
        out.put_u8(b'"');
        out.put_slice(member.as_bytes());
        out.put_slice(b"\":");
        text.write(out);
        self.close(None, out);
    }

    fn signature(&mut self, choice: u32, signature: &Signature, out: &mut BytesMut) {
        self.begin(choice, out);
        match *self.told(choice) {
            Told::Call(index) if signature.dialect == Dialect::Gemini => {
                let mut member = Writer::default();
                seal::write(&mut member, &signature.value);
                self.open_call(choice, index, out);
                out.put_u8(b',');
                out.put_slice(&member.into_bytes());
                out.put_slice(b"}]");
                self.close(None, out);
            }
            Told::Text | Told::Call(_) => {}
            Told::Thought(_) => self.seal(choice, &Reasoning::default(), signature, out),
        }
    }

    /// Tells the seal of a thought whose text was told.
    fn seal(&mut self, choice: u32, reasoning: &Reasoning, signature: &Signature, out: &mut BytesMut) {
        if self.shown != Shown::Sealed {
            return;
        }
        self.begin(choice, out);
        let index = match *self.told(choice) {
            Told::Thought(index) => index,
            Told::Text | Told::Call(_) => 0,
        };
        *self.told(choice) = Told::Thought(index + 1);
        let mut details = Writer::default();
        details.array(|writer| write_detail(writer, index, reasoning, Some(signature)));
        self.open(choice, out);
        out.put_slice(b"\"reasoning_details\":");
        out.put_slice(&details.into_bytes());
        self.close(None, out);
    }

    fn citation(&mut self, choice: u32, citation: &Citation, out: &mut BytesMut) {
        if !is_link(citation) {
            return;
        }
        self.begin(choice, out);
        let mut list = Writer::default();
        list.array(|writer| write_citation(writer, citation, 0, 0));
        self.open(choice, out);
        out.put_slice(b"\"annotations\":");
        out.put_slice(&list.into_bytes());
        self.close(None, out);
    }

    /// Begins a chunk of one choice, up to the members of its delta.
    fn open(&self, choice: u32, out: &mut BytesMut) {
        out.put_slice(&self.head);
        out.put_slice(b"{\"index\":");
        number(choice, out);
        out.put_slice(b",\"delta\":{");
    }

    /// Begins a chunk of one tool call, up to the members after its index.
    fn open_call(&self, choice: u32, index: u32, out: &mut BytesMut) {
        self.open(choice, out);
        out.put_slice(b"\"tool_calls\":[{\"index\":");
        number(index, out);
    }

    /// Ends what [`open`](Self::open) began.
    fn close(&self, reason: Option<&StopReason>, out: &mut BytesMut) {
        out.put_slice(b"},\"logprobs\":null,\"finish_reason\":");
        match reason {
            Some(reason) => Text::plain(reason_name(reason, self.from)).write(out),
            None => out.put_slice(b"null"),
        }
        out.put_u8(b'}');
        self.end_chunk(out);
    }

    fn end_chunk(&self, out: &mut BytesMut) {
        out.put_slice(match self.usage {
            IncludeUsage::Yes => b"],\"usage\":null}\n\n",
            IncludeUsage::No => b"]}\n\n",
        });
    }

    fn usage(&self, usage: &Usage, out: &mut BytesMut) {
        if self.usage == IncludeUsage::No {
            return;
        }
        let mut writer = Writer::after(&self.head);
        writer.raw(b"]");
        writer.key("usage");
        write_usage(&mut writer, usage);
        writer.raw(b"}\n\n");
        out.put_slice(&writer.into_bytes());
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

/// What every chunk of an answer begins with, up to its choices.
fn head(id: Text<'_>, model: Text<'_>, created: u64) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(128);
    out.put_slice(b"data: {\"id\":");
    id.write(&mut out);
    let _ = write!(out, ",\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":");
    model.write(&mut out);
    out.put_slice(b",\"choices\":[");
    out.to_vec()
}

const DONE: &[u8] = b"data: [DONE]\n\n";

/// The frame that ends a stream.
#[must_use]
pub const fn done_frame() -> Bytes {
    Bytes::from_static(DONE)
}

/// The frame that ends a stream which failed. Nothing may follow it.
#[must_use]
pub fn error_frame(body: &ErrorBody<'_>) -> Bytes {
    let mut writer = Writer::after(b"data: ");
    writer.object(|writer| write_error(writer, body));
    writer.raw(b"\n\n");
    writer.into_bytes()
}
