//! Requests for messages from what was asked in another dialect, or in none.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use llm_core::{
    CacheMark, CompletionRequest, Content, Dialect, Error, Json, Part, ResponseFormat, Source, Thinking, Tool,
    ToolCall, ToolChoice, ToolKind,
};

use super::block::{native_citation, write_mark};
use super::request::Purpose;
use crate::wire::effort::{self, Wanted};
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::losses::{Losses, NO_EQUAL, refuse};
use crate::wire::names::{Names, Param};
use crate::wire::turns::{Placed, Speaker, Turn, Turns};
use crate::wire::{Encoded, Fate, Level, Strictness, Target, ThinkingStyle, history, ids};

/// So many places of a prompt can be marked for caching.
const MAX_MARKS: usize = 4;

/// The least budget of thoughts.
const MIN_BUDGET: u64 = 1024;

const NOT_TAKEN: &str = "the model does not take it";

/// Writes `request` for `target`. One that was read from this dialect goes out as it is.
pub(super) fn encode_request(
    request: &CompletionRequest,
    target: &Target<'_>,
    strictness: Strictness,
    purpose: Purpose,
) -> Result<Encoded, Error> {
    let names = Names::of(request);
    let dialect = request.origin.map(|origin| origin.dialect);
    let native = dialect == Some(Dialect::Anthropic);
    if !native {
        history::check(request, &names)?;
    }
    let mut losses = Losses::new(strictness);
    let late_system = target.capabilities.late_system;
    let turns = Turns::of(request, Dialect::Anthropic, late_system, &names, &mut losses)?;
    let own = native || dialect.is_none();
    let mut translation = Translation { request, target, names, losses, dialect, native, own, purpose, skip_marks: 0 };
    let body = translation.write(&turns)?;
    Ok(Encoded { body, dropped: translation.losses.into_dropped() })
}

/// What becomes of a member that only this dialect knows.
pub(super) fn fate(level: Level, name: &str, value: &Json) -> Fate {
    let empty = matches!(value.as_str(), "[]" | "{}" | "false");
    match (level, name) {
        (Level::Request, "cache_control" | "diagnostics") => Fate::Hint,
        (Level::Request, "speed") if value.as_str() == "\"standard\"" => Fate::Neutral,
        (Level::Request, "speed" | "thinking" | "output_config" | "metadata" | "service_tier") => Fate::Reject,
        (Level::Request, "mcp_servers" | "context_management") if empty => Fate::Neutral,
        (Level::Tool, "cache_control" | "eager_input_streaming") => Fate::Hint,
        (Level::Tool, "defer_loading" | "allowed_callers" | "input_examples") if empty => Fate::Neutral,
        (Level::Part, "cache_control" | "caller" | "toolset_name") => Fate::Hint,
        // A document's switch.
        (Level::Part, "citations") if value.as_str() == r#"{"enabled":false}"# => Fate::Neutral,
        (Level::Tool | Level::Part, _) => Fate::Reject,
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
    purpose: Purpose,
    /// The marks for caching that are too many, and come first.
    skip_marks: usize,
}

/// How the model is told how much to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Thoughts<'a> {
    thinking: Option<Thinking>,
    effort: Option<&'a str>,
}

