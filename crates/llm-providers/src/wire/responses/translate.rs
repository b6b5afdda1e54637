//! Requests for responses, from what was asked in this dialect, in another, or in none.

use std::collections::HashSet;

use bytes::Bytes;
use llm_core::{
    CompletionRequest, Content, Dialect, Error, Json, Message, Part, ResponseFormat, Role, Source, Thinking,
    ToolChoice, ToolKind,
};

use super::echo::{write_choice, write_format, write_tool};
use super::part::{Besides, Voice, write_content};
use super::request::{LOGPROBS, SEALS, role_name};
use super::seal::{self, Of};
use crate::wire::effort;
use crate::wire::json::{Raw, Writer};
use crate::wire::losses::{Losses, NO_EQUAL, fate as fate_of, refuse};
use crate::wire::names::{Names, Param};
use crate::wire::seal as google;
use crate::wire::{Encoded, Fate, Level, Strictness, Target, ThinkingStyle, history};

const NOT_TAKEN: &str = "the model does not take it";

/// Writes `request` for `target`. One that was read from this dialect goes out as it is.
pub(super) fn encode_request(
    request: &CompletionRequest,
    target: &Target<'_>,
    strictness: Strictness,
) -> Result<Encoded, Error> {
    let names = Names::of(request);
    let dialect = request.origin.map(|origin| origin.dialect);
    let native = dialect == Some(Dialect::OpenAiResponses);
    if !native && dialect.is_some() {
        history::check(request, &names)?;
    }
    let calls = request.messages.iter().flat_map(Message::tool_calls);
    let custom = calls.filter(|call| call.custom).map(|call| call.id.as_str()).collect();
    let own = native || dialect.is_none();
    let losses = Losses::new(strictness);
    let mut translation = Translation { request, target, names, losses, dialect, native, own, custom };
    let body = translation.write()?;
    Ok(Encoded { body, dropped: translation.losses.into_dropped() })
}

/// What becomes of a member that only this dialect knows.
pub(super) fn fate(level: Level, name: &str, value: &Json) -> Fate {
    let value = value.as_str();
    let empty = matches!(value, "[]" | "{}" | "false");
    match (level, name) {
        (Level::Request, "background" | "context_management") if empty => Fate::Neutral,
        (Level::Request, "truncation") if value == "\"disabled\"" => Fate::Neutral,
        // Nothing is kept where there is no provider that keeps it; what is shown of thoughts, another member says.
        (Level::Request, "store") if empty => Fate::Neutral,
        (Level::Request, "include" | "stream_options" | "reasoning.summary" | "reasoning.generate_summary") => {
            Fate::Neutral
        }
        (Level::Request, "reasoning.context") if value == "\"auto\"" => Fate::Neutral,
        (
            Level::Request,
            "store"
            | "metadata"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "prompt_cache_options"
            | "max_tool_calls"
            | "text.verbosity",
        ) => Fate::Hint,
        (Level::Request, "truncation") => Fate::Reject,
        (Level::Request, name) if name.starts_with("reasoning.") || name.starts_with("text.") => Fate::Reject,
        (Level::Message, "id" | "status" | "phase") => Fate::Neutral,
        (Level::Message, "content") => Fate::Hint,
        (Level::Part, "logprobs") => Fate::Hint,
        (Level::Message | Level::Part | Level::Tool, _) => Fate::Reject,
        _ => Fate::Refuse,
    }
}

struct Translation<'a> {
    request: &'a CompletionRequest,
    target: &'a Target<'a>,
    names: Names<'a>,
    losses: Losses,
    /// What the request was read from.
    dialect: Option<Dialect>,
    /// Whether that is this dialect.
    native: bool,
    /// Whether members without a neutral form are this dialect's.
    own: bool,
    /// The calls whose input is free text.
    custom: HashSet<&'a str>,
}

