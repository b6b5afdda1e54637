//! Requests for `Converse` from what was asked in another dialect, or in none.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{CompletionRequest, Dialect, Error, ResponseFormat, Tool, ToolChoice, ToolKind};

use super::thoughts::{Family, Thoughts};
use super::turn::write_mark;
use crate::wire::anthropic::of_objects;
use crate::wire::json::Writer;
use crate::wire::losses::{Losses, NO_EQUAL, refuse};
use crate::wire::names::{Names, Param};
use crate::wire::turns::Turns;
use crate::wire::{Encoded, Level, Strictness, Target, history};

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
    pub(super) dialect: Option<Dialect>,
    /// Whether it was made here: then its members without a neutral form are the model's.
    pub(super) own: bool,
    pub(super) family: Family,
    /// The marks for caching that are too many, and come first.
    pub(super) skip_marks: usize,
}

/// A tool as it goes out.
pub(super) struct Offered<'a> {
    pub(super) tool: &'a Tool,
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
        self.losses.sampling(self.names, request)?;
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
        if self.own { Ok(()) } else { self.losses.extras(self.names, self.dialect, request) }
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
            if !self.own {
                self.losses.members(&self.names.tool(at), self.dialect, Level::Tool, &tool.extra)?;
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
