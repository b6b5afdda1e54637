//! Requests for `Converse` from what was asked in another dialect, or in none.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use llm_core::{
    CacheMark, CompletionRequest, Content, Dialect, Error, Part, ResponseFormat, Source, Tool, ToolChoice, ToolKind,
};

use super::block::{DOCUMENTS, IMAGES, input, write_call, write_source, write_thought};
use super::thoughts::{Family, Thoughts};
use crate::wire::anthropic::of_objects;
use crate::wire::json::Writer;
use crate::wire::losses::{Losses, fate as fate_of, refuse};
use crate::wire::names::{Names, Param};
use crate::wire::turns::{Placed, Speaker, Turn, Turns};
use crate::wire::{Encoded, Level, Strictness, Target, history, ids};

/// So many places of a prompt can be marked for caching.
const MAX_MARKS: usize = 4;

/// The longest that is the service's usual time for what it caches, in seconds.
const SHORT: u64 = 300;

const NO_EQUAL: &str = "it has no equal in the provider's dialect";

/// Writes `request` for `target`.
pub(super) fn encode_request(
    request: &CompletionRequest,
    target: &Target<'_>,
    strictness: Strictness,
) -> Result<Encoded, Error> {
    let names = Names::of(request);
    history::check(request, &names)?;
    let mut losses = Losses::new(strictness);
    let turns = Turns::of(request, Dialect::Bedrock, false, &names, &mut losses)?;
    let dialect = request.origin.map(|origin| origin.dialect);
    let (own, family) = (dialect.is_none(), Family::of(target.model));
    let mut translation = Translation { request, target, names, losses, dialect, own, family, skip_marks: 0 };
    let body = translation.write(&turns)?;
    Ok(Encoded { body, dropped: translation.losses.into_dropped() })
}

pub(super) struct Translation<'a> {
    pub(super) request: &'a CompletionRequest,
    pub(super) target: &'a Target<'a>,
    pub(super) names: Names<'a>,
    pub(super) losses: Losses,
    /// What the request was read from.
    dialect: Option<Dialect>,
    /// Whether it was made here: then its members without a neutral form are the model's.
    pub(super) own: bool,
    pub(super) family: Family,
    /// The marks for caching that are too many, and come first.
    skip_marks: usize,
}

/// A tool as it goes out.
struct Offered<'a> {
    tool: &'a Tool,
    schema: Cow<'a, str>,
}

/// Which tools are to be called.
#[derive(Clone, Copy)]
enum Choice<'a> {
    Auto,
    Any,
    Tool(&'a str),
}

impl<'a> Translation<'a> {
    fn write(&mut self, turns: &Turns<'a>) -> Result<Bytes, Error> {
        let request = self.request;
        let thoughts = self.thoughts(turns)?;
        let (temperature, top_p) = self.numbers(thoughts)?;
        let top_k = self.top_k()?;
        let stops = self.stops()?;
        let tier = self.tier()?;
        let format = self.format()?;
        let offered = self.offered()?;
        let (tools, choice) = self.choice(offered, thoughts)?;
        self.refused()?;
        self.count_marks(turns, &tools);
        let mut writer = Writer::default();
        let mut result = Ok(());
        writer.object(|writer| {
            // In the order of the prompt, in which marks for caching are counted.
            if !tools.is_empty() {
                writer.key("toolConfig").object(|writer| {
                    writer.key("tools").array(|writer| tools.iter().for_each(|tool| self.tool(writer, tool)));
                    match choice {
                        None => {}
                        Some(Choice::Auto) => {
                            writer.key("toolChoice").object(|writer| writer.key("auto").object(|_| {}))
                        }
                        Some(Choice::Any) => writer.key("toolChoice").object(|writer| writer.key("any").object(|_| {})),
                        Some(Choice::Tool(name)) => writer.key("toolChoice").object(|writer| {
                            writer.key("tool").object(|writer| writer.key("name").string(name));
                        }),
                    }
                });
            }
            if !turns.system.is_empty() {
                writer.key("system").array(|writer| result = self.blocks(writer, &turns.system));
            }
            if result.is_ok() {
                writer.key("messages").array(|writer| {
                    result = turns.turns.iter().try_for_each(|turn| self.turn(writer, turn));
                });
            }
            if request.max_tokens.is_some() || temperature.is_some() || top_p.is_some() || !stops.is_empty() {
                writer.key("inferenceConfig").object(|writer| {
                    if let Some(cap) = request.max_tokens {
                        writer.key("maxTokens").integer(cap);
                    }
                    for (key, number) in [("temperature", temperature), ("topP", top_p)] {
                        if let Some(number) = number {
                            writer.key(key).f64(number);
                        }
                    }
                    if !stops.is_empty() {
                        writer.key("stopSequences").array(|writer| stops.iter().for_each(|text| writer.string(text)));
                    }
                });
            }
            self.additional(writer, thoughts, top_k);
            if let Some(schema) = format {
                writer.key("outputConfig").object(|writer| {
                    writer.key("textFormat").object(|writer| write_format(writer, &schema));
                });
            }
            if let Some(tier) = tier {
                writer.key("serviceTier").object(|writer| writer.key("type").string(tier));
            }
            // Which stop text was written is told only to who asks.
            if !stops.is_empty() && self.family == Family::Claude {
                let path = "additionalModelResponseFieldPaths";
                writer.key(path).array(|writer| writer.string("/stop_sequence"));
            }
        });
        result?;
        Ok(writer.into_bytes())
    }