impl<'a> Translation<'a> {
    fn write(&mut self, turns: &Turns<'a>) -> Result<Bytes, Error> {
        let request = self.request;
        let answer = self.purpose == Purpose::Answer;
        let default = self.target.max_output.unwrap_or(self.target.capabilities.default_max_tokens);
        let cap = request.max_tokens.unwrap_or(default);
        if cap == 0 {
            return Err(refuse(self.names.param(Param::MaxTokens), "the provider writes one token at least"));
        }
        let thoughts = self.thoughts(cap, turns)?;
        let numbers = self.numbers(thoughts)?;
        let stops = self.stops()?;
        let tier = self.tier()?;
        let format = self.format()?;
        let tools = self.offered()?;
        let choice = self.choice(&tools, thoughts)?;
        self.refused()?;
        let user = self.user();
        self.count_marks(turns, &tools);
        let mut writer = Writer::default();
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("model").string(self.target.model);
            if answer {
                writer.key("max_tokens").integer(cap);
            }
            if !tools.is_empty() {
                writer.key("tools").array(|writer| tools.iter().for_each(|tool| self.tool(writer, tool)));
            }
            if let Some(choice) = choice {
                write_choice(writer, &choice);
            }
            result = self.system(writer, &turns.system);
            if result.is_ok() {
                writer.key("messages").array(|writer| {
                    result = turns.turns.iter().try_for_each(|turn| self.turn(writer, turn));
                });
            }
            if answer {
                for (key, number) in [("temperature", numbers.temperature), ("top_p", numbers.top_p)] {
                    if let Some(number) = number {
                        writer.key(key).f64(number);
                    }
                }
                if let Some(top_k) = numbers.top_k {
                    writer.key("top_k").integer(top_k);
                }
                if !stops.is_empty() {
                    writer.key("stop_sequences").array(|writer| stops.iter().for_each(|text| writer.string(text)));
                }
            }
            self.write_thoughts(writer, thoughts);
            if thoughts.effort.is_some() || format.is_some() {
                writer.key("output_config").object(|writer| {
                    if let Some(effort) = thoughts.effort {
                        writer.key("effort").string(effort);
                    }
                    if let Some(schema) = format {
                        writer.key("format").object(|writer| {
                            writer.key("type").string("json_schema");
                            writer.key("schema").json(schema);
                        });
                    }
                });
            }
            if answer {
                if let Some(user) = user {
                    writer.key("metadata").object(|writer| writer.key("user_id").string(user));
                }
                if let Some(tier) = tier {
                    writer.key("service_tier").string(tier);
                }
            }
            if self.own {
                request.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
            }
            if self.target.stream && answer {
                writer.key("stream").bool(true);
            }
        });
        result?;
        Ok(writer.into_bytes())
    }

    /// Judges what has no place here at all.
    fn refused(&mut self) -> Result<(), Error> {
        let request = self.request;
        self.losses.sampling(self.names, request)?;
        if request.seed.is_some() {
            self.losses.hint(self.names.param(Param::Seed));
        }
        if self.own { Ok(()) } else { self.losses.extras(self.names, self.dialect, request) }
    }

    fn user(&mut self) -> Option<&'a str> {
        let request = self.request;
        if request.safety_identifier.is_some() && request.user.is_some() {
            self.losses.hint(self.names.param(Param::User));
        }
        request.safety_identifier.as_deref().or(request.user.as_deref())
    }

    fn tier(&mut self) -> Result<Option<&'static str>, Error> {
        match self.request.service_tier.as_deref() {
            None => Ok(None),
            // Where there are no tiers, both are what there is.
            Some("auto" | "default") if !self.target.capabilities.service_tier => Ok(None),
            Some("auto") => Ok(Some("auto")),
            Some("default") => Ok(Some("standard_only")),
            Some(_) => {
                self.losses.reject(self.names.param(Param::ServiceTier), NO_EQUAL)?;
                Ok(None)
            }
        }
    }

    fn stops(&mut self) -> Result<Vec<&'a str>, Error> {
        let param = self.names.param(Param::Stop);
        let mut stops = Vec::with_capacity(self.request.stop.len());
        for (at, text) in self.request.stop.iter().enumerate() {
            if text.trim().is_empty() && !self.native {
                self.losses.reject(format!("{param}[{at}]"), "the provider does not stop at white space")?;
            } else {
                stops.push(text.as_str());
            }
        }
        if let Some(most) = self.target.capabilities.max_stops.filter(|most| stops.len() > *most) {
            self.losses.reject(param, &format!("the model takes {most} at most"))?;
            stops.truncate(most);
        }
        Ok(stops)
    }

    fn format(&mut self) -> Result<Option<&'a Json>, Error> {
        let param = self.names.param(Param::ResponseFormat);
        match &self.request.response_format {
            None | Some(ResponseFormat::Text) => Ok(None),
            Some(ResponseFormat::JsonSchema { description, schema: Some(schema), strict, .. })
                if self.target.capabilities.json_schema =>
            {
                if !self.native {
                    let member = self.names.schema();
                    self.losses.hint(format!("{member}.name"));
                    for (name, given) in [("description", description.is_some()), ("strict", strict.is_some())] {
                        if given {
                            self.losses.hint(format!("{member}.{name}"));
                        }
                    }
                }
                Ok(Some(schema))
            }
            Some(ResponseFormat::JsonSchema { schema: Some(_), .. }) => {
                self.losses.reject(param, "the model cannot follow a schema")?;
                Ok(None)
            }
            Some(ResponseFormat::JsonSchema { .. } | ResponseFormat::JsonObject) => {
                self.losses.reject(param, "the provider gives JSON only by a schema")?;
                Ok(None)
            }
        }
    }
}

