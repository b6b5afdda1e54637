//! Requests for content from what was asked in another dialect, or in none.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use llm_core::{
    CompletionRequest, Content, Dialect, Error, Json, Part, ResponseFormat, Source, Thinking, Tool, ToolCall,
    ToolChoice, ToolKind,
};

use super::part::{MEDIA_TYPE, audio_type, call_id, object_text, write_call, write_seal};
use super::request::CALL;
use crate::wire::effort::{self, Wanted};
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::losses::{Losses, NO_EQUAL, refuse};
use crate::wire::names::{Names, Param};
use crate::wire::read::wrong_value;
use crate::wire::turns::{Placed, Speaker, Turn, Turns};
use crate::wire::{Encoded, Fate, Level, Strictness, Target, ThinkingStyle, history};

/// So many texts may end an answer.
const MAX_STOPS: usize = 5;

/// The largest budget of thoughts that every model with budgets takes.
const MAX_BUDGET: u64 = 24_576;

/// Documented for calls that Gemini did not make: its models refuse a turn of calls without a seal.
const NO_SEAL: &str = "skip_thought_signature_validator";

const NOT_TAKEN: &str = "the model does not take it";

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Answer,
    /// The number of its tokens.
    Count,
}

/// Writes `request` for `target`. One that was read from this dialect goes out as it is.
pub(super) fn encode_request(
    request: &CompletionRequest,
    target: &Target<'_>,
    strictness: Strictness,
    purpose: Purpose,
) -> Result<Encoded, Error> {
    let names = Names::of(request);
    let dialect = request.origin.map(|origin| origin.dialect);
    let native = dialect == Some(Dialect::Gemini);
    if !native {
        history::check(request, &names)?;
    }
    let mut losses = Losses::new(strictness);
    let turns = Turns::of(request, Dialect::Gemini, false, &names, &mut losses)?;
    let own = native || dialect.is_none();
    let calls = Calls::of(request, native);
    let mut translation = Translation { request, target, names, losses, dialect, native, own, calls };
    let body = translation.write(&turns, purpose)?;
    Ok(Encoded { body, dropped: translation.losses.into_dropped() })
}

/// What becomes of a member that only this dialect knows.
pub(super) fn fate(level: Level, name: &str, value: &Json) -> Fate {
    let empty = matches!(value.as_str(), "[]" | "{}" | "false");
    match (level, name) {
        (Level::Request, "safetySettings" | "labels" | "store" | "generationConfig.mediaResolution") => Fate::Hint,
        (Level::Request, "generationConfig.responseModalities") if is_text_alone(value) => Fate::Neutral,
        (Level::Request, "serviceTier" | "toolConfig.retrievalConfig") => Fate::Reject,
        (Level::Request, _) if name.starts_with("generationConfig.thinkingConfig.") => Fate::Reject,
        (Level::Request, _) if empty && name.contains('.') => Fate::Neutral,
        // What a function gives back is said in its description too, if it matters.
        (Level::Tool, "response" | "responseJsonSchema") => Fate::Hint,
        (Level::Tool, "behavior") if matches!(value.as_str(), "\"UNSPECIFIED\"" | "\"BLOCKING\"") => Fate::Neutral,
        (Level::Part, MEDIA_TYPE) => Fate::Neutral,
        (Level::Part, "mediaResolution" | "partMetadata") => Fate::Hint,
        (Level::Tool | Level::Part, _) => Fate::Reject,
        (Level::Message, _) if empty => Fate::Neutral,
        _ => Fate::Refuse,
    }
}

fn is_text_alone(value: &Json) -> bool {
    let text = |item: Raw<'_>| item.string().is_some_and(|item| item.eq_ignore_ascii_case("TEXT"));
    Raw::parse(value.as_str().as_bytes()).is_ok_and(|raw| raw.kind() == Kind::Array && raw.items().all(text))
}

/// The calls of a conversation, by their ids.
struct Calls<'a> {
    /// Each call's tool, and its place among all.
    known: HashMap<&'a str, (&'a str, usize)>,
    /// The ids that were made when the request was read, and are not for its provider.
    made: HashSet<&'a str>,
}

