//! The frames of a streamed response, from neutral events.

use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use llm_core::{Citation, Dialect, Error, Json, Signature, StopReason, StreamEvent, Usage};

use super::echo::write_echo;
use super::part::{is_known, write_citation};
use super::response::{answer_id, item_id, status};
use super::seal::{self, Of};
use super::usage::write_usage;
use crate::wire::json::{Raw, Writer};
use crate::wire::openai::describe;
use crate::wire::{AnswerOptions, StreamEncoder, Text, seal as google};

/// Turns neutral events into the frames of a stream. What was told is kept until the end, since the last frame tells all
/// of it again.
#[derive(Debug)]
pub struct ItemEncoder {
    id: String,
    model: Option<String>,
    created: u64,
    /// The members that repeat the request, each after a comma.
    echo: String,
    /// The members of the answer that stay the same, up to its status.
    head: (String, String),
    started: bool,
    sequence: u64,
    items: Vec<Item>,
    stop: Option<StopReason>,
    usage: Option<Usage>,
}

/// An item: while it is open, its text as it stands between the quotes of a JSON string; once it is over, its JSON.
#[derive(Debug)]
struct Item {
    kind: Kind,
    id: String,
    /// The call's place and what was told of it at first.
    call: Option<(u32, String)>,
    seal: Option<Signature>,
    /// Of a thought: the parts that are over, as JSON.
    parts: Vec<BytesMut>,
    annotations: Vec<String>,
    text: BytesMut,
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Refusal,
    Thought,
    Redacted,
    Call,
    Custom,
}

impl ItemEncoder {
    /// An encoder at the beginning of a stream.
    #[must_use]
    pub fn new(options: &AnswerOptions<'_>) -> Self {
        let mut echo = Writer::default();
        echo.object(|writer| write_echo(writer, options.request));
        let echo = String::from_utf8_lossy(&echo.into_bytes()).into_owned();
        Self {
            id: options.id.to_owned(),
            model: options.model.map(str::to_owned),
            created: options.created,
            echo: echo[1..echo.len() - 1].to_owned(),
            head: Default::default(),
            started: false,
            sequence: 0,
            items: Vec::new(),
            stop: None,
            usage: None,
        }
    }

    fn start(&mut self, id: Text<'_>, model: Text<'_>, created: Option<u64>, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.id = answer_id(&id.decode(), &self.id);
        let mut head = BytesMut::new();
        head.put_slice(b"{\"id\":");
        Text::plain(&self.id).write(&mut head);
        let _ =
            write!(head, ",\"object\":\"response\",\"created_at\":{},\"status\":\"", created.unwrap_or(self.created));
        let mut name = BytesMut::new();
        self.model.as_deref().map_or(model, Text::plain).write(&mut name);
        let text = |bytes: BytesMut| String::from_utf8_lossy(&bytes).into_owned();
        self.head = (text(head), text(name));
        for event in ["response.created", "response.in_progress"] {
            self.open(event, out);
            out.put_slice(b",\"response\":");
            self.response("in_progress", None, out);
            out.put_slice(b"}\n\n");
        }
    }

    /// Writes the answer as far as it is told.
    fn response(&self, status: &str, why: Option<&str>, out: &mut BytesMut) {
        let (head, model) = &self.head;
        let _ = write!(out, "{head}{status}\",\"error\":null,\"incomplete_details\":");
        match why {
            Some(why) => {
                let _ = write!(out, "{{\"reason\":\"{why}\"}}");
            }
            None => out.put_slice(b"null"),
        }
        let _ = write!(out, ",\"model\":{model},\"output\":[");
        for (at, item) in self.items.iter().filter(|item| item.over).enumerate() {
            if at > 0 {
                out.put_u8(b',');
            }
            out.put_slice(&item.text);
        }
        let _ = write!(out, "],{},\"usage\":", self.echo);
        match &self.usage {
            Some(usage) => {
                let mut writer = Writer::default();
                write_usage(&mut writer, usage);
                out.put_slice(&writer.into_bytes());
            }
            None => out.put_slice(b"null"),
        }
        out.put_u8(b'}');
    }

    /// Begins a frame, up to the members after its number.
    fn open(&mut self, event: &str, out: &mut BytesMut) {
        let _ = write!(out, "event: {event}\ndata: {{\"type\":\"{event}\",\"sequence_number\":{}", self.sequence);
        self.sequence += 1;
    }

