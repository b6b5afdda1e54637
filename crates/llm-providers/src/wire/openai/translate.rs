//! Chat completion requests from what was asked in another dialect, or in none.

use bytes::Bytes;
use llm_core::{
    CompletionRequest, Content, Dialect, Error, Json, Message, Part, ResponseFormat, Role, Source, Tool, ToolKind,
};

use super::message::{write_call_members, write_mark, write_part_members, write_thoughts};
use super::request::{
    IncludeUsage, Parameters, write_format, write_parameters, write_request, write_stream, write_tool,
    write_tool_choice,
};
use crate::wire::effort;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::losses::{Losses, NO_EQUAL, fate as fate_of, refuse};
use crate::wire::names::{Names, Param};
use crate::wire::read::missing;
use crate::wire::{Encoded, Fate, Level, Strictness, Target, history, seal};

/// OpenAI's own limit.
const MAX_STOPS: usize = 4;

/// What stands for a tool's answer that is a picture; the picture follows in a message of the user's.
const IMAGE: &str = "[image]";

/// Writes `request` for `target`. One that was read from chat goes out as it is, but for what `target` names otherwise.
pub(super) fn encode_request(
    request: &CompletionRequest,
    target: &Target<'_>,
    strictness: Strictness,
) -> Result<Encoded, Error> {
    let usage = if target.capabilities.include_usage { IncludeUsage::Yes } else { IncludeUsage::No };
    let stream = target.stream.then_some(usage);
    if request.origin.is_some_and(|origin| origin.dialect == Dialect::OpenAi) {
        let body = write_request(request, target.model, target.capabilities.max_tokens_field, stream);
        return Ok(Encoded { body, dropped: Vec::new() });
    }
    let names = Names::of(request);
    if request.origin.is_some() {
        history::check(request, &names)?;
    }
    let is_thought = |part: &Part| matches!(part.content, Content::Reasoning(_));
    let left_out = |message: &Message| !message.parts.is_empty() && message.parts.iter().all(is_thought);
    if request.messages.iter().all(left_out) && request.origin.is_some() {
        return Err(missing(names.param(Param::Messages)));
    }
    let mut translation = Translation { request, target, names, losses: Losses::new(strictness) };
    let body = translation.write(stream)?;
    Ok(Encoded { body, dropped: translation.losses.into_dropped() })
}

/// What becomes of a member that only chat knows.
pub(super) fn fate(level: Level, name: &str, value: &Json) -> Fate {
    let raw = Raw::parse(value.as_str().as_bytes());
    let empty = raw.is_ok_and(|raw| match raw.kind() {
        Kind::Object => raw.members().next().is_none(),
        Kind::Array => raw.items().next().is_none(),
        _ => false,
    });
    match (level, name) {
        (
            Level::Request,
            "metadata"
            | "store"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "prompt_cache_options"
            | "prediction"
            | "verbosity",
        ) => Fate::Hint,
        // Only there beside the newer cap, which goes before it.
        (Level::Request, "max_tokens") => Fate::Neutral,
        (Level::Request, "logit_bias") if empty => Fate::Neutral,
        (Level::Request, "logit_bias" | "functions" | "function_call" | "response_format") => Fate::Reject,
        (Level::Request, "modalities") if raw.is_ok_and(|raw| raw.items().all(|item| item.text() == "\"text\"")) => {
            Fate::Neutral
        }
        (Level::Message, _) if empty => Fate::Neutral,
        (Level::Message, "annotations" | "reasoning_details" | "extra_content") => Fate::Hint,
        (Level::Part | Level::Tool, _) => Fate::Reject,
        _ => Fate::Refuse,
    }
}

struct Translation<'a> {
    request: &'a CompletionRequest,
    target: &'a Target<'a>,
    names: Names<'a>,
    losses: Losses,
}