/// The numbers that govern the draw.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<u64>,
}

impl<'a> Translation<'a> {
    fn numbers(&mut self, thoughts: Thoughts<'_>) -> Result<Numbers, Error> {
        let (request, capabilities) = (self.request, self.target.capabilities);
        let mut numbers = Numbers { temperature: request.temperature, top_p: request.top_p, top_k: request.top_k };
        if self.native {
            return Ok(numbers);
        }
        let temperature = self.names.param(Param::Temperature);
        if numbers.temperature.is_some_and(|number| number > 1.0) {
            self.losses.reject(temperature, "the provider takes 0 to 1")?;
            numbers.temperature = None;
        }
        if !capabilities.sampling {
            for (param, number) in [(Param::Temperature, &mut numbers.temperature), (Param::TopP, &mut numbers.top_p)] {
                if number.take().is_some_and(|number| number != 1.0) {
                    self.losses.reject(self.names.param(param), NOT_TAKEN)?;
                }
            }
        }
        if matches!(thoughts.thinking, Some(Thinking::Budget(_)))
            && numbers.temperature.take().is_some_and(|n| n != 1.0)
        {
            self.losses.reject(temperature, "a model that thinks by a budget takes 1 alone")?;
        }
        if numbers.top_k.is_some() && !capabilities.top_k.unwrap_or(capabilities.sampling) {
            self.losses.reject(self.names.param(Param::TopK), NOT_TAKEN)?;
            numbers.top_k = None;
        }
        Ok(numbers)
    }