impl<'a> Translation<'a> {
    fn write(&mut self) -> Result<Bytes, Error> {
        let request = self.request;
        let effort = match self.native {
            true => request.reasoning_effort.as_deref(),
            false => effort::in_a_word(request, self.target.capabilities, self.names, &mut self.losses)?,
        };
        self.judge()?;
        let mut writer = Writer::default();
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("model").string(self.target.model);
            let first = self.instructions();
            if let Some(text) = first {
                writer.key("instructions").string(text);
            }
            let from = usize::from(first.is_some());
            if from < request.messages.len() || !self.native {
                writer.key("input").array(|writer| {
                    result = (from..request.messages.len()).try_for_each(|at| self.message(writer, at));
                });
            }
            if result.is_ok() {
                result = self.parameters(writer, effort);
            }
        });
        result?;
        Ok(writer.into_bytes())
    }

    /// The text that stands in `instructions`: of a caller who gave it a place of its own.
    fn instructions(&self) -> Option<&'a str> {
        let leading = self.request.origin.is_some_and(|origin| origin.leading);
        match self.request.messages.first().filter(|_| leading)?.parts.as_slice() {
            [part] if part.cache.is_none() || !self.target.capabilities.cache_marks => part.as_text(),
            _ => None,
        }
    }

    /// Judges what has no place here.
    fn judge(&mut self) -> Result<(), Error> {
        let request = self.request;
        if request.n.is_some_and(|n| n > 1) {
            return Err(refuse(self.names.param(Param::N), "the provider gives one answer"));
        }
        for (param, given, why) in [
            (Param::Stop, !request.stop.is_empty(), NO_EQUAL),
            (Param::TopK, request.top_k.is_some(), NOT_TAKEN),
            (Param::PresencePenalty, request.presence_penalty.is_some_and(|penalty| penalty != 0.0), NO_EQUAL),
            (Param::FrequencyPenalty, request.frequency_penalty.is_some_and(|penalty| penalty != 0.0), NO_EQUAL),
        ] {
            if given {
                self.losses.reject(self.names.param(param), why)?;
            }
        }
        if request.seed.is_some() {
            self.losses.hint(self.names.param(Param::Seed));
        }
        if !self.own {
            for (name, value) in &request.extra {
                if self.shared(name).is_some() {
                    continue;
                }
                self.losses.extra(name, fate_of(self.dialect, Level::Request, name, value))?;
            }
        }
        for (at, tool) in request.tools.iter().enumerate().filter(|_| !self.own) {
            if let ToolKind::Native(_) = tool.kind {
                return Err(refuse(&self.names.tool_kind(at), "only its own provider has such a tool"));
            }
            if tool.cache.is_some() {
                self.losses.hint(format!("{}.{}", self.names.tool(at), self.names.cache()));
            }
            self.losses.members(&self.names.tool(at), self.dialect, Level::Tool, &tool.extra)?;
        }
        if matches!(request.tool_choice, Some(ToolChoice::Other(_))) && !self.own {
            return Err(refuse(self.names.param(Param::ToolChoice), NO_EQUAL));
        }
        Ok(())
    }

    /// The name here of a member of chat's that is one here too.
    fn shared<'n>(&self, name: &'n str) -> Option<&'n str> {
        const SHARED: [&str; 6] =
            ["metadata", "store", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "moderation"];
        match self.dialect {
            _ if self.own => Some(name),
            Some(Dialect::OpenAi) if name == "verbosity" => Some("text.verbosity"),
            Some(Dialect::OpenAi) if SHARED.contains(&name) => Some(name),
            _ => None,
        }
    }

    fn parameters(&mut self, writer: &mut Writer, effort: Option<&str>) -> Result<(), Error> {
        let (request, capabilities) = (self.request, self.target.capabilities);
        if let Some(cap) = request.max_tokens {
            writer.key("max_output_tokens").integer(cap);
        }
        for (param, key, value) in
            [(Param::Temperature, "temperature", request.temperature), (Param::TopP, "top_p", request.top_p)]
        {
            let Some(number) = value else { continue };
            if capabilities.sampling || self.native {
                writer.key(key).f64(number);
            } else if number != 1.0 {
                self.losses.reject(self.names.param(param), NOT_TAKEN)?;
            }
        }
        if let Some(count) = request.top_logprobs {
            writer.key("top_logprobs").integer(count);
        }
        if !request.tools.is_empty() {
            writer.key("tools").array(|writer| {
                request.tools.iter().for_each(|tool| write_tool(writer, tool, !self.own));
            });
        }
        if let Some(choice) = &request.tool_choice {
            write_choice(writer.key("tool_choice"), choice);
        }
        if let Some(parallel) = request.parallel_tool_calls.filter(|_| !request.tools.is_empty() || self.native) {
            writer.key("parallel_tool_calls").bool(parallel);
        }
        self.write_group(writer, "reasoning", |writer| {
            if let Some(effort) = effort {
                writer.key("effort").string(effort);
            }
            let said = self.own
                && request.extra.iter().any(|(name, _)| name.starts_with("reasoning.") && name.ends_with("summary"));
            if request.show_thoughts == Some(true) && !said {
                writer.key("summary").string("auto");
            }
        });
        let format = match &request.response_format {
            Some(ResponseFormat::JsonSchema { .. }) if !capabilities.json_schema && !self.native => {
                self.losses.reject(self.names.param(Param::ResponseFormat), "the model cannot follow a schema")?;
                None
            }
            format => format.as_ref(),
        };
        self.write_group(writer, "text", |writer| {
            if let Some(format) = format {
                write_format(writer.key("format"), format);
            }
        });
        self.include(writer, effort);
        for (key, text) in [
            ("service_tier", &request.service_tier),
            ("safety_identifier", &request.safety_identifier),
            ("user", &request.user),
        ] {
            if let Some(text) = text {
                writer.key(key).string(text);
            }
        }
        let mut stored = self.own;
        for (name, value) in &request.extra {
            if let Some(name) = self.shared(name).filter(|name| !name.contains('.') && *name != "include") {
                stored |= name == "store";
                writer.key(name).json(value);
            }
        }
        // Kept by default here, and nowhere else.
        if !stored {
            writer.key("store").bool(false);
        }
        if self.target.stream {
            writer.key("stream").bool(true);
        }
        Ok(())
    }

    /// Writes an object of what `fill` writes and of the members that are kept under its name, unless it is empty.
    fn write_group(&self, writer: &mut Writer, group: &str, fill: impl Fn(&mut Writer)) {
        let mut inner = Writer::default();
        inner.object(|writer| {
            fill(writer);
            for (name, value) in &self.request.extra {
                if let Some((of, name)) = self.shared(name).and_then(|name| name.split_once('.'))
                    && of == group
                {
                    writer.key(name).json(value);
                }
            }
        });
        let inner = inner.into_bytes();
        if inner.len() > 2 {
            writer.key(group).text(std::str::from_utf8(&inner).expect("a writer writes UTF-8"));
        }
    }

    /// Writes what is to be told beside the answer: the seals of thoughts too, since none are kept with the provider.
    fn include(&self, writer: &mut Writer, effort: Option<&str>) {
        let request = self.request;
        let thinks = effort.is_some_and(|word| word != "none")
            || request.show_thoughts == Some(true)
            || request.thinking == Some(Thinking::Adaptive);
        let seals = !self.own && thinks && self.target.capabilities.thinking != ThinkingStyle::None;
        let kept = request.extra.iter().find(|(name, _)| self.own && name == "include").map(|(_, list)| list);
        if request.logprobs != Some(true) && !seals && kept.is_none() {
            return;
        }
        writer.key("include").array(|writer| {
            if let Some(Ok(list)) = kept.map(|list| Raw::parse(list.as_str().as_bytes())) {
                list.items().for_each(|item| writer.text(item.text()));
            }
            if request.logprobs == Some(true) {
                writer.string(LOGPROBS);
            }
            if seals {
                writer.string(SEALS);
            }
        });
    }

    /// Writes the items that a message makes.
    fn message(&mut self, writer: &mut Writer, at: usize) -> Result<(), Error> {
        let message = &self.request.messages[at];
        let path = self.names.message(at);
        if message.name.is_some() {
            self.losses.hint(format!("{path}.name"));
        }
        if !self.own {
            self.losses.members(&path, self.dialect, Level::Message, &message.extra)?;
        }
        let parts = &message.parts;
        for (place, part) in parts.iter().enumerate() {
            if let Content::ToolResult { .. } = part.content {
                self.result(writer, at, place)?;
            }
        }
        let mut place = 0;
        let mut written = parts.iter().any(|part| matches!(part.content, Content::ToolResult { .. }));
        while place < parts.len() {
            let begin = place;
            match &parts[place].content {
                Content::ToolResult { .. } => place += 1,
                Content::ToolCall(_) => {
                    place += 1;
                    self.call(writer, at, begin)?;
                }
                Content::Reasoning(_) => {
                    place = end_of_thoughts(parts, begin);
                    self.thoughts(writer, at, begin..place);
                }
                Content::Other { json, .. } if message.role == Role::Tool && self.own => {
                    place += 1;
                    writer.json(json);
                }
                Content::Other { json, .. } if self.own && is_item(json) => {
                    place += 1;
                    writer.json(json);
                }
                _ => {
                    let is_said = |part: &Part| {
                        !matches!(
                            part.content,
                            Content::ToolResult { .. } | Content::ToolCall(_) | Content::Reasoning(_)
                        )
                    };
                    while place < parts.len() && is_said(&parts[place]) {
                        place += 1;
                    }
                    self.said(writer, at, begin..place)?;
                }
            }
            written = true;
        }
        if !written {
            self.said(writer, at, 0..0)?;
        }
        Ok(())
    }

    fn said(&mut self, writer: &mut Writer, at: usize, range: std::ops::Range<usize>) -> Result<(), Error> {
        let message = &self.request.messages[at];
        let mut said = Vec::with_capacity(range.len());
        for place in range {
            let part = &message.parts[place];
            self.judge_part(&self.names.part(at, place), part, message.role)?;
            let empty = matches!(&part.content, Content::Text(text) if text.is_empty());
            if !empty || self.own {
                said.push(part);
            }
        }
        // What is left out says nothing beside a call.
        if said.is_empty() && message.tool_calls().next().is_some() {
            return Ok(());
        }
        let voice = if message.role == Role::Assistant { Voice::Model } else { Voice::Others };
        let besides = self.besides();
        writer.object(|writer| {
            writer.key("type").string("message");
            writer.key("role").string(role_name(message.role));
            write_content(writer.key("content"), &said, voice, besides);
            self.own_extra(writer, message);
        });
        Ok(())
    }

    fn call(&mut self, writer: &mut Writer, at: usize, place: usize) -> Result<(), Error> {
        let message = &self.request.messages[at];
        let part = &message.parts[place];
        let Content::ToolCall(call) = &part.content else { return Ok(()) };
        self.judge_marks(&self.names.part(at, place), part)?;
        if part.signature.is_some() && !self.own {
            self.losses.hint(format!("{}.signature", self.names.part(at, place)));
        }
        writer.object(|writer| {
            let (kind, input) =
                if call.custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
            writer.key("type").string(kind);
            writer.key("call_id").string(&call.id);
            writer.key("name").string(&call.name);
            writer.key(input).string(&call.arguments);
            if let Some(seal) = part.signature.as_ref().filter(|seal| self.own && seal.dialect == Dialect::Gemini) {
                google::write(writer, &seal.value);
            }
            self.own_extra(writer, message);
        });
        Ok(())
    }

    fn thoughts(&mut self, writer: &mut Writer, at: usize, range: std::ops::Range<usize>) {
        let message = &self.request.messages[at];
        let parts = &message.parts[range.clone()];
        let seal = parts.last().and_then(|part| part.signature.as_ref());
        if !self.native && seal.is_none_or(|seal| seal.dialect != Dialect::OpenAiResponses) {
            range.for_each(|place| self.losses.hint(self.names.part(at, place)));
            return;
        }
        let redacted = matches!(parts, [Part { content: Content::Reasoning(thought), .. }] if thought.redacted);
        write_thoughts(writer, parts, redacted, |writer| self.own_extra(writer, message));
    }

    fn result(&mut self, writer: &mut Writer, at: usize, place: usize) -> Result<(), Error> {
        let message = &self.request.messages[at];
        let part = &message.parts[place];
        let Content::ToolResult { call_id, content, is_error } = &part.content else { return Ok(()) };
        let path = self.names.part(at, place);
        self.judge_marks(&path, part)?;
        if *is_error {
            self.losses.hint(format!("{path}.is_error"));
        }
        for (inner, said) in content.iter().enumerate() {
            self.judge_part(&self.names.inner(at, place, inner), said, Role::User)?;
        }
        let content: Vec<_> = content.iter().collect();
        let besides = self.besides();
        writer.object(|writer| {
            let custom = self.custom.contains(call_id.as_str());
            writer.key("type").string(if custom { "custom_tool_call_output" } else { "function_call_output" });
            writer.key("call_id").string(call_id);
            write_content(writer.key("output"), &content, Voice::Others, besides);
            self.own_extra(writer, message);
        });
        Ok(())
    }

    const fn besides(&self) -> Besides {
        Besides { extra: self.own, marks: self.native || self.target.capabilities.cache_marks }
    }

    fn own_extra(&self, writer: &mut Writer, message: &Message) {
        if self.own {
            message.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    }

    /// Judges a part of a message or of a tool's answer.
    fn judge_part(&mut self, path: &str, part: &Part, role: Role) -> Result<(), Error> {
        self.judge_marks(path, part)?;
        if self.own {
            return Ok(());
        }
        let others = role == Role::User || role == Role::Tool;
        match &part.content {
            Content::Text(_) => Ok(()),
            Content::Refusal(_) if role == Role::Assistant => Ok(()),
            Content::Image { source: Source::Url(_) | Source::Base64 { .. }, .. }
            | Content::File { source: Source::Url(_) | Source::Base64 { .. } | Source::Text { .. }, .. }
            | Content::Audio { .. }
                if others =>
            {
                Ok(())
            }
            // Chat and responses are the same provider's, and share its files.
            Content::File { source: Source::Id(_), .. } if others && self.dialect == Some(Dialect::OpenAi) => Ok(()),
            Content::Image { source: Source::Id(_), .. } | Content::File { source: Source::Id(_), .. } => {
                Err(refuse(path, "what it names is with another provider"))
            }
            _ => Err(refuse(path, "such a part has no equal in the provider's dialect")),
        }
    }

    /// Judges what is said about a part beside what it is.
    fn judge_marks(&mut self, path: &str, part: &Part) -> Result<(), Error> {
        if part.cache.is_some() && !self.besides().marks {
            self.losses.hint(format!("{path}.{}", self.names.cache()));
        }
        if !part.citations.is_empty() && !self.own {
            self.losses.hint(format!("{path}.citations"));
        }
        if self.own { Ok(()) } else { self.losses.members(path, self.dialect, Level::Part, &part.extra) }
    }
}