impl<'a> Calls<'a> {
    fn of(request: &'a CompletionRequest, native: bool) -> Self {
        let (mut known, mut made) = (HashMap::new(), HashSet::new());
        let calls = request.messages.iter().flat_map(|message| message.tool_calls());
        for (place, call) in calls.enumerate() {
            known.insert(call.id.as_str(), (call.name.as_str(), place));
            if native && u32::try_from(place).is_ok_and(|place| call_id(CALL, place) == call.id) {
                made.insert(call.id.as_str());
            }
        }
        Self { known, made }
    }

    fn id<'b>(&self, id: &'b str) -> Option<&'b str> {
        (!self.made.contains(id)).then_some(id)
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
    calls: Calls<'a>,
}

/// How the model is told how much to think.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Thoughts<'a> {
    /// In tokens; −1 leaves it to the model.
    budget: Option<i64>,
    /// In this dialect's words.
    level: Option<&'a str>,
}

impl<'a> Translation<'a> {
    fn write(&mut self, turns: &Turns<'a>, purpose: Purpose) -> Result<Bytes, Error> {
        let config = self.config()?;
        let tier = self.tier()?;
        self.judge()?;
        let mut whole = Writer::default();
        let mut result = Ok(());
        whole.object(|writer| {
            if purpose == Purpose::Count {
                writer.key("model").string(&format!("models/{}", self.target.model));
            }
            result = self.system(writer, &turns.system);
            if result.is_ok() {
                writer.key("contents").array(|writer| {
                    result = turns.turns.iter().try_for_each(|turn| self.turn(writer, turn));
                });
            }
            if result.is_ok() {
                result = self.tools(writer).and_then(|()| self.tool_config(writer));
            }
            if let Some(config) = &config {
                writer.key("generationConfig").text(config);
            }
            if let Some(tier) = tier {
                writer.key("serviceTier").string(tier);
            }
            self.own_extra("").for_each(|(name, value)| writer.key(name).json(value));
        });
        result?;
        if purpose == Purpose::Answer {
            return Ok(whole.into_bytes());
        }
        let mut question = Writer::default();
        let whole = whole.into_bytes();
        question.object(|writer| {
            writer.key("generateContentRequest").raw(&whole);
        });
        Ok(question.into_bytes())
    }

    /// The members of the request that only this dialect knows and that stand directly under `prefix`, by their names there.
    fn own_extra(&self, prefix: &'static str) -> impl Iterator<Item = (&'a str, &'a Json)> + use<'a> {
        const GROUPS: [&str; 3] = ["generationConfig.thinkingConfig.", "generationConfig.", "toolConfig."];
        let extra = if self.own { &self.request.extra[..] } else { &[] };
        extra.iter().filter_map(move |(name, value)| {
            let group = GROUPS.into_iter().find(|group| name.starts_with(group)).unwrap_or_default();
            (group == prefix).then(|| (&name[group.len()..], value))
        })
    }

    /// Judges what has no place here at all.
    fn judge(&mut self) -> Result<(), Error> {
        let request = self.request;
        for (param, user) in [(Param::User, &request.user), (Param::SafetyIdentifier, &request.safety_identifier)] {
            if user.is_some() {
                self.losses.hint(self.names.param(param));
            }
        }
        if request.parallel_tool_calls == Some(false) {
            self.losses.reject(self.names.param(Param::ParallelToolCalls), "the provider's models may call several")?;
        }
        if self.own { Ok(()) } else { self.losses.extras(self.names, self.dialect, request) }
    }

    fn tier(&mut self) -> Result<Option<&'a str>, Error> {
        match self.request.service_tier.as_deref() {
            None | Some("auto") => Ok(None),
            // What it does unasked.
            Some("default") if !self.target.capabilities.service_tier => Ok(None),
            Some("default") => Ok(Some("standard")),
            Some(tier @ ("flex" | "priority")) if self.target.capabilities.service_tier => Ok(Some(tier)),
            Some(_) => {
                self.losses.reject(self.names.param(Param::ServiceTier), NO_EQUAL)?;
                Ok(None)
            }
        }
    }
}