    /// Judges what has no place here at all.
    fn refused(&mut self) -> Result<(), Error> {
        let request = self.request;
        if request.n.is_some_and(|n| n > 1) {
            return Err(refuse(self.names.param(Param::N), "the provider gives one answer"));
        }
        if request.logprobs == Some(true) {
            return Err(refuse(self.names.param(Param::Logprobs), "the provider does not tell probabilities"));
        }
        if request.top_logprobs.is_some_and(|count| count > 0) {
            return Err(refuse(self.names.param(Param::TopLogprobs), "the provider does not tell probabilities"));
        }
        for (param, penalty) in
            [(Param::PresencePenalty, request.presence_penalty), (Param::FrequencyPenalty, request.frequency_penalty)]
        {
            if penalty.is_some_and(|penalty| penalty != 0.0) {
                self.losses.reject(self.names.param(param), NO_EQUAL)?;
            }
        }
        if request.parallel_tool_calls == Some(false) {
            self.losses.reject(self.names.param(Param::ParallelToolCalls), "the provider's models may call several")?;
        }
        for (param, given) in [
            (Param::Seed, request.seed.is_some()),
            (Param::User, request.user.is_some()),
            (Param::SafetyIdentifier, request.safety_identifier.is_some()),
        ] {
            if given {
                self.losses.hint(self.names.param(param));
            }
        }
        if self.own {
            return Ok(());
        }
        for (name, value) in &request.extra {
            self.losses.extra(name, fate_of(self.dialect, Level::Request, name, value))?;
        }
        for (at, message) in request.messages.iter().enumerate() {
            for (name, value) in &message.extra {
                let path = format!("{}.{name}", self.names.message(at));
                self.losses.extra(path, fate_of(self.dialect, Level::Message, name, value))?;
            }
        }
        Ok(())
    }

    /// Temperature and top p.
    fn numbers(&mut self, thoughts: Thoughts<'_>) -> Result<(Option<f64>, Option<f64>), Error> {
        let (mut temperature, mut top_p) = (self.request.temperature, self.request.top_p);
        let param = self.names.param(Param::Temperature);
        if temperature.is_some_and(|number| number > 1.0) {
            self.losses.reject(param, "the provider takes 0 to 1")?;
            temperature = None;
        }
        if !self.target.capabilities.sampling {
            for (param, number) in [(Param::Temperature, &mut temperature), (Param::TopP, &mut top_p)] {
                if number.take().is_some_and(|number| number != 1.0) {
                    self.losses.reject(self.names.param(param), "the model does not take it")?;
                }
            }
        }
        if matches!(thoughts, Thoughts::Budget(_)) && temperature.take().is_some_and(|number| number != 1.0) {
            self.losses.reject(param, "a model that thinks by a budget takes 1 alone")?;
        }
        Ok((temperature, top_p))
    }