    /// Begins a frame about the item `at`.
    fn open_of(&mut self, event: &str, at: usize, out: &mut BytesMut) {
        self.open(event, out);
        out.put_slice(b",\"item_id\":");
        Text::plain(&self.items[at].id).write(out);
        let _ = write!(out, ",\"output_index\":{at}");
        match self.items[at].kind {
            Kind::Text | Kind::Refusal => out.put_slice(b",\"content_index\":0"),
            Kind::Thought => {
                let _ = write!(out, ",\"summary_index\":{}", self.items[at].parts.len());
            }
            Kind::Redacted | Kind::Call | Kind::Custom => {}
        }
    }

    /// The open item that is of `kind` and no call; begun if there is none.
    fn turn_to(&mut self, kind: Kind, out: &mut BytesMut) -> usize {
        match self.items.last() {
            Some(item) if item.kind == kind && !item.over => return self.items.len() - 1,
            _ => self.close_said(out),
        }
        self.begin(kind, None, out)
    }

    fn begin(&mut self, kind: Kind, call: Option<(u32, String)>, out: &mut BytesMut) -> usize {
        let at = self.items.len();
        let prefix = match kind {
            Kind::Text | Kind::Refusal => "msg",
            Kind::Thought | Kind::Redacted => "rs",
            Kind::Call | Kind::Custom => "fc",
        };
        let id = item_id(prefix, &self.id, at);
        let (seal, parts, annotations, text) = Default::default();
        self.items.push(Item { kind, id, call, seal, parts, annotations, text, over: false });
        self.open("response.output_item.added", out);
        let _ = write!(out, ",\"output_index\":{at},\"item\":");
        self.items[at].write("in_progress", true, out);
        out.put_slice(b"}\n\n");
        self.part(at, "added", out);
        at
    }

    /// Tells that the part of the item `at` was `added`, or is `done`, if the item has such.
    fn part(&mut self, at: usize, step: &str, out: &mut BytesMut) {
        let part = match self.items[at].kind {
            Kind::Text | Kind::Refusal => "response.content_part",
            Kind::Thought => "response.reasoning_summary_part",
            Kind::Redacted | Kind::Call | Kind::Custom => return,
        };
        self.open_of(&format!("{part}.{step}"), at, out);
        out.put_slice(b",\"part\":");
        self.items[at].write_part(out);
        out.put_slice(b"}\n\n");
    }

    /// Begins another part of the thought that is open.
    fn turn_thought(&mut self, out: &mut BytesMut) {
        let Some(at) = self.items.len().checked_sub(1) else { return };
        let Item { kind, text, over, .. } = &self.items[at];
        if *kind != Kind::Thought || text.is_empty() || *over {
            return;
        }
        self.close_part(at, out);
        let mut part = BytesMut::new();
        self.items[at].write_part(&mut part);
        self.items[at].parts.push(part);
        self.items[at].text.clear();
        self.part(at, "added", out);
    }

    fn piece(&mut self, at: usize, text: Text<'_>, logprobs: Option<&Json>, out: &mut BytesMut) {
        let kind = self.items[at].kind;
        self.open_of(kind.delta(), at, out);
        out.put_slice(b",\"delta\":");
        let from = out.len();
        text.write(out);
        self.items[at].text.extend_from_slice(&out[from + 1..out.len() - 1]);
        if kind == Kind::Text {
            out.put_slice(b",\"logprobs\":[");
            let raw = logprobs.and_then(|logprobs| Raw::parse(logprobs.as_str().as_bytes()).ok());
            let tokens = raw.and_then(|raw| raw.member("content")).into_iter().flat_map(Raw::items);
            for (place, token) in tokens.enumerate() {
                if place > 0 {
                    out.put_u8(b',');
                }
                out.put_slice(token.text().as_bytes());
            }
            out.put_u8(b']');
        }
        out.put_slice(b"}\n\n");
    }

    /// Ends the text or thought that is open. Calls stay open: their arguments may arrive side by side.
    fn close_said(&mut self, out: &mut BytesMut) {
        if let Some(at) = self.items.len().checked_sub(1)
            && self.items[at].call.is_none()
        {
            self.close(at, "completed", out);
        }
    }

    fn close(&mut self, at: usize, status: &str, out: &mut BytesMut) {
        if self.items[at].over {
            return;
        }
        self.close_part(at, out);
        let mut whole = BytesMut::new();
        self.items[at].write(status, false, &mut whole);
        self.open("response.output_item.done", out);
        let _ = write!(out, ",\"output_index\":{at},\"item\":");
        out.put_slice(&whole);
        out.put_slice(b"}\n\n");
        let item = &mut self.items[at];
        (item.text, item.over) = (whole, true);
    }