/// Parameters of the draw and of the answer's form: `generationConfig`.
impl<'a> Translation<'a> {
    /// The object's text; `None` if there is nothing in it.
    fn config(&mut self) -> Result<Option<String>, Error> {
        let (request, capabilities) = (self.request, self.target.capabilities);
        let (mut temperature, mut top_p, mut top_k) = (request.temperature, request.top_p, request.top_k);
        if !capabilities.sampling && !self.native {
            for (param, number) in [(Param::Temperature, &mut temperature), (Param::TopP, &mut top_p)] {
                if number.take().is_some_and(|number| number != 1.0) {
                    self.losses.reject(self.names.param(param), NOT_TAKEN)?;
                }
            }
        }
        if top_k.is_some() && !capabilities.top_k.unwrap_or(capabilities.sampling) && !self.native {
            self.losses.reject(self.names.param(Param::TopK), NOT_TAKEN)?;
            top_k = None;
        }
        let most = capabilities.max_stops.unwrap_or(MAX_STOPS);
        let mut stops = &request.stop[..];
        if stops.len() > most && !self.native {
            self.losses.reject(self.names.param(Param::Stop), &format!("the model takes {most} at most"))?;
            stops = &stops[..most];
        }
        let mut seed = request.seed;
        if seed.is_some_and(|seed| i32::try_from(seed).is_err()) {
            self.losses.reject(self.names.param(Param::Seed), "the provider takes 32 bits")?;
            seed = None;
        }
        let logprobs = request.logprobs.filter(|wanted| *wanted || self.native);
        let top_logprobs = request.top_logprobs.filter(|count| *count > 0 || self.native);
        let thoughts = self.thoughts()?;
        let format = self.format()?;
        let mut writer = Writer::default();
        writer.object(|writer| {
            for (key, number) in [("temperature", temperature), ("topP", top_p)] {
                if let Some(number) = number {
                    writer.key(key).f64(number);
                }
            }
            for (key, number) in
                [("topK", top_k), ("candidateCount", request.n.map(u64::from)), ("maxOutputTokens", request.max_tokens)]
            {
                if let Some(number) = number {
                    writer.key(key).integer(number);
                }
            }
            if !stops.is_empty() {
                writer.key("stopSequences").array(|writer| stops.iter().for_each(|text| writer.string(text)));
            }
            if let Some(seed) = seed {
                writer.key("seed").integer(seed);
            }
            for (key, number) in
                [("presencePenalty", request.presence_penalty), ("frequencyPenalty", request.frequency_penalty)]
            {
                if let Some(number) = number {
                    writer.key(key).f64(number);
                }
            }
            if let Some(wanted) = logprobs {
                writer.key("responseLogprobs").bool(wanted);
            }
            if let Some(count) = top_logprobs {
                writer.key("logprobs").integer(count);
            }
            if let Some((media_type, schema)) = format {
                writer.key("responseMimeType").string(media_type);
                if let Some(schema) = schema {
                    writer.key("responseJsonSchema").json(schema);
                }
            }
            self.write_thoughts(writer, thoughts);
            self.own_extra("generationConfig.").for_each(|(name, value)| writer.key(name).json(value));
        });
        let text = String::from_utf8_lossy(&writer.into_bytes()).into_owned();
        Ok(Some(text).filter(|text| text != "{}"))
    }

    /// The media type of the answer, and its schema.
    fn format(&mut self) -> Result<Option<(&'static str, Option<&'a Json>)>, Error> {
        const JSON: &str = "application/json";
        match &self.request.response_format {
            Some(ResponseFormat::Text) if self.native => Ok(Some(("text/plain", None))),
            None | Some(ResponseFormat::Text) => Ok(None),
            Some(ResponseFormat::JsonObject) => Ok(Some((JSON, None))),
            Some(ResponseFormat::JsonSchema { description, schema, .. }) => {
                if !self.target.capabilities.json_schema {
                    let param = self.names.param(Param::ResponseFormat);
                    self.losses.reject(param, "the model cannot follow a schema")?;
                    return Ok(None);
                }
                // That the schema is followed to the letter, which `strict` asks for, is so always.
                if description.is_some() {
                    self.losses.hint(format!("{}.description", self.names.schema()));
                }
                Ok(Some((JSON, schema.as_ref())))
            }
        }
    }