    fn stops(&mut self) -> Result<Vec<&'a str>, Error> {
        let param = self.names.param(Param::Stop);
        let mut stops: Vec<&str> = self.request.stop.iter().map(String::as_str).collect();
        if self.family == Family::Claude
            && let Some(at) = stops.iter().position(|text| text.trim().is_empty())
        {
            self.losses.reject(format!("{param}[{at}]"), "the model does not stop at white space")?;
            stops.retain(|text| !text.trim().is_empty());
        }
        if let Some(most) = self.target.capabilities.max_stops.filter(|most| stops.len() > *most) {
            self.losses.reject(param, &format!("the model takes {most} at most"))?;
            stops.truncate(most);
        }
        Ok(stops)
    }

    fn tier(&mut self) -> Result<Option<&'a str>, Error> {
        match self.request.service_tier.as_deref() {
            None | Some("auto") => Ok(None),
            Some(tier @ ("default" | "flex" | "priority")) => Ok(Some(tier)),
            Some(_) => {
                self.losses.reject(self.names.param(Param::ServiceTier), NO_EQUAL)?;
                Ok(None)
            }
        }
    }

    /// The schema that the answer is to follow, and what it is called.
    fn format(&mut self) -> Result<Option<Schema<'a>>, Error> {
        let param = self.names.param(Param::ResponseFormat);
        match &self.request.response_format {
            None | Some(ResponseFormat::Text) => Ok(None),
            Some(ResponseFormat::JsonSchema { name, description, schema: Some(schema), strict })
                if self.target.capabilities.json_schema =>
            {
                if strict.is_some() && !self.own {
                    self.losses.hint(format!("{}.strict", self.names.schema()));
                }
                Ok(Some(Schema { name, description: description.as_deref(), json: schema.as_str() }))
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

/// A schema for the answer.
struct Schema<'a> {
    name: &'a str,
    description: Option<&'a str>,
    json: &'a str,
}

fn write_format(writer: &mut Writer, schema: &Schema<'_>) {
    writer.key("type").string("json_schema");
    writer.key("structure").object(|writer| {
        writer.key("jsonSchema").object(|writer| {
            // As a text, which is how the service takes it.
            writer.key("schema").string(schema.json);
            if !schema.name.is_empty() {
                writer.key("name").string(schema.name);
            }
            if let Some(description) = schema.description {
                writer.key("description").string(description);
            }
        });
    });
}

/// Tools and which of them are to be called.
impl<'a> Translation<'a> {
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
            if tool.kind != ToolKind::Function {
                return Err(refuse(&self.names.tool_kind(at), "the provider has no such tools"));
            }
            for (name, value) in tool.extra.iter().filter(|_| !self.own) {
                let path = format!("{}.{name}", self.names.tool(at));
                self.losses.extra(path, fate_of(self.dialect, Level::Tool, name, value))?;
            }
            let schema = match &tool.parameters {
                None => Some(Cow::Borrowed(r#"{"type":"object","properties":{}}"#)),
                Some(schema) => of_objects(schema.as_str()),
            };
            match schema {
                Some(schema) => offered.push(Offered { tool, schema }),
                None => self.losses.reject(self.names.parameters(at), "the arguments must be an object")?,
            }
        }
        Ok(offered)
    }

    fn choice(
        &mut self,
        tools: Vec<Offered<'a>>,
        thoughts: Thoughts<'_>,
    ) -> Result<(Vec<Offered<'a>>, Option<Choice<'a>>), Error> {
        let param = self.names.param(Param::ToolChoice);
        let choice = match &self.request.tool_choice {
            None => None,
            Some(ToolChoice::None) if tools.is_empty() => None,
            // There is no such choice: the tools are not offered, unless the conversation has calls of them.
            Some(ToolChoice::None) => {
                let called = self.request.messages.iter().any(|message| message.tool_calls().next().is_some());
                return match called {
                    false => Ok((Vec::new(), None)),
                    true => Err(refuse(param, "the provider's models cannot be told not to call")),
                };
            }
            Some(ToolChoice::Auto | ToolChoice::Allowed { required: false, .. }) => Some(Choice::Auto),
            Some(ToolChoice::Required | ToolChoice::Allowed { required: true, .. }) => Some(Choice::Any),
            Some(ToolChoice::Function(name)) => Some(Choice::Tool(name)),
            Some(_) => return Err(refuse(param, NO_EQUAL)),
        };
        if matches!(choice, Some(Choice::Any | Choice::Tool(_))) && matches!(thoughts, Thoughts::Budget(_)) {
            self.losses.reject(param, "a model that thinks by a budget cannot be made to call a tool")?;
            return Ok((tools, Some(Choice::Auto)));
        }
        Ok((tools, choice))
    }

    fn tool(&mut self, writer: &mut Writer, offered: &Offered<'_>) {
        let tool = offered.tool;
        writer.object(|writer| {
            writer.key("toolSpec").object(|writer| {
                writer.key("name").string(&tool.name);
                if let Some(description) = tool.description.as_ref().filter(|text| !text.is_empty()) {
                    writer.key("description").string(description);
                }
                writer.key("inputSchema").object(|writer| writer.key("json").raw(offered.schema.as_bytes()));
                if tool.strict == Some(true) {
                    writer.key("strict").bool(true);
                }
            });
        });
        let Some(mark) = tool.cache else { return };
        if self.keeps_mark() {
            write_mark(writer, mark);
        } else {
            let at = self.request.tools.iter().position(|other| std::ptr::eq(other, tool)).unwrap_or_default();
            self.losses.hint(format!("{}.{}", self.names.tool(at), self.names.cache()));
        }
    }
}

/// What is said in turn.
impl<'a> Translation<'a> {
    /// Counts the marks for caching in the order of the prompt: tools, instructions, turns.
    fn count_marks(&mut self, turns: &Turns<'_>, tools: &[Offered<'_>]) {
        let parts = turns.system.iter().chain(turns.turns.iter().flat_map(|turn| &turn.parts));
        let marks = tools.iter().filter(|offered| offered.tool.cache.is_some()).count()
            + parts.filter(|placed| placed.part.cache.is_some()).count();
        self.skip_marks = if self.family.caches() { marks.saturating_sub(MAX_MARKS) } else { marks };
    }

    /// Whether the next mark is one of the last that are allowed.
    fn keeps_mark(&mut self) -> bool {
        let skipped = self.skip_marks > 0;
        self.skip_marks -= usize::from(skipped);
        !skipped
    }

    fn turn(&mut self, writer: &mut Writer, turn: &Turn<'a>) -> Result<(), Error> {
        let mut result = Ok(());
        writer.object(|writer| {
            writer.key("role").string(match turn.speaker {
                Speaker::Assistant => "assistant",
                Speaker::User | Speaker::System => "user",
            });
            writer.key("content").array(|writer| result = self.blocks(writer, &turn.parts));
        });
        result
    }

    fn blocks(&mut self, writer: &mut Writer, parts: &[Placed<'a>]) -> Result<(), Error> {
        parts.iter().try_for_each(|placed| {
            let path = self.names.part(placed.at, placed.place);
            self.block(writer, placed, &path)?;
            let Some(mark) = placed.part.cache else { return Ok(()) };
            if self.keeps_mark() {
                write_mark(writer, mark);
            } else {
                self.losses.hint(format!("{path}.{}", self.names.cache()));
            }
            Ok(())
        })
    }

    fn block(&mut self, writer: &mut Writer, placed: &Placed<'a>, path: &str) -> Result<(), Error> {
        let part = placed.part;
        self.beside(part, path)?;
        let mut result = Ok(());
        writer.object(|writer| match &part.content {
            Content::Reasoning(thought) => write_thought(writer, thought, part.signature.as_ref()),
            Content::ToolCall(call) if call.custom => {
                result = Err(refuse(path, "the provider has no tools that take free text"));
            }
            Content::ToolCall(call) => match input(&call.arguments) {
                Some(input) => write_call(writer, &ids::plain(&call.id), &call.name, input),
                None => {
                    let path = self.names.arguments(placed.at, placed.place);
                    result = Err(refuse(&path, "they are no JSON object"));
                }
            },
            Content::ToolResult { call_id, content, is_error } => writer.key("toolResult").object(|writer| {
                writer.key("toolUseId").string(&ids::plain(call_id));
                writer.key("content").array(|writer| {
                    result = content.iter().enumerate().try_for_each(|(inner, part)| {
                        let path = self.names.inner(placed.at, placed.place, inner);
                        self.inner(writer, part, &path, placed.at)
                    });
                });
                if *is_error {
                    writer.key("status").string("error");
                }
            }),
            _ => result = self.shown(writer, part, path, placed.at),
        });
        result
    }

    /// Writes a part of a tool's answer.
    fn inner(&mut self, writer: &mut Writer, part: &'a Part, path: &str, at: usize) -> Result<(), Error> {
        if part.cache.is_some() {
            self.losses.hint(format!("{path}.{}", self.names.cache()));
        }
        self.beside(part, path)?;
        let mut result = Ok(());
        writer.object(|writer| result = self.shown(writer, part, path, at));
        result
    }

    /// Judges what is said about a part beside what it is.
    fn beside(&mut self, part: &Part, path: &str) -> Result<(), Error> {
        if !part.citations.is_empty() {
            self.losses.hint(format!("{path}.citations"));
        }
        let reasoning = matches!(part.content, Content::Reasoning(_));
        if part.signature.is_some() && !reasoning {
            self.losses.hint(format!("{path}.signature"));
        }
        for (name, value) in &part.extra {
            self.losses.extra(format!("{path}.{name}"), fate_of(self.dialect, Level::Part, name, value))?;
        }
        Ok(())
    }

    /// Writes the member of a block that says what may be read or seen.
    fn shown(&mut self, writer: &mut Writer, part: &'a Part, path: &str, at: usize) -> Result<(), Error> {
        match &part.content {
            // The words of a refusal are words.
            Content::Text(text) | Content::Refusal(text) => writer.key("text").string(text),
            Content::Image { source, detail } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.hint(format!("{path}.{}", self.names.detail()));
                }
                match source {
                    Source::Base64 { media_type, data } => {
                        let format = format_of(&IMAGES, media_type);
                        let format =
                            format.ok_or_else(|| refuse(path, "the provider takes jpeg, png, gif and webp"))?;
                        write_source(writer, "image", format, None, data);
                    }
                    _ => return Err(refuse(path, "the provider takes pictures in data URIs of base64 alone")),
                }
            }
            Content::File { source, name } => {
                let (format, data) = match source {
                    Source::Base64 { media_type, data } => {
                        let format = format_of(&DOCUMENTS, media_type);
                        let text = || media_type.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"));
                        let format = format.or_else(|| text().then_some("txt"));
                        let why = "the provider takes PDF, text and office documents";
                        (format.ok_or_else(|| refuse(path, why))?, Cow::Borrowed(data.as_str()))
                    }
                    Source::Text { text, .. } => ("txt", Cow::Owned(BASE64.encode(text))),
                    _ => return Err(refuse(path, "the provider takes documents in data URIs of base64 alone")),
                };
                let name = document_name(name.as_deref(), at);
                write_source(writer, "document", format, Some(&name), &data);
            }
            _ => return Err(refuse(path, "such a part has no equal in the provider's dialect")),
        }
        Ok(())
    }
}