    /// How the model is told how much to think; in this dialect's own requests, as it stands there.
    fn thoughts(&mut self, cap: u64, turns: &Turns<'_>) -> Result<Thoughts<'a>, Error> {
        let (request, capabilities) = (self.request, self.target.capabilities);
        if self.native {
            return Ok(Thoughts { thinking: request.thinking, effort: request.reasoning_effort.as_deref() });
        }
        let nothing = Thoughts { thinking: None, effort: None };
        let by_effort = request.reasoning_effort.is_some();
        let param = self.names.param(if by_effort { Param::ReasoningEffort } else { Param::Thinking });
        let wanted = Wanted::by(request);
        if wanted == Wanted::Unsaid {
            return Ok(Thoughts { thinking: request.thinking, ..nothing });
        }
        let thoughts = match (wanted, capabilities.thinking) {
            (Wanted::Unsaid, _) | (Wanted::Off, ThinkingStyle::None) => return Ok(nothing),
            (_, ThinkingStyle::None) => {
                self.losses.reject(param, "the model does not think")?;
                return Ok(nothing);
            }
            (Wanted::Off, _) if !capabilities.thinking_off => {
                self.losses.reject(param, "the model always thinks")?;
                return Ok(nothing);
            }
            (Wanted::Off, _) => return Ok(Thoughts { thinking: Some(Thinking::Off), effort: None }),
            (Wanted::Adaptive, ThinkingStyle::Effort) => Thoughts { thinking: Some(Thinking::Adaptive), effort: None },
            (Wanted::Adaptive, ThinkingStyle::Budget) => {
                self.losses.hint(param);
                return Ok(nothing);
            }
            (Wanted::Effort(word), ThinkingStyle::Effort) => {
                let Some(effort) = self.effort(word, param)? else { return Ok(nothing) };
                Thoughts { thinking: Some(Thinking::Adaptive), effort: Some(effort) }
            }
            (Wanted::Budget(tokens), ThinkingStyle::Effort) => {
                Thoughts { thinking: Some(Thinking::Adaptive), effort: Some(effort::word(tokens)) }
            }
            (Wanted::Effort(word), ThinkingStyle::Budget) => match effort::budget(word) {
                Some(tokens) => Thoughts { thinking: self.budget(tokens, cap, param)?, effort: None },
                None => {
                    self.losses.reject(param, NOT_TAKEN)?;
                    return Ok(nothing);
                }
            },
            (Wanted::Budget(tokens), ThinkingStyle::Budget) => {
                Thoughts { thinking: self.budget(tokens, cap, param)?, effort: None }
            }
        };
        if thoughts.thinking.is_some() && turns.is_unsealed_loop() {
            // The provider wants the thoughts before a call back with its result, and the caller has none.
            self.losses.hint(param);
            return Ok(Thoughts { thinking: None, ..thoughts });
        }
        Ok(thoughts)
    }

    fn effort(&mut self, word: &'a str, param: &'static str) -> Result<Option<&'a str>, Error> {
        match word {
            "minimal" => Ok(Some("low")),
            "xhigh" if !self.target.capabilities.xhigh => {
                self.losses.hint(param);
                Ok(Some("high"))
            }
            "low" | "medium" | "high" | "xhigh" | "max" => Ok(Some(word)),
            _ => {
                self.losses.reject(param, "no such effort is known")?;
                Ok(None)
            }
        }
    }

    fn budget(&mut self, tokens: u64, cap: u64, param: &'static str) -> Result<Option<Thinking>, Error> {
        if cap <= MIN_BUDGET {
            self.losses.reject(param, "the cap on tokens leaves no room for thoughts")?;
            return Ok(None);
        }
        Ok(Some(Thinking::Budget(tokens.clamp(MIN_BUDGET, cap - 1))))
    }

    fn write_thoughts(&self, writer: &mut Writer, thoughts: Thoughts<'_>) {
        let Some(thinking) = thoughts.thinking else { return };
        writer.key("thinking").object(|writer| {
            let kind = match thinking {
                Thinking::Off => "disabled",
                Thinking::Adaptive => "adaptive",
                Thinking::Budget(_) => "enabled",
                _ => "between_tools",
            };
            writer.key("type").string(kind);
            if let Thinking::Budget(tokens) = thinking {
                writer.key("budget_tokens").integer(tokens);
            }
            if let Some(show) = self.request.show_thoughts
                && matches!(thinking, Thinking::Adaptive | Thinking::Budget(_))
            {
                writer.key("display").string(if show { "summarized" } else { "omitted" });
            }
        });
    }
}

/// Which tools are to be called.
#[derive(Clone, Copy, Debug)]
struct Choice<'a> {
    kind: &'static str,
    name: Option<&'a str>,
    native: Option<&'a Json>,
    alone: bool,
}

fn write_choice(writer: &mut Writer, choice: &Choice<'_>) {
    if let Some(native) = choice.native {
        return writer.key("tool_choice").json(native);
    }
    writer.key("tool_choice").object(|writer| {
        writer.key("type").string(choice.kind);
        if let Some(name) = choice.name {
            writer.key("name").string(name);
        }
        if choice.alone {
            writer.key("disable_parallel_tool_use").bool(true);
        }
    });
}