    /// Tells the text that is open again, whole, and its part.
    fn close_part(&mut self, at: usize, out: &mut BytesMut) {
        let (done, member) = match self.items[at].kind {
            Kind::Text => ("response.output_text.done", "text"),
            Kind::Refusal => ("response.refusal.done", "refusal"),
            Kind::Thought => ("response.reasoning_summary_text.done", "text"),
            Kind::Call => ("response.function_call_arguments.done", "arguments"),
            Kind::Custom => ("response.custom_tool_call_input.done", "input"),
            Kind::Redacted => ("", ""),
        };
        if !done.is_empty() {
            self.open_of(done, at, out);
            let _ = write!(out, ",\"{member}\":\"");
            out.put_slice(&self.items[at].text);
            out.put_u8(b'"');
            out.put_slice(if self.items[at].kind == Kind::Text { b",\"logprobs\":[]}\n\n" } else { b"}\n\n" });
        }
        self.part(at, "done", out);
    }

    fn signature(&mut self, signature: Signature, out: &mut BytesMut) {
        match self.items.last_mut() {
            Some(item) if item.call.is_some() => {
                item.seal = Some(signature).filter(|seal| seal.dialect == Dialect::Gemini);
            }
            Some(item) if item.kind == Kind::Thought && !item.over => {
                item.seal = Some(signature);
                self.close_said(out);
            }
            // Only thoughts have a place for it.
            _ => {}
        }
    }

    fn citation(&mut self, citation: &Citation, out: &mut BytesMut) {
        let Some(at) = self.items.iter().rposition(|item| item.kind == Kind::Text && !item.over) else { return };
        if !is_known(citation) {
            return;
        }
        let mut writer = Writer::default();
        write_citation(&mut writer, citation, 0, 0);
        let annotation = String::from_utf8_lossy(&writer.into_bytes()).into_owned();
        self.open_of("response.output_text.annotation.added", at, out);
        let _ = write!(out, ",\"annotation_index\":{},\"annotation\":", self.items[at].annotations.len());
        out.put_slice(annotation.as_bytes());
        out.put_slice(b"}\n\n");
        self.items[at].annotations.push(annotation);
    }
}

impl Kind {
    const fn delta(self) -> &'static str {
        match self {
            Self::Text => "response.output_text.delta",
            Self::Refusal => "response.refusal.delta",
            Self::Thought | Self::Redacted => "response.reasoning_summary_text.delta",
            Self::Call => "response.function_call_arguments.delta",
            Self::Custom => "response.custom_tool_call_input.delta",
        }
    }
}

impl Item {
    /// Writes the item; one that has just begun has no part yet.
    fn write(&self, status: &str, begun: bool, out: &mut BytesMut) {
        match self.kind {
            Kind::Text | Kind::Refusal => {
                out.put_slice(b"{\"type\":\"message\",\"id\":");
                Text::plain(&self.id).write(out);
                let _ = write!(out, ",\"status\":\"{status}\",\"role\":\"assistant\",\"content\":[");
                if !begun {
                    self.write_part(out);
                }
                out.put_slice(b"]}");
            }
            Kind::Thought | Kind::Redacted => {
                out.put_slice(b"{\"type\":\"reasoning\",\"summary\":[");
                for (at, part) in self.parts.iter().enumerate() {
                    out.put_slice(if at > 0 { b"," } else { b"" });
                    out.put_slice(part);
                }
                if !self.text.is_empty() {
                    out.put_slice(if self.parts.is_empty() { b"" } else { b"," });
                    self.write_part(out);
                }
                out.put_u8(b']');
                let of = if self.kind == Kind::Redacted { Of::Redacted } else { Of::Open };
                if let Some(sealed) = self.seal.as_ref().and_then(|signature| seal::write(signature, of)) {
                    out.put_slice(b",\"encrypted_content\":");
                    Text::plain(&sealed).write(out);
                }
                out.put_slice(b",\"id\":");
                Text::plain(&self.id).write(out);
                out.put_u8(b'}');
            }
            Kind::Call | Kind::Custom => {
                let (kind, input) = match self.kind {
                    Kind::Custom => ("custom_tool_call", "input"),
                    _ => ("function_call", "arguments"),
                };
                let _ = write!(out, "{{\"type\":\"{kind}\",\"id\":");
                Text::plain(&self.id).write(out);
                let _ = write!(out, ",\"status\":\"{status}\"");
                out.put_slice(self.call.as_ref().map_or("", |(_, named)| named).as_bytes());
                let _ = write!(out, ",\"{input}\":\"");
                out.put_slice(&self.text);
                out.put_u8(b'"');
                if let Some(seal) = &self.seal {
                    let mut member = Writer::default();
                    google::write(&mut member, &seal.value);
                    out.put_u8(b',');
                    out.put_slice(&member.into_bytes());
                }
                out.put_u8(b'}');
            }
        }
    }