fn write_mark(writer: &mut Writer, mark: CacheMark) {
    writer.object(|writer| {
        writer.key("cachePoint").object(|writer| {
            writer.key("type").string("default");
            if mark.ttl.is_some_and(|ttl| ttl.as_secs() > SHORT) {
                writer.key("ttl").string("1h");
            }
        });
    });
}

fn format_of(formats: &[(&str, &'static str)], media_type: &str) -> Option<&'static str> {
    formats.iter().find(|(known, _)| known.eq_ignore_ascii_case(media_type)).map(|(_, format)| *format)
}

/// The name of a document in a message, with the characters that names may have; one without is called by its message.
fn document_name(name: Option<&str>, at: usize) -> String {
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '(' | ')' | '[' | ']');
    let spaced: String =
        name.unwrap_or_default().chars().map(|character| if allowed(character) { character } else { ' ' }).collect();
    // Of neighbouring spaces one may stand.
    let name: String = spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    if name.is_empty() { format!("document {at}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_documents_name_has_only_what_names_may_have() {
        assert_eq!(document_name(Some("Q3  report (final).pdf"), 2), "Q3 report (final) pdf");
        assert_eq!(document_name(Some("é"), 2), "document 2");
        assert_eq!(document_name(None, 0), "document 0");
    }
}