    fn write_thoughts(&self, writer: &mut Writer, thoughts: Thoughts<'_>) {
        let shown = self.request.show_thoughts;
        let mut extra = self.own_extra("generationConfig.thinkingConfig.").peekable();
        if thoughts == Thoughts::default() && shown.is_none() && extra.peek().is_none() {
            return;
        }
        writer.key("thinkingConfig").object(|writer| {
            if let Some(shown) = shown {
                writer.key("includeThoughts").bool(shown);
            }
            if let Some(budget) = thoughts.budget {
                writer.key("thinkingBudget").integer(budget);
            }
            if let Some(level) = thoughts.level {
                writer.key("thinkingLevel").string(level);
            }
            extra.for_each(|(name, value)| writer.key(name).json(value));
        });
    }

    /// How much the model is to think; in this dialect's own requests, as it stands there.
    fn thoughts(&mut self) -> Result<Thoughts<'a>, Error> {
        let (request, capabilities) = (self.request, self.target.capabilities);
        if self.native {
            let budget = match request.thinking {
                Some(Thinking::Off) => Some(0),
                Some(Thinking::Adaptive) => Some(-1),
                Some(Thinking::Budget(tokens)) => i64::try_from(tokens).ok(),
                _ => None,
            };
            return Ok(Thoughts { budget, level: request.reasoning_effort.as_deref().and_then(level) });
        }
        let by_effort = request.reasoning_effort.is_some();
        let param = self.names.param(if by_effort { Param::ReasoningEffort } else { Param::Thinking });
        if request.thinking == Some(Thinking::BetweenTools) {
            self.losses.hint(self.names.param(Param::Thinking));
        }
        let nothing = Thoughts::default();
        let budget = |tokens: u64| Thoughts { budget: i64::try_from(tokens).ok(), level: None };
        Ok(match (Wanted::by(request), capabilities.thinking) {
            (Wanted::Unsaid, _) | (Wanted::Off | Wanted::Adaptive, ThinkingStyle::None) => nothing,
            (_, ThinkingStyle::None) => {
                self.losses.reject(param, "the model does not think")?;
                nothing
            }
            (Wanted::Off, _) if !capabilities.thinking_off => {
                self.losses.reject(param, "the model always thinks")?;
                nothing
            }
            // Where thinking can be turned off, no budget does it for either kind of model.
            (Wanted::Off, _) => budget(0),
            (Wanted::Adaptive, ThinkingStyle::Effort) => nothing,
            (Wanted::Adaptive, ThinkingStyle::Budget) => Thoughts { budget: Some(-1), level: None },
            (Wanted::Budget(tokens), ThinkingStyle::Effort) => {
                Thoughts { level: level(effort::word(tokens)), budget: None }
            }
            (Wanted::Budget(tokens), ThinkingStyle::Budget) => {
                if tokens > MAX_BUDGET {
                    self.losses.hint(param);
                }
                budget(tokens.min(MAX_BUDGET))
            }
            (Wanted::Effort("xhigh" | "max"), ThinkingStyle::Effort) if !capabilities.xhigh => {
                self.losses.hint(param);
                Thoughts { level: Some("HIGH"), budget: None }
            }
            (Wanted::Effort("max"), ThinkingStyle::Effort) => Thoughts { level: Some("XHIGH"), budget: None },
            (Wanted::Effort(word), style) => match (level(word), effort::budget(word)) {
                (Some(level), _) if style == ThinkingStyle::Effort => Thoughts { level: Some(level), budget: None },
                (_, Some(tokens)) if style == ThinkingStyle::Budget => budget(tokens.min(MAX_BUDGET)),
                _ => {
                    self.losses.reject(param, "it is no effort that the model knows")?;
                    nothing
                }
            },
        })
    }
}