/// Whether what has no neutral form is an item by itself: a thought.
fn is_item(json: &Json) -> bool {
    let raw = Raw::parse(json.as_str().as_bytes());
    raw.is_ok_and(|raw| raw.member("type").is_some_and(|kind| kind.text() == "\"reasoning\""))
}

/// Where the thoughts end that are one item with the thought at `begin`: the seal at the end is that of all. One that is
/// held back is an item by itself.
pub(super) fn end_of_thoughts(parts: &[Part], begin: usize) -> usize {
    let is_open = |part: &Part| matches!(&part.content, Content::Reasoning(thought) if !thought.redacted);
    let mut end = begin + 1;
    while is_open(&parts[end - 1]) && parts[end - 1].signature.is_none() && parts.get(end).is_some_and(is_open) {
        end += 1;
    }
    end
}

/// Writes the item that `parts`, thoughts, make up, with the members that `others` writes.
pub(super) fn write_thoughts(writer: &mut Writer, parts: &[Part], redacted: bool, others: impl FnOnce(&mut Writer)) {
    writer.object(|writer| {
        writer.key("type").string("reasoning");
        writer.key("summary").array(|writer| {
            for part in parts {
                if let Content::Reasoning(thought) = &part.content
                    && !thought.text.is_empty()
                {
                    writer.object(|writer| {
                        writer.key("type").string("summary_text");
                        writer.key("text").string(&thought.text);
                    });
                }
            }
        });
        let of = if redacted { Of::Redacted } else { Of::Open };
        let sealed = parts.last().and_then(|part| part.signature.as_ref());
        if let Some(sealed) = sealed.and_then(|signature| seal::write(signature, of)) {
            writer.key("encrypted_content").string(&sealed);
        }
        others(writer);
    });
}