/// A tool as it goes out.
#[derive(Debug)]
struct Offered<'a> {
    tool: &'a Tool,
    schema: Cow<'a, str>,
}

impl<'a> Translation<'a> {
    /// The tools that are offered, with schemas of objects.
    fn offered(&mut self) -> Result<Vec<Offered<'a>>, Error> {
        let request = self.request;
        let allowed = match &request.tool_choice {
            Some(ToolChoice::Allowed { tools, .. }) => Some(tools),
            _ => None,
        };
        let mut offered = Vec::with_capacity(request.tools.len());
        for (at, tool) in request.tools.iter().enumerate() {
            if allowed.is_some_and(|allowed| !allowed.contains(&tool.name)) {
                continue;
            }
            match tool.kind {
                ToolKind::Native(_) if self.own => {}
                ToolKind::Function => {}
                _ => return Err(refuse(&self.names.tool_kind(at), "the provider has no such tools")),
            }
            if !self.own {
                self.losses.members(&self.names.tool(at), self.dialect, Level::Tool, &tool.extra)?;
            }
            let schema = match &tool.parameters {
                None => Some(Cow::Borrowed(r#"{"type":"object","properties":{}}"#)),
                Some(schema) if self.native => Some(Cow::Borrowed(schema.as_str())),
                Some(schema) => of_objects(schema.as_str()),
            };
            match schema {
                Some(schema) => offered.push(Offered { tool, schema }),
                None => self.losses.reject(self.names.parameters(at), "the arguments must be an object")?,
            }
        }
        Ok(offered)
    }

    fn choice(&mut self, tools: &[Offered<'_>], thoughts: Thoughts<'_>) -> Result<Option<Choice<'a>>, Error> {
        let request = self.request;
        let alone = request.parallel_tool_calls == Some(false);
        let choice = |kind, name| Some(Choice { kind, name, native: None, alone });
        let chosen = match &request.tool_choice {
            Some(ToolChoice::Other(native)) if self.own => {
                Some(Choice { kind: "", name: None, native: Some(native), alone })
            }
            Some(ToolChoice::Other(_)) => return Err(refuse(self.names.param(Param::ToolChoice), NO_EQUAL)),
            // Without tools there is nothing to choose.
            Some(ToolChoice::None | ToolChoice::Auto) | None if tools.is_empty() && !self.native => None,
            Some(ToolChoice::None) => Some(Choice { kind: "none", name: None, native: None, alone: false }),
            Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => choice("any", None),
            Some(ToolChoice::Function(name)) => choice("tool", Some(name.as_str())),
            Some(_) => choice("auto", None),
            None => alone.then(|| choice("auto", None)).flatten(),
        };
        let forced = chosen.is_some_and(|choice| matches!(choice.kind, "any" | "tool"));
        if forced && matches!(thoughts.thinking, Some(Thinking::Budget(_))) && !self.native {
            let why = "a model that thinks by a budget cannot be made to call a tool";
            self.losses.reject(self.names.param(Param::ToolChoice), why)?;
            return Ok(choice("auto", None));
        }
        Ok(chosen)
    }

    fn tool(&mut self, writer: &mut Writer, offered: &Offered<'_>) {
        let tool = offered.tool;
        if let ToolKind::Native(json) = &tool.kind {
            return writer.json(json);
        }
        let mark = tool.cache.filter(|_| self.keeps_mark());
        if tool.cache.is_some() && mark.is_none() {
            let at = self.request.tools.iter().position(|other| std::ptr::eq(other, tool)).unwrap_or_default();
            self.losses.hint(format!("{}.{}", self.names.tool(at), self.names.cache()));
        }
        writer.object(|writer| {
            writer.key("name").string(&tool.name);
            if let Some(description) = &tool.description {
                writer.key("description").string(description);
            }
            writer.key("input_schema").raw(offered.schema.as_bytes());
            if let Some(strict) = tool.strict {
                writer.key("strict").bool(strict);
            }
            if let Some(mark) = mark {
                write_mark(writer, mark);
            }
            if self.own {
                tool.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
            }
        });
    }

    /// Counts the marks for caching in the order of the prompt: tools, instructions, turns.
    fn count_marks(&mut self, turns: &Turns<'_>, tools: &[Offered<'_>]) {
        if self.native {
            return;
        }
        let of_part = |part: &Part| {
            let inner = match &part.content {
                Content::ToolResult { content, .. } => content.iter().filter(|part| part.cache.is_some()).count(),
                _ => 0,
            };
            inner + usize::from(part.cache.is_some())
        };
        let parts = turns.system.iter().chain(turns.turns.iter().flat_map(|turn| &turn.parts));
        let marks = tools.iter().filter(|offered| offered.tool.cache.is_some()).count()
            + parts.map(|placed| of_part(placed.part)).sum::<usize>();
        self.skip_marks = marks.saturating_sub(MAX_MARKS);
    }