impl<'a> Translation<'a> {
    fn write(&mut self, stream: Option<IncludeUsage>) -> Result<Bytes, Error> {
        let request = self.request;
        let effort = self.effort()?;
        let tier = self.request_extra()?;
        let parameters = self.parameters()?;
        let format = self.format()?;
        let mut writer = Writer::default();
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("model").string(self.target.model);
            writer.key("messages").array(|writer| {
                let mut at = 0;
                while at < request.messages.len() && result.is_ok() {
                    let end = self.end_of_turn(at);
                    result = self.message(writer, at, end);
                    at = end;
                }
            });
            if result.is_ok() {
                write_parameters(writer, &parameters, self.target.capabilities.max_tokens_field);
                result = self.tools(writer);
            }
            if let Some(format) = format {
                write_format(writer, format);
            }
            for (key, text) in [
                ("reasoning_effort", effort),
                ("service_tier", tier.or(request.service_tier.as_deref())),
                ("safety_identifier", request.safety_identifier.as_deref()),
                ("user", request.user.as_deref()),
            ] {
                if let Some(text) = text {
                    writer.key(key).string(text);
                }
            }
            let shared = request.extra.iter().filter(|(name, _)| self.shares(name));
            shared.for_each(|(key, value)| {
                let key = if self.dialect().is_some() { key.strip_prefix("text.").unwrap_or(key) } else { key };
                writer.key(key).json(value);
            });
            write_stream(writer, stream);
        });
        result?;
        Ok(writer.into_bytes())
    }

    fn effort(&mut self) -> Result<Option<&'a str>, Error> {
        if self.request.show_thoughts == Some(true) {
            self.losses.hint(self.names.param(Param::ShowThoughts));
        }
        effort::in_a_word(self.request, self.target.capabilities, self.names, &mut self.losses)
    }

    /// Judges the members that only their dialect knows. The tier, where one of them says it.
    fn request_extra(&mut self) -> Result<Option<&'a str>, Error> {
        let Some(origin) = self.request.origin else { return Ok(None) };
        let mut tier = None;
        for (name, value) in &self.request.extra {
            if self.shares(name) {
                continue;
            }
            let fast = origin.dialect == Dialect::Anthropic && name == "speed" && value.as_str() == "\"fast\"";
            match &self.target.capabilities.fast_tier {
                Some(fast_tier) if fast => tier = Some(fast_tier.as_str()),
                _ => self.losses.extra(name, fate_of(Some(origin.dialect), Level::Request, name, value))?,
            }
        }
        Ok(tier)
    }

    /// Whether a member of the request is one here too.
    fn shares(&self, name: &str) -> bool {
        const SHARED: [&str; 7] = [
            "metadata",
            "prompt_cache_key",
            "prompt_cache_retention",
            "prompt_cache_options",
            "moderation",
            "text.verbosity",
            "logit_bias",
        ];
        match self.dialect() {
            None => true,
            Some(Dialect::OpenAiResponses | Dialect::OpenAiCompletions) => SHARED.contains(&name),
            Some(_) => false,
        }
    }

    fn parameters(&mut self) -> Result<Parameters<'a>, Error> {
        let capabilities = self.target.capabilities;
        let mut parameters = Parameters::of(self.request);
        if parameters.top_k.is_some() && capabilities.top_k != Some(true) {
            self.losses.reject(self.names.param(Param::TopK), "the model does not take it")?;
            parameters.top_k = None;
        }
        for (param, number) in [(Param::Temperature, &mut parameters.temperature), (Param::TopP, &mut parameters.top_p)]
        {
            if capabilities.sampling {
                continue;
            }
            if number.take().is_some_and(|number| number != 1.0) {
                self.losses.reject(self.names.param(param), "the model does not take it")?;
            }
        }
        let most = capabilities.max_stops.unwrap_or(MAX_STOPS);
        if parameters.stop.len() > most {
            self.losses.reject(self.names.param(Param::Stop), &format!("the model takes {most} at most"))?;
            parameters.stop = &parameters.stop[..most];
        }
        Ok(parameters)
    }

    fn format(&mut self) -> Result<Option<&'a ResponseFormat>, Error> {
        match &self.request.response_format {
            Some(ResponseFormat::JsonSchema { .. }) if !self.target.capabilities.json_schema => {
                self.losses.reject(self.names.param(Param::ResponseFormat), "the model cannot follow a schema")?;
                Ok(None)
            }
            format => Ok(format.as_ref()),
        }
    }

    fn tools(&mut self, writer: &mut Writer) -> Result<(), Error> {
        let request = self.request;
        for (at, tool) in request.tools.iter().enumerate() {
            self.judge_tool(at, tool)?;
        }
        if !request.tools.is_empty() {
            let plain = request.origin.is_some();
            writer.key("tools").array(|writer| request.tools.iter().for_each(|tool| write_tool(writer, tool, plain)));
        }
        match &request.tool_choice {
            Some(llm_core::ToolChoice::Other(_)) if request.origin.is_some() => {
                return Err(refuse(self.names.param(Param::ToolChoice), NO_EQUAL));
            }
            Some(choice) => write_tool_choice(writer, choice),
            None => {}
        }
        // Where no tool is offered, the parameter itself is an error.
        if let Some(parallel) = request.parallel_tool_calls.filter(|_| !request.tools.is_empty()) {
            writer.key("parallel_tool_calls").bool(parallel);
        }
        Ok(())
    }

    fn judge_tool(&mut self, at: usize, tool: &Tool) -> Result<(), Error> {
        let Some(origin) = self.request.origin else { return Ok(()) };
        if let ToolKind::Native(_) = tool.kind {
            return Err(refuse(&self.names.tool_kind(at), "only its own provider has such a tool"));
        }
        if tool.cache.is_some() {
            self.losses.hint(format!("{}.{}", self.names.tool(at), self.names.cache()));
        }
        self.losses.members(&self.names.tool(at), Some(origin.dialect), Level::Tool, &tool.extra)
    }

    /// Where the messages end that are one here with the message at `at`: what a turn of the model's is made of, each
    /// item of responses is a message of its own.
    fn end_of_turn(&self, at: usize) -> usize {
        let messages = &self.request.messages;
        if self.dialect() != Some(Dialect::OpenAiResponses) || messages[at].role != Role::Assistant {
            return at + 1;
        }
        let speaks = |message: &Message| {
            message.parts.iter().any(|part| matches!(part.content, Content::Text(_) | Content::Refusal(_)))
        };
        let (mut end, mut spoke, mut called) = (at, false, false);
        while let Some(message) = messages.get(end).filter(|message| message.role == Role::Assistant) {
            // Results must follow their calls: what is said after a call is joined to what was said before it.
            if spoke && speaks(message) && !called {
                break;
            }
            spoke |= speaks(message);
            called |= message.tool_calls().next().is_some();
            end += 1;
        }
        end
    }

    fn message(&mut self, writer: &mut Writer, at: usize, end: usize) -> Result<(), Error> {
        let message = &self.request.messages[at];
        for at in (at..end).filter(|_| self.request.origin.is_some()) {
            let extra = &self.request.messages[at].extra;
            self.losses.members(&self.names.message(at), self.dialect(), Level::Message, extra)?;
        }
        match message.role {
            Role::System => self.speech(writer, at, "system", &[]),
            Role::Developer => self.speech(writer, at, "developer", &[]),
            Role::Assistant => self.turn(writer, at..end),
            Role::User | Role::Tool => {
                let images = self.results(writer, at)?;
                let is_rest = |part: &Part| !matches!(part.content, Content::ToolResult { .. });
                if message.parts.iter().any(is_rest) || message.parts.is_empty() || !images.is_empty() {
                    self.speech(writer, at, "user", &images)?;
                }
                Ok(())
            }
        }
    }

    /// Writes the tools' answers, each as a message. The pictures in them, which go into the user's.
    fn results(&mut self, writer: &mut Writer, at: usize) -> Result<Vec<&'a Part>, Error> {
        let message = &self.request.messages[at];
        let mut images = Vec::new();
        for (place, part) in message.parts.iter().enumerate() {
            let Content::ToolResult { call_id, content, is_error } = &part.content else { continue };
            self.judge_part(at, place, part)?;
            if *is_error {
                self.losses.hint(format!("{}.is_error", self.names.part(at, place)));
            }
            let mut texts = Vec::new();
            let before = images.len();
            for (inner, said) in content.iter().enumerate() {
                let path = self.names.inner(at, place, inner);
                self.judge_marks(&path, said)?;
                match &said.content {
                    Content::Text(_) => texts.push(said),
                    Content::Image { source, .. } => {
                        check_image(source, &path)?;
                        images.push(said);
                    }
                    _ => return Err(refuse(&path, "a tool's answer is text or pictures in the provider's dialect")),
                }
            }
            writer.object(|writer| {
                writer.key("role").string("tool");
                writer.key("tool_call_id").string(call_id);
                writer.key("content");
                match texts.as_slice() {
                    [] => writer.string(if images.len() > before { IMAGE } else { "" }),
                    [text] if text.cache.is_none() => writer.string(text.as_text().unwrap_or_default()),
                    texts => writer.array(|writer| texts.iter().for_each(|text| self.part(writer, text, None))),
                }
            });
        }
        Ok(images)
    }

    /// Writes a message of parts other than tools' answers, after `images`.
    fn speech(&mut self, writer: &mut Writer, at: usize, role: &str, images: &[&'a Part]) -> Result<(), Error> {
        let message = &self.request.messages[at];
        let mut parts: Vec<(&Part, Option<&str>)> = images.iter().map(|image| (*image, None)).collect();
        for (place, part) in message.parts.iter().enumerate() {
            let path = || self.names.part(at, place);
            let name = match &part.content {
                Content::ToolResult { .. } => continue,
                Content::Text(text) if text.is_empty() => continue,
                Content::Text(_) | Content::Audio { .. } => None,
                Content::Image { source, .. } if role == "user" => {
                    check_image(source, &path())?;
                    None
                }
                Content::File { source, name } if role == "user" => {
                    check_file(source, &path())?;
                    Some(name.as_deref().unwrap_or(default_name(source)))
                }
                Content::Other { dialect: Dialect::OpenAi, .. } if self.request.origin.is_none() => None,
                _ => return Err(refuse(&path(), "such a part has no equal in the provider's dialect")),
            };
            self.judge_part(at, place, part)?;
            parts.push((part, name));
        }
        writer.object(|writer| {
            writer.key("role").string(role);
            if let Some(name) = &message.name {
                writer.key("name").string(name);
            }
            writer.key("content");
            match parts.as_slice() {
                [] => writer.string(""),
                [(Part { content: Content::Text(text), .. }, _)] if !self.is_marked(parts[0].0) => writer.string(text),
                parts => {
                    writer.array(|writer| parts.iter().for_each(|(part, name)| self.part(writer, part, *name)));
                }
            }
            self.own_extra(writer, message);
        });
        Ok(())
    }

    /// Writes what the model said: its texts joined, since its answers are one text here.
    fn turn(&mut self, writer: &mut Writer, range: std::ops::Range<usize>) -> Result<(), Error> {
        let request = self.request;
        let message = &request.messages[range.start];
        let (mut texts, mut refusals, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let thoughts = self.target.capabilities.thoughts_field.as_deref();
        let parts = range
            .clone()
            .flat_map(|at| request.messages[at].parts.iter().enumerate().map(move |(place, part)| (at, place, part)));
        for (at, place, part) in parts {
            match &part.content {
                Content::Text(text) => texts.push(text.as_str()),
                Content::Refusal(text) => refusals.push(text.as_str()),
                Content::ToolCall(call) => calls.push((call, part)),
                Content::Reasoning(_) => {
                    if thoughts.is_none() {
                        self.losses.hint(self.names.part(at, place));
                    }
                    continue;
                }
                _ => {
                    let path = self.names.part(at, place);
                    return Err(refuse(&path, "the model's own messages hold no such part in the provider's dialect"));
                }
            }
            self.judge_part(at, place, part)?;
            if part.signature.is_some() && !self.target.capabilities.seals && self.request.origin.is_some() {
                self.losses.hint(format!("{}.signature", self.names.part(at, place)));
            }
        }
        // Of thoughts that are left out nothing remains, where they were an item of their own.
        if range.len() > 1 || self.dialect() == Some(Dialect::OpenAiResponses) {
            let said = !texts.is_empty() || !refusals.is_empty() || !calls.is_empty();
            let only_thoughts = request.messages[range.clone()].iter().any(|message| !message.parts.is_empty());
            if !said && only_thoughts && thoughts.is_none() {
                return Ok(());
            }
        }
        let empty = texts.iter().all(|text| text.is_empty());
        writer.object(|writer| {
            writer.key("role").string("assistant");
            if let Some(name) = &message.name {
                writer.key("name").string(name);
            }
            let none = empty && !(calls.is_empty() && refusals.is_empty());
            writer.key("content").optional_string((!none).then(|| texts.concat()).as_deref());
            if !refusals.is_empty() {
                writer.key("refusal").string(&refusals.concat());
            }
            if let Some(field) = thoughts {
                let parts: Vec<_> =
                    request.messages[range].iter().flat_map(|message| message.parts.iter().cloned()).collect();
                write_thoughts(writer, &parts, field, self.target.capabilities.seals);
            }
            if !calls.is_empty() {
                writer.key("tool_calls").array(|writer| {
                    for (call, part) in calls {
                        writer.object(|writer| {
                            write_call_members(writer, call);
                            match &part.signature {
                                Some(seal) if seal.dialect == Dialect::Gemini && self.target.capabilities.seals => {
                                    seal::write(writer, &seal.value);
                                }
                                _ => {}
                            }
                            if self.request.origin.is_none() {
                                part.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
                            }
                        });
                    }
                });
            }
            self.own_extra(writer, message);
        });
        Ok(())
    }

    fn own_extra(&self, writer: &mut Writer, message: &Message) {
        if self.request.origin.is_none() {
            message.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    }

    fn part(&self, writer: &mut Writer, part: &Part, name: Option<&str>) {
        if let Content::Other { json, .. } = &part.content {
            return writer.json(json);
        }
        writer.object(|writer| {
            write_part_members(writer, &part.content, name);
            if let Some(mark) = part.cache.filter(|_| self.target.capabilities.cache_marks) {
                write_mark(writer, mark);
            }
            if self.request.origin.is_none() {
                part.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
            }
        });
    }

    fn is_marked(&self, part: &Part) -> bool {
        (part.cache.is_some() && self.target.capabilities.cache_marks)
            || (self.request.origin.is_none() && !part.extra.is_empty())
    }

    fn judge_part(&mut self, at: usize, place: usize, part: &Part) -> Result<(), Error> {
        if part.cache.is_none() && part.citations.is_empty() && part.extra.is_empty() {
            return Ok(());
        }
        let path = self.names.part(at, place);
        self.judge_marks(&path, part)
    }

    /// Judges what is said about a part beside what it is.
    fn judge_marks(&mut self, path: &str, part: &Part) -> Result<(), Error> {
        if part.cache.is_some() && !self.target.capabilities.cache_marks {
            self.losses.hint(format!("{path}.{}", self.names.cache()));
        }
        if !part.citations.is_empty() {
            self.losses.hint(format!("{path}.citations"));
        }
        match self.dialect() {
            None => Ok(()),
            dialect => self.losses.members(path, dialect, Level::Part, &part.extra),
        }
    }

    fn dialect(&self) -> Option<Dialect> {
        self.request.origin.map(|origin| origin.dialect)
    }
}

fn check_image(source: &Source, path: &str) -> Result<(), Error> {
    match source {
        Source::Url(_) | Source::Base64 { .. } => Ok(()),
        Source::Text { .. } | Source::Id(_) => Err(refuse(path, "the picture is with another provider")),
    }
}

fn check_file(source: &Source, path: &str) -> Result<(), Error> {
    match source {
        Source::Base64 { .. } | Source::Text { .. } => Ok(()),
        Source::Url(_) => Err(refuse(path, "the provider takes documents only in the request")),
        Source::Id(_) => Err(refuse(path, "the document is with another provider")),
    }
}

/// A document without a name is none to OpenAI.
pub(in crate::wire) fn default_name(source: &Source) -> &'static str {
    match source {
        Source::Base64 { media_type, .. } if media_type == "application/pdf" => "document.pdf",
        _ => "document.txt",
    }
}