/// The level that a word of OpenAI's is.
fn level(word: &str) -> Option<&'static str> {
    Some(match word {
        "minimal" => "MINIMAL",
        "low" => "LOW",
        "medium" => "MEDIUM",
        "high" => "HIGH",
        "xhigh" => "XHIGH",
        _ => return None,
    })
}

/// Tools.
impl<'a> Translation<'a> {
    fn tools(&mut self, writer: &mut Writer) -> Result<(), Error> {
        let request = self.request;
        for (at, tool) in request.tools.iter().enumerate() {
            self.judge_tool(at, tool)?;
        }
        if request.tools.is_empty() {
            return Ok(());
        }
        let (functions, natives): (Vec<_>, Vec<_>) =
            request.tools.iter().partition(|tool| tool.kind == ToolKind::Function);
        writer.key("tools").array(|writer| {
            if !functions.is_empty() {
                writer.object(|writer| {
                    writer.key("functionDeclarations").array(|writer| {
                        functions.iter().for_each(|tool| self.function(writer, tool));
                    });
                });
            }
            for tool in natives {
                if let ToolKind::Native(json) = &tool.kind {
                    writer.json(json);
                }
            }
        });
        Ok(())
    }

    fn judge_tool(&mut self, at: usize, tool: &Tool) -> Result<(), Error> {
        let path = self.names.tool(at);
        match tool.kind {
            ToolKind::Function => {}
            ToolKind::Native(_) if self.own => return Ok(()),
            ToolKind::Native(_) => {
                return Err(refuse(&self.names.tool_kind(at), "only its own provider has such a tool"));
            }
            _ => return Err(refuse(&path, "the provider's tools take JSON alone")),
        }
        if tool.cache.is_some() {
            self.losses.hint(format!("{path}.{}", self.names.cache()));
        }
        if tool.strict == Some(true) {
            let parameters = self.names.parameters(at);
            let member = parameters.rsplit_once('.').map_or(path.as_str(), |(member, _)| member);
            self.losses.hint(format!("{member}.strict"));
        }
        if self.own { Ok(()) } else { self.losses.members(&path, self.dialect, Level::Tool, &tool.extra) }
    }

    fn function(&self, writer: &mut Writer, tool: &Tool) {
        writer.object(|writer| {
            writer.key("name").string(&tool.name);
            if let Some(description) = &tool.description {
                writer.key("description").string(description);
            }
            if let Some(parameters) = &tool.parameters {
                writer.key("parametersJsonSchema").json(parameters);
            }
            if self.own {
                tool.extra.iter().for_each(|(name, value)| writer.key(name).json(value));
            }
        });
    }

    fn tool_config(&mut self, writer: &mut Writer) -> Result<(), Error> {
        let (mode, names): (_, &[String]) = match &self.request.tool_choice {
            None => (None, &[]),
            Some(ToolChoice::Auto) => (Some("AUTO"), &[]),
            Some(ToolChoice::None) => (Some("NONE"), &[]),
            Some(ToolChoice::Required) => (Some("ANY"), &[]),
            Some(ToolChoice::Function(name)) => (Some("ANY"), std::slice::from_ref(name)),
            Some(ToolChoice::Allowed { required: true, tools }) => (Some("ANY"), tools),
            Some(ToolChoice::Allowed { required: false, tools }) => (Some("VALIDATED"), tools),
            Some(ToolChoice::Other(_)) if self.own => (None, &[]),
            Some(_) => return Err(refuse(self.names.param(Param::ToolChoice), NO_EQUAL)),
        };
        let raw = match &self.request.tool_choice {
            Some(ToolChoice::Other(json)) => Some(json),
            _ => None,
        };
        let mut extra = self.own_extra("toolConfig.").peekable();
        // Where no tool is offered, there is nothing to choose.
        let mode = mode.filter(|_| self.native || !self.request.tools.is_empty());
        if mode.is_none() && raw.is_none() && extra.peek().is_none() {
            return Ok(());
        }
        writer.key("toolConfig").object(|writer| {
            if let Some(json) = raw {
                writer.key("functionCallingConfig").json(json);
            }
            if let Some(mode) = mode {
                writer.key("functionCallingConfig").object(|writer| {
                    writer.key("mode").string(mode);
                    if !names.is_empty() {
                        writer.key("allowedFunctionNames").array(|writer| {
                            names.iter().for_each(|name| writer.string(name));
                        });
                    }
                });
            }
            extra.for_each(|(name, value)| writer.key(name).json(value));
        });
        Ok(())
    }
}