    fn write_part(&self, out: &mut BytesMut) {
        let (kind, member) = match self.kind {
            Kind::Refusal => ("refusal", "refusal"),
            Kind::Text => ("output_text", "text"),
            _ => ("summary_text", "text"),
        };
        let _ = write!(out, "{{\"type\":\"{kind}\",\"{member}\":\"");
        out.put_slice(&self.text);
        out.put_u8(b'"');
        if self.kind == Kind::Text {
            let _ = write!(out, ",\"annotations\":[{}],\"logprobs\":[]", self.annotations.join(","));
        }
        out.put_u8(b'}');
    }
}

impl StreamEncoder for ItemEncoder {
    fn encode(&mut self, event: StreamEvent<Text<'_>>, out: &mut BytesMut) {
        match event {
            StreamEvent::Start { id, model, created } => self.start(id, model, created, out),
            StreamEvent::Text { choice: 0, text } => {
                let at = self.turn_to(Kind::Text, out);
                self.piece(at, text, None, out);
            }
            StreamEvent::Refusal { choice: 0, text } => {
                let at = self.turn_to(Kind::Refusal, out);
                self.piece(at, text, None, out);
            }
            StreamEvent::Reasoning { choice: 0, text } => {
                let at = self.turn_to(Kind::Thought, out);
                if !text.is_empty() {
                    self.piece(at, text, None, out);
                }
            }
            StreamEvent::EndOfThought { choice: 0 } => self.turn_thought(out),
            StreamEvent::RedactedReasoning { choice: 0, signature } => {
                self.close_said(out);
                let at = self.begin(Kind::Redacted, None, out);
                self.items[at].seal = Some(signature);
                self.close(at, "completed", out);
            }
            StreamEvent::Signature { choice: 0, signature } => self.signature(signature, out),
            StreamEvent::ToolCall { choice: 0, index, id, name, custom } => {
                self.close_said(out);
                let mut named = BytesMut::new();
                named.put_slice(b",\"call_id\":");
                id.write(&mut named);
                named.put_slice(b",\"name\":");
                name.write(&mut named);
                let named = String::from_utf8_lossy(&named).into_owned();
                self.begin(if custom { Kind::Custom } else { Kind::Call }, Some((index, named)), out);
            }
            StreamEvent::ToolArguments { choice: 0, index, fragment } => {
                let is_it = |item: &Item| item.call.as_ref().is_some_and(|(place, _)| *place == index);
                if let Some(at) = self.items.iter().rposition(is_it) {
                    self.piece(at, fragment, None, out);
                }
            }
            StreamEvent::Citation { choice: 0, citation } => self.citation(&citation, out),
            StreamEvent::Logprobs { choice: 0, logprobs } => {
                if let Some(at) = self.items.iter().rposition(|item| item.kind == Kind::Text && !item.over) {
                    self.piece(at, Text::plain(""), Some(&logprobs), out);
                }
            }
            StreamEvent::Stop { choice: 0, reason } => self.stop = Some(reason),
            StreamEvent::Usage(usage) => self.usage = Some(usage),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut BytesMut) {
        self.start(Text::plain(""), Text::plain(""), None, out);
        let (status, why) = status(self.stop.as_ref());
        for at in 0..self.items.len() {
            let last = at + 1 == self.items.len();
            self.close(at, if last { status } else { "completed" }, out);
        }
        self.open(if why.is_some() { "response.incomplete" } else { "response.completed" }, out);
        out.put_slice(b",\"response\":");
        self.response(status, why, out);
        out.put_slice(b"}\n\n");
    }

    fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        let (_, body) = describe(error);
        self.open("error", out);
        let mut rest = Writer::default();
        rest.object(|writer| {
            writer.key("code").optional_string(body.code);
            writer.key("message").string(body.message);
            writer.key("param").optional_string(body.param);
        });
        let rest = rest.into_bytes();
        out.put_u8(b',');
        out.put_slice(&rest[1..]);
        out.put_slice(b"\n\n");
    }
}