    /// Whether the next mark is one of the last that are allowed.
    fn keeps_mark(&mut self) -> bool {
        let skipped = self.skip_marks > 0;
        self.skip_marks -= usize::from(skipped);
        !skipped
    }

    fn system(&mut self, writer: &mut Writer, parts: &[Placed<'a>]) -> Result<(), Error> {
        if parts.is_empty() {
            return Ok(());
        }
        writer.key("system");
        self.said(writer, parts)
    }

    fn turn(&mut self, writer: &mut Writer, turn: &Turn<'a>) -> Result<(), Error> {
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("role").string(match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
                Speaker::System => "system",
            });
            writer.key("content");
            result = self.said(writer, &turn.parts);
            if self.own
                && let Some(first) = turn.parts.first()
            {
                let extra = &self.request.messages[first.at].extra;
                extra.iter().for_each(|(key, value)| writer.key(key).json(value));
            }
        });
        result
    }

    /// Writes a text as a string, anything else as blocks.
    fn said(&mut self, writer: &mut Writer, parts: &[Placed<'a>]) -> Result<(), Error> {
        if let [only] = parts
            && let Content::Text(text) = &only.part.content
            && only.part.cache.is_none()
            && only.part.citations.is_empty()
            && only.part.extra.is_empty()
        {
            writer.string(text);
            return Ok(());
        }
        let mut result = Ok(());
        writer.array(|writer| {
            result = parts.iter().try_for_each(|placed| {
                let spot = Spot { at: placed.at, place: placed.place, inner: None };
                self.block(writer, placed.part, spot)
            });
        });
        result
    }

    fn block(&mut self, writer: &mut Writer, part: &'a Part, spot: Spot) -> Result<(), Error> {
        if let Content::Other { dialect, json } = &part.content {
            if *dialect != Dialect::Anthropic {
                return Err(refuse(&self.path(spot), "such a part has no equal in the provider's dialect"));
            }
            writer.json(json);
            return Ok(());
        }
        let mark = self.marks(part, spot)?;
        let mut result = Ok(());
        writer.object(|writer| {
            result = self.members(writer, part, spot);
            let cited = part.citations.iter().filter_map(native_citation);
            if cited.clone().next().is_some() && self.own {
                writer.key("citations").array(|writer| cited.for_each(|citation| writer.json(citation)));
            }
            if let Some(mark) = mark {
                write_mark(writer, mark);
            }
            if self.own {
                part.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
            }
        });
        result
    }

    /// Judges what is said about a part beside what it is. The mark for caching that goes out.
    fn marks(&mut self, part: &Part, spot: Spot) -> Result<Option<CacheMark>, Error> {
        let mark = part.cache.filter(|_| self.keeps_mark());
        if part.cache.is_some() && mark.is_none() {
            self.losses.hint(format!("{}.{}", self.path(spot), self.names.cache()));
        }
        if !self.own && !part.citations.is_empty() {
            self.losses.hint(format!("{}.citations", self.path(spot)));
        }
        if part.signature.as_ref().is_some_and(|seal| seal.dialect != Dialect::Anthropic) {
            self.losses.hint(format!("{}.signature", self.path(spot)));
        }
        if !self.own && !part.extra.is_empty() {
            self.losses.members(&self.path(spot), self.dialect, Level::Part, &part.extra)?;
        }
        Ok(mark)
    }

    /// Writes the members of a block that say what it is.
    fn members(&mut self, writer: &mut Writer, part: &'a Part, spot: Spot) -> Result<(), Error> {
        match &part.content {
            // The words of a refusal are words.
            Content::Text(text) | Content::Refusal(text) => {
                writer.key("type").string("text");
                writer.key("text").string(text);
            }
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.hint(format!("{}.{}", self.path(spot), self.names.detail()));
                }
                writer.key("type").string("image");
                let source = self.image(source, spot)?;
                writer.key("source").object(|writer| write_source(writer, source));
            }
            Content::File { source, name } => {
                writer.key("type").string("document");
                let source = self.document(source, spot)?;
                writer.key("source").object(|writer| match source {
                    Document::As(source) => write_source(writer, source),
                    Document::Decoded(text) => write_text(writer, &text),
                });
                if let Some(name) = name {
                    writer.key("title").string(name);
                }
            }
            Content::Reasoning(reasoning) => {
                let seal = part.signature.as_ref().map_or("", |seal| seal.value.as_str());
                if reasoning.redacted {
                    writer.key("type").string("redacted_thinking");
                    writer.key("data").string(seal);
                } else {
                    writer.key("type").string("thinking");
                    writer.key("thinking").string(&reasoning.text);
                    writer.key("signature").string(seal);
                }
            }
            Content::ToolCall(call) => {
                let input = self.input(call, spot)?;
                writer.key("type").string("tool_use");
                writer.key("id").string(&ids::plain(&call.id));
                writer.key("name").string(&call.name);
                writer.key("input").raw(input.as_bytes());
            }
            Content::ToolResult { call_id, content, is_error } => {
                writer.key("type").string("tool_result");
                writer.key("tool_use_id").string(&ids::plain(call_id));
                self.result(writer, content, spot)?;
                if *is_error {
                    writer.key("is_error").bool(true);
                }
            }
            _ => return Err(refuse(&self.path(spot), "such a part has no equal in the provider's dialect")),
        }
        Ok(())
    }

    fn result(&mut self, writer: &mut Writer, content: &'a [Part], spot: Spot) -> Result<(), Error> {
        match content {
            [] => Ok(()),
            [Part { content: Content::Text(text), cache: None, extra, .. }] if extra.is_empty() => {
                writer.key("content").string(text);
                Ok(())
            }
            parts => {
                let mut result = Ok(());
                writer.key("content").array(|writer| {
                    result = parts.iter().enumerate().try_for_each(|(inner, part)| match &part.content {
                        Content::Text(text) if text.is_empty() => Ok(()),
                        _ => self.block(writer, part, Spot { inner: Some(inner), ..spot }),
                    });
                });
                result
            }
        }
    }

    /// The arguments as an object.
    fn input(&self, call: &'a ToolCall, spot: Spot) -> Result<&'a str, Error> {
        if call.custom {
            return Err(refuse(&self.path(spot), "the provider has no tools that take free text"));
        }
        let arguments = call.arguments.trim_matches([' ', '\t', '\n', '\r']);
        if arguments.is_empty() {
            return Ok("{}");
        }
        match Raw::parse(arguments.as_bytes()) {
            Ok(raw) if raw.kind() == Kind::Object => Ok(raw.text()),
            _ => Err(refuse(&self.names.arguments(spot.at, spot.place), "they are no JSON object")),
        }
    }

    fn image(&self, source: &'a Source, spot: Spot) -> Result<&'a Source, Error> {
        const TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
        match source {
            _ if self.native => Ok(source),
            Source::Url(url) if has_scheme(url, "https:") => Ok(source),
            Source::Url(_) => {
                Err(refuse(&self.path(spot), "a picture is at an https address, or in a data URI of base64"))
            }
            Source::Base64 { media_type, .. } if TYPES.iter().any(|known| known.eq_ignore_ascii_case(media_type)) => {
                Ok(source)
            }
            Source::Base64 { .. } => Err(refuse(&self.path(spot), "the provider takes jpeg, png, gif and webp")),
            Source::Id(_) if self.own => Ok(source),
            Source::Id(_) | Source::Text { .. } => Err(refuse(&self.path(spot), "it is with another provider")),
        }
    }

    fn document(&self, source: &'a Source, spot: Spot) -> Result<Document<'a>, Error> {
        let refused = |why| Err(refuse(&self.path(spot), why));
        match source {
            _ if self.native => Ok(Document::As(source)),
            Source::Base64 { media_type, .. } if media_type.eq_ignore_ascii_case("application/pdf") => {
                Ok(Document::As(source))
            }
            Source::Base64 { media_type, data } if has_scheme(media_type, "text/") => {
                let decoded = BASE64.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                decoded.map_or_else(|| refused("it is no text in base64"), |text| Ok(Document::Decoded(text)))
            }
            Source::Base64 { .. } => refused("the provider takes PDF and text"),
            Source::Text { .. } => Ok(Document::As(source)),
            Source::Url(url) if has_scheme(url, "https:") => Ok(Document::As(source)),
            Source::Url(_) => refused("a document is at an https address, or in a data URI of base64"),
            Source::Id(_) if self.own => Ok(Document::As(source)),
            Source::Id(_) => refused("it is with another provider"),
        }
    }

    fn path(&self, spot: Spot) -> String {
        match spot.inner {
            Some(inner) => self.names.inner(spot.at, spot.place, inner),
            None => self.names.part(spot.at, spot.place),
        }
    }
}

/// Where a part stands in the request.
#[derive(Clone, Copy, Debug)]
struct Spot {
    at: usize,
    place: usize,
    /// Its place in a tool's answer.
    inner: Option<usize>,
}

enum Document<'a> {
    As(&'a Source),
    Decoded(String),
}

fn write_source(writer: &mut Writer, source: &Source) {
    match source {
        Source::Url(url) => {
            writer.key("type").string("url");
            writer.key("url").string(url);
        }
        Source::Base64 { media_type, data } => {
            writer.key("type").string("base64");
            writer.key("media_type").string(media_type);
            writer.key("data").string(data);
        }
        Source::Text { text, .. } => write_text(writer, text),
        Source::Id(id) => {
            writer.key("type").string("file");
            writer.key("file_id").string(id);
        }
    }
}

fn write_text(writer: &mut Writer, text: &str) {
    writer.key("type").string("text");
    writer.key("media_type").string("text/plain");
    writer.key("data").string(text);
}

fn has_scheme(url: &str, scheme: &str) -> bool {
    url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// The schema with the type that the provider wants said: an object. `None` if it is of another type.
pub(crate) fn of_objects(schema: &str) -> Option<Cow<'_, str>> {
    let raw = Raw::parse(schema.as_bytes()).ok().filter(|raw| raw.kind() == Kind::Object)?;
    match raw.member("type") {
        Some(kind) if kind.text() == "\"object\"" => Some(Cow::Borrowed(schema)),
        Some(_) => None,
        None => {
            let rest = raw.text()[1..].trim_start();
            let comma = if rest.starts_with('}') { "" } else { "," };
            Some(Cow::Owned(format!("{{\"type\":\"object\"{comma}{rest}")))
        }
    }
}