/// Contents.
impl<'a> Translation<'a> {
    fn system(&mut self, writer: &mut Writer, parts: &[Placed<'a>]) -> Result<(), Error> {
        if parts.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        writer.key("systemInstruction").object(|writer| {
            writer.key("parts").array(|writer| {
                result = parts.iter().try_for_each(|placed| match placed.part.content {
                    Content::Text(_) => self.part(writer, *placed, false),
                    _ if self.native => self.part(writer, *placed, false),
                    _ => Err(refuse(&self.path(*placed), "instructions are text in the provider's dialect")),
                });
            });
            self.message_extra(writer, parts);
        });
        result
    }

    fn turn(&mut self, writer: &mut Writer, turn: &Turn<'a>) -> Result<(), Error> {
        if turn.speaker == Speaker::Assistant {
            let unsealed = !self.native
                && self.target.capabilities.thinking == ThinkingStyle::Effort
                && turn.parts.iter().all(|placed| !is_call(placed.part) || !is_sealed(placed.part));
            return self.content(writer, "model", &turn.parts, unsealed);
        }
        let results = turn.parts.iter().filter(|placed| is_result(placed.part)).count();
        // The answers of tools stand alone, in the order of their calls.
        if self.native || results == 0 {
            return self.content(writer, "user", &turn.parts, false);
        }
        let (results, rest) = turn.parts.split_at(results);
        let mut results = results.to_vec();
        results.sort_by_key(|placed| match &placed.part.content {
            Content::ToolResult { call_id, .. } => self.calls.known.get(call_id.as_str()).map(|(_, place)| *place),
            _ => None,
        });
        self.content(writer, "user", &results, false)?;
        let media = results.iter().any(|placed| media_of(placed.part).next().is_some());
        if rest.is_empty() && !media {
            return Ok(());
        }
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("role").string("user");
            writer.key("parts").array(|writer| {
                result = results
                    .iter()
                    .try_for_each(|placed| self.media(writer, *placed))
                    .and_then(|()| rest.iter().try_for_each(|placed| self.part(writer, *placed, false)));
            });
        });
        result
    }

    fn content(
        &mut self,
        writer: &mut Writer,
        role: &str,
        parts: &[Placed<'a>],
        mut unsealed: bool,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("role").string(role);
            writer.key("parts").array(|writer| {
                result = parts.iter().try_for_each(|placed| {
                    let first = unsealed && is_call(placed.part);
                    unsealed &= !first;
                    self.part(writer, *placed, first)
                });
            });
            self.message_extra(writer, parts);
        });
        result
    }

    /// Writes what only this dialect knows of the message that `parts` are of.
    fn message_extra(&self, writer: &mut Writer, parts: &[Placed<'a>]) {
        if self.native
            && let Some(first) = parts.first()
        {
            let extra = &self.request.messages[first.at].extra;
            extra.iter().for_each(|(name, value)| writer.key(name).json(value));
        }
    }

    /// Writes a part; with a placeholder for its seal if it is `unsealed`.
    fn part(&mut self, writer: &mut Writer, placed: Placed<'a>, unsealed: bool) -> Result<(), Error> {
        let part = placed.part;
        if let Content::Other { dialect, json } = &part.content {
            if *dialect != Dialect::Gemini {
                return Err(refuse(&self.path(placed), "such a part has no equal in the provider's dialect"));
            }
            writer.json(json);
            return Ok(());
        }
        self.judge_marks(&|this: &Self| this.path(placed), part)?;
        let mut result = Ok(());
        writer.object(|writer| {
            result = self.body(writer, placed);
            write_seal(writer, part.signature.as_ref());
            if unsealed {
                writer.key("thoughtSignature").string(NO_SEAL);
            }
            if self.own {
                let extra = part.extra.iter().filter(|(name, _)| name != MEDIA_TYPE);
                extra.for_each(|(name, value)| writer.key(name).json(value));
            }
        });
        result
    }

    fn body(&mut self, writer: &mut Writer, placed: Placed<'a>) -> Result<(), Error> {
        match &placed.part.content {
            // A refusal is what the model said.
            Content::Text(text) | Content::Refusal(text) => writer.key("text").string(text),
            Content::Reasoning(thought) => {
                writer.key("text").string(&thought.text);
                writer.key("thought").bool(true);
            }
            Content::ToolCall(call) => return self.call(writer, placed, call),
            Content::ToolResult { call_id, content, is_error } => {
                return self.result(writer, placed, call_id, content, *is_error);
            }
            _ => {
                let path = self.path(placed);
                return self.medium(writer, placed.part, &path);
            }
        }
        Ok(())
    }

    fn call(&self, writer: &mut Writer, placed: Placed<'_>, call: &ToolCall) -> Result<(), Error> {
        if call.custom {
            return Err(refuse(&self.path(placed), "the provider's tools take JSON alone"));
        }
        let Some(args) = object_text(&call.arguments) else {
            return Err(wrong_value(&self.names.arguments(placed.at, placed.place), "it is no JSON object"));
        };
        write_call(writer, self.calls.id(&call.id), &call.name, args);
        Ok(())
    }

    fn result(
        &mut self,
        writer: &mut Writer,
        placed: Placed<'_>,
        call_id: &str,
        content: &[Part],
        is_error: bool,
    ) -> Result<(), Error> {
        let Some((name, _)) = self.calls.known.get(call_id).copied() else {
            return Err(wrong_value(
                &self.path(placed),
                &format!("the result for the tool call '{call_id}' is of no call"),
            ));
        };
        for (inner, said) in content.iter().enumerate() {
            self.judge_marks(&|this: &Self| this.names.inner(placed.at, placed.place, inner), said)?;
        }
        let text: String = content.iter().filter_map(Part::as_text).collect();
        let mut result = Ok(());
        writer.key("functionResponse").object(|writer| {
            if let Some(id) = self.calls.id(call_id) {
                writer.key("id").string(id);
            }
            writer.key("name").string(name);
            writer.key("response");
            match object_text(&text).filter(|_| !is_error && !text.trim().is_empty()) {
                Some(object) => writer.text(object),
                None => {
                    let none = text.is_empty() && content.iter().any(|said| said.as_text().is_none());
                    let key = if is_error { "error" } else { "result" };
                    let text = if none && !self.native { MEDIA } else { &text };
                    writer.object(|writer| writer.key(key).string(text));
                }
            }
            let media = content.iter().enumerate().filter(|(_, said)| said.as_text().is_none());
            if self.native && media.clone().next().is_some() {
                writer.key("parts").array(|writer| {
                    result = media.clone().try_for_each(|(inner, said)| {
                        let path = self.names.inner(placed.at, placed.place, inner);
                        let mut result = Ok(());
                        writer.object(|writer| result = self.medium(writer, said, &path));
                        result
                    });
                });
            }
        });
        result
    }

    /// Writes the pictures and documents in a tool's answer as parts of the user's.
    fn media(&mut self, writer: &mut Writer, placed: Placed<'a>) -> Result<(), Error> {
        for (inner, said) in media_of(placed.part) {
            let path = self.names.inner(placed.at, placed.place, inner);
            let mut result = Ok(());
            writer.object(|writer| result = self.medium(writer, said, &path));
            result?;
        }
        Ok(())
    }

    /// Writes the members of a picture, a sound or a document.
    fn medium(&mut self, writer: &mut Writer, part: &Part, path: &str) -> Result<(), Error> {
        const FETCH: &str = "the provider does not fetch addresses";
        let (source, name) = match &part.content {
            Content::Image { source, .. } => (source, None),
            Content::File { source, name } => (source, name.as_deref()),
            Content::Audio { data, format } => {
                let Some(media_type) = audio_type(format) else {
                    return Err(refuse(path, "the sound's format has no media type"));
                };
                check_base64(data, path)?;
                write_inline(writer, &media_type, data, None);
                return Ok(());
            }
            _ => return Err(refuse(path, "such a part has no equal in the provider's dialect")),
        };
        if let Some((_, json)) = part.extra.iter().find(|(name, _)| name == MEDIA_TYPE) {
            // Only this dialect's own requests have it.
            let given = Raw::parse(json.as_str().as_bytes()).ok().filter(|_| self.own);
            return match (source, given) {
                (Source::Url(uri), Some(given)) => {
                    writer.key("fileData").object(|writer| {
                        writer.key("mimeType").text(given.text());
                        writer.key("fileUri").string(uri);
                    });
                    Ok(())
                }
                _ => Err(refuse(path, FETCH)),
            };
        }
        let name = name.filter(|_| {
            if !self.native {
                self.losses.hint(format!("{path}.{}", self.file_name()));
            }
            self.native
        });
        match source {
            Source::Base64 { media_type, data } => {
                check_base64(data, path)?;
                write_inline(writer, media_type, data, name);
            }
            Source::Text { media_type, text } => write_inline(writer, media_type, &BASE64.encode(text), name),
            Source::Url(_) => return Err(refuse(path, FETCH)),
            Source::Id(_) => return Err(refuse(path, "the file is with another provider")),
        }
        if let Content::Image { detail: Some(detail), .. } = &part.content {
            match detail.as_str() {
                "auto" => {}
                "low" | "high" => writer.key("mediaResolution").object(|writer| {
                    let level = format!("MEDIA_RESOLUTION_{}", detail.to_ascii_uppercase());
                    writer.key("level").string(&level);
                }),
                _ => self.losses.hint(format!("{path}.{}", self.names.detail())),
            }
        }
        Ok(())
    }

    /// The member that names a file.
    const fn file_name(&self) -> &'static str {
        match self.dialect {
            Some(Dialect::Anthropic) => "title",
            Some(Dialect::OpenAiResponses) => "filename",
            _ => "file.filename",
        }
    }

    /// Judges what is said about a part beside what it is.
    fn judge_marks(&mut self, path: &dyn Fn(&Self) -> String, part: &Part) -> Result<(), Error> {
        if part.cache.is_some() {
            self.losses.hint(format!("{}.{}", path(self), self.names.cache()));
        }
        if !part.citations.is_empty() {
            self.losses.hint(format!("{}.citations", path(self)));
        }
        // Paths are made only where something is to be named.
        if self.own || part.extra.is_empty() {
            return Ok(());
        }
        self.losses.members(&path(self), self.dialect, Level::Part, &part.extra)
    }

    fn path(&self, placed: Placed<'_>) -> String {
        self.names.part(placed.at, placed.place)
    }
}

/// What stands for a tool's answer that is no text; what it is follows among the user's parts.
const MEDIA: &str = "[attached]";

const fn is_call(part: &Part) -> bool {
    matches!(part.content, Content::ToolCall(_))
}

const fn is_result(part: &Part) -> bool {
    matches!(part.content, Content::ToolResult { .. })
}

fn is_sealed(part: &Part) -> bool {
    part.signature.as_ref().is_some_and(|seal| seal.dialect == Dialect::Gemini)
}

/// The parts of a tool's answer that are no text, with their places.
fn media_of(part: &Part) -> impl Iterator<Item = (usize, &Part)> {
    let content = match &part.content {
        Content::ToolResult { content, .. } => &content[..],
        _ => &[],
    };
    content.iter().enumerate().filter(|(_, said)| said.as_text().is_none())
}

fn write_inline(writer: &mut Writer, media_type: &str, data: &str, name: Option<&str>) {
    writer.key("inlineData").object(|writer| {
        writer.key("mimeType").string(media_type);
        writer.key("data").string(data);
        if let Some(name) = name {
            writer.key("displayName").string(name);
        }
    });
}

/// Checks the letters alone: the data may be large, and is the provider's to read.
fn check_base64(data: &str, path: &str) -> Result<(), Error> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    if data.bytes().all(letter) { Ok(()) } else { Err(wrong_value(path, "the data is not base64")) }
}
