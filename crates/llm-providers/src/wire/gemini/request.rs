//! Requests for content, read.

use llm_core::{
    CompletionRequest, Content, Dialect, Error, Json, Message, ModelId, Origin, Part, ResponseFormat, Role, Thinking,
    Tool, ToolChoice, ToolKind,
};

use super::member::{member, members, only, signed, small, whole};
use super::part::{PartReader, check_role};
use super::schema::from_openapi;
use crate::wire::DecodedRequest;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::{self, Seen, boolean, duplicate, keep, missing, number, string, wrong_type, wrong_value};

/// What the ids of calls begin with that have none.
pub(super) const CALL: &str = "call_";

/// Reads a request body. Parameters without a neutral form are kept in `extra`, those of `generationConfig` and of
/// `toolConfig` under their whole path.
pub(super) fn decode_request(body: &[u8]) -> Result<DecodedRequest, Error> {
    let request = read_request(read::object(body)?)?;
    Ok(DecodedRequest { request, stream: false, include_usage: true })
}

/// Reads a question for the number of tokens: of contents alone, or of a whole request.
pub(super) fn decode_count_request(body: &[u8]) -> Result<CompletionRequest, Error> {
    const WHOLE: &str = "generateContentRequest";
    let raw = read::object(body)?;
    match member(raw, WHOLE) {
        Some(_) if only(raw, &[WHOLE, "model"]).is_none() => {
            Err(wrong_value(WHOLE, "it must not stand beside contents"))
        }
        Some(inner) if inner.kind() != Kind::Object => Err(wrong_type(WHOLE, "an object", inner.kind())),
        Some(inner) => read_request(inner),
        None => read_request(raw),
    }
}

/// The parameters that have a place of their own.
const KNOWN: [&str; 7] =
    ["model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier"];

fn read_request(raw: Raw<'_>) -> Result<CompletionRequest, Error> {
    let mut request = CompletionRequest::new("", Vec::new());
    let (mut system, mut choice, mut seen) = (None, None, Seen::default());
    for (key, value) in members(raw) {
        let name = key.as_ref();
        seen.note(&KNOWN, name)?;
        if value.is_null() {
            continue;
        }
        match name {
            "model" => {
                let model = string(value, name)?;
                request.model = ModelId::from(model.strip_prefix("models/").unwrap_or(&model).to_owned());
            }
            "contents" => request.messages = read_contents(value)?,
            "systemInstruction" => system = Some(read_system(value)?),
            "tools" => request.tools = read_tools(value)?,
            "toolConfig" => choice = read_tool_config(value, &mut request)?,
            "generationConfig" => read_config(value, &mut request)?,
            "serviceTier" => match string(value, name)?.to_ascii_lowercase().as_str() {
                "standard" => request.service_tier = Some("default".to_owned()),
                tier @ ("flex" | "priority") => request.service_tier = Some(tier.to_owned()),
                "unspecified" | "service_tier_unspecified" => {}
                _ => keep(&mut request.extra, name, value),
            },
            _ => keep(&mut request.extra, name, value),
        }
    }
    if request.messages.is_empty() {
        return Err(missing("contents"));
    }
    request.tool_choice = choice.map(|choice| choice.among(&request.tools));
    let leading = system.is_some();
    request.messages.splice(0..0, system);
    request.origin = Some(Origin { dialect: Dialect::Gemini, leading });
    Ok(request)
}

fn read_contents(raw: Raw<'_>) -> Result<Vec<Message>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("contents", "an array of objects", raw.kind()));
    }
    let mut reader = PartReader::new(CALL.to_owned());
    let read = |(at, content)| read_content(content, &format!("contents[{at}]"), &mut reader);
    let messages: Vec<_> = raw.items().enumerate().map(read).collect::<Result<_, _>>()?;
    if messages.is_empty() {
        return Err(wrong_value("contents", "it must hold at least one content"));
    }
    Ok(messages)
}

fn read_content(raw: Raw<'_>, path: &str, reader: &mut PartReader) -> Result<Message, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let role = match member(raw, "role").map(|role| string(role, &format!("{path}.role"))).transpose()?.as_deref() {
        None | Some("user" | "function" | "") => Role::User,
        Some("model") => Role::Assistant,
        Some(other) => return Err(wrong_value(&format!("{path}.role"), &format!("'{other}' is not supported"))),
    };
    let mut message = Message::new(role, Vec::new());
    for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "role" => {}
            "parts" => message.parts = read_parts(value, path, reader)?,
            _ => keep(&mut message.extra, &key, value),
        }
    }
    for (at, part) in message.parts.iter().enumerate() {
        check_role(part, role == Role::Assistant, &format!("{path}.parts[{at}]"))?;
    }
    let is_result = |part: &Part| matches!(part.content, Content::ToolResult { .. });
    if !message.parts.is_empty() && message.parts.iter().all(is_result) {
        message.role = Role::Tool;
    }
    Ok(message)
}

fn read_parts(raw: Raw<'_>, path: &str, reader: &mut PartReader) -> Result<Vec<Part>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type(&format!("{path}.parts"), "an array of objects", raw.kind()));
    }
    raw.items().enumerate().map(|(at, part)| reader.read(part, &format!("{path}.parts[{at}]"))).collect()
}

/// The instructions. A role that clients give them says nothing.
fn read_system(raw: Raw<'_>) -> Result<Message, Error> {
    const PATH: &str = "systemInstruction";
    if raw.kind() != Kind::Object {
        return Err(wrong_type(PATH, "an object", raw.kind()));
    }
    let mut message = Message::new(Role::System, Vec::new());
    for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "role" => {}
            "parts" => message.parts = read_parts(value, PATH, &mut PartReader::new(CALL.to_owned()))?,
            _ => keep(&mut message.extra, &key, value),
        }
    }
    for (at, part) in message.parts.iter().enumerate() {
        check_role(part, false, &format!("{PATH}.parts[{at}]"))?;
    }
    Ok(message)
}

fn read_tools(raw: Raw<'_>) -> Result<Vec<Tool>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("tools", "an array of objects", raw.kind()));
    }
    let mut tools = Vec::new();
    for (at, group) in raw.items().enumerate() {
        if group.kind() != Kind::Object {
            return Err(wrong_type(&format!("tools[{at}]"), "an object", group.kind()));
        }
        for (key, value) in members(group).filter(|(_, value)| !value.is_null()) {
            if key != "functionDeclarations" {
                tools.push(native(&key, value));
                continue;
            }
            let path = format!("tools[{at}].functionDeclarations");
            if value.kind() != Kind::Array {
                return Err(wrong_type(&path, "an array of objects", value.kind()));
            }
            for (place, function) in value.items().enumerate() {
                tools.push(read_function(function, &format!("{path}[{place}]"))?);
            }
        }
    }
    Ok(tools)
}

/// A tool that the provider runs.
fn native(key: &str, value: Raw<'_>) -> Tool {
    let mut writer = Writer::default();
    writer.object(|writer| writer.key(key).text(value.text()));
    let text = String::from_utf8(writer.into_bytes().to_vec()).expect("it is made of JSON texts");
    Tool::native(Json::parse(text).expect("it is made of JSON texts"))
}

fn read_function(raw: Raw<'_>, path: &str) -> Result<Tool, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let name = member(raw, "name").ok_or_else(|| missing(&format!("{path}.name")))?;
    let mut tool = Tool::function(string(name, &format!("{path}.name"))?, None, None);
    for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
        let at = format!("{path}.{key}");
        match key.as_ref() {
            "name" => {}
            "description" => tool.description = Some(string(value, &at)?),
            "parameters" | "parametersJsonSchema" if tool.parameters.is_some() => {
                return Err(wrong_value(&at, "there are two schemas"));
            }
            "parameters" => tool.parameters = Some(from_openapi(value)),
            "parametersJsonSchema" => tool.parameters = Some(value.json()),
            _ => keep(&mut tool.extra, &key, value),
        }
    }
    Ok(tool)
}

/// A choice that may depend on which functions there are.
enum Choice {
    Known(ToolChoice),
    /// Any of the functions or none, by their schemas to the letter.
    Validated,
}

impl Choice {
    fn among(self, tools: &[Tool]) -> ToolChoice {
        let functions = tools.iter().filter(|tool| tool.kind == ToolKind::Function);
        let names: Vec<_> = functions.map(|tool| tool.name.clone()).collect();
        match self {
            Self::Known(choice) => choice,
            Self::Validated if names.is_empty() => ToolChoice::Auto,
            Self::Validated => ToolChoice::Allowed { required: false, tools: names },
        }
    }
}

fn read_tool_config(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<Option<Choice>, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("toolConfig", "an object", raw.kind()));
    }
    let mut choice = None;
    for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "functionCallingConfig" => choice = read_choice(value)?,
            _ => keep(&mut request.extra, &format!("toolConfig.{key}"), value),
        }
    }
    Ok(choice)
}

fn read_choice(raw: Raw<'_>) -> Result<Option<Choice>, Error> {
    const PATH: &str = "toolConfig.functionCallingConfig";
    if raw.kind() != Kind::Object {
        return Err(wrong_type(PATH, "an object", raw.kind()));
    }
    let mode = member(raw, "mode").map(|mode| string(mode, &format!("{PATH}.mode"))).transpose()?;
    let path = format!("{PATH}.allowedFunctionNames");
    let mut names = match member(raw, "allowedFunctionNames") {
        Some(names) if names.kind() != Kind::Array => return Err(wrong_type(&path, "an array", names.kind())),
        names => {
            names.into_iter().flat_map(Raw::items).map(|name| string(name, &path)).collect::<Result<Vec<_>, _>>()?
        }
    };
    let known = only(raw, &["mode", "allowedFunctionNames"]).is_some();
    Ok(Some(match (mode.as_deref().map(str::to_ascii_uppercase).as_deref(), names.len()) {
        _ if !known => Choice::Known(ToolChoice::Other(raw.json())),
        (None | Some("MODE_UNSPECIFIED"), 0) => return Ok(None),
        (Some("AUTO"), 0) => Choice::Known(ToolChoice::Auto),
        (Some("NONE"), _) => Choice::Known(ToolChoice::None),
        (Some("ANY"), 0) => Choice::Known(ToolChoice::Required),
        (Some("ANY"), 1) => Choice::Known(ToolChoice::Function(names.remove(0))),
        (Some("ANY"), _) => Choice::Known(ToolChoice::Allowed { required: true, tools: names }),
        (Some("VALIDATED"), 0) => Choice::Validated,
        (Some("VALIDATED"), _) => Choice::Known(ToolChoice::Allowed { required: false, tools: names }),
        _ => Choice::Known(ToolChoice::Other(raw.json())),
    }))
}

/// The parameters of `generationConfig` that must not be there twice.
const CONFIG: [&str; 16] = [
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "maxOutputTokens",
    "stopSequences",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
];

fn read_config(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("generationConfig", "an object", raw.kind()));
    }
    let (mut media_type, mut schema, mut seen) = (None, None, Seen::default());
    for (key, value) in members(raw) {
        let path = format!("generationConfig.{key}");
        seen.note(&CONFIG, &key).map_err(|_| duplicate(&path))?;
        if value.is_null() {
            continue;
        }
        match key.as_ref() {
            "temperature" => request.temperature = Some(number(value, &path)?),
            "topP" => request.top_p = Some(number(value, &path)?),
            "topK" => request.top_k = Some(whole(value, &path)?),
            "candidateCount" => request.n = Some(small(value, &path)?),
            "maxOutputTokens" => request.max_tokens = Some(whole(value, &path)?),
            "stopSequences" if value.kind() != Kind::Array => {
                return Err(wrong_type(&path, "an array of strings", value.kind()));
            }
            "stopSequences" => {
                let read = |(at, text)| string(text, &format!("{path}[{at}]"));
                request.stop = value.items().enumerate().map(read).collect::<Result<_, _>>()?;
            }
            "seed" => request.seed = Some(signed(value, &path)?),
            "presencePenalty" => request.presence_penalty = Some(number(value, &path)?),
            "frequencyPenalty" => request.frequency_penalty = Some(number(value, &path)?),
            "responseLogprobs" => request.logprobs = Some(boolean(value, &path)?),
            "logprobs" => request.top_logprobs = Some(small(value, &path)?),
            "responseMimeType" => media_type = Some((string(value, &path)?, value)),
            "responseSchema" | "responseJsonSchema" if schema.is_some() => {
                return Err(wrong_value(&path, "there are two schemas"));
            }
            "responseSchema" => schema = Some(from_openapi(value)),
            "responseJsonSchema" => schema = Some(value.json()),
            "thinkingConfig" => read_thinking(value, request)?,
            _ => keep(&mut request.extra, &path, value),
        }
    }
    request.response_format = match (media_type, schema) {
        // The name stands only in other dialects, which cannot do without.
        (_, Some(schema)) => Some(ResponseFormat::JsonSchema {
            name: "response".to_owned(),
            description: None,
            schema: Some(schema),
            strict: Some(true),
        }),
        (Some((name, _)), None) if name == "application/json" => Some(ResponseFormat::JsonObject),
        (Some((name, _)), None) if name == "text/plain" => Some(ResponseFormat::Text),
        (Some((_, value)), None) => {
            keep(&mut request.extra, "generationConfig.responseMimeType", value);
            None
        }
        (None, None) => None,
    };
    Ok(())
}

fn read_thinking(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    const PATH: &str = "generationConfig.thinkingConfig";
    if raw.kind() != Kind::Object {
        return Err(wrong_type(PATH, "an object", raw.kind()));
    }
    for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
        let path = format!("{PATH}.{key}");
        match key.as_ref() {
            "includeThoughts" => request.show_thoughts = Some(boolean(value, &path)?),
            "thinkingBudget" => {
                request.thinking = Some(match signed(value, &path)? {
                    0 => Thinking::Off,
                    -1 => Thinking::Adaptive,
                    tokens => {
                        Thinking::Budget(u64::try_from(tokens).map_err(|_| wrong_value(&path, "it is negative"))?)
                    }
                });
            }
            "thinkingLevel" => {
                let word = string(value, &path)?.to_ascii_lowercase();
                match word.as_str() {
                    "minimal" | "low" | "medium" | "high" | "xhigh" => request.reasoning_effort = Some(word),
                    "thinking_level_unspecified" => {}
                    _ => keep(&mut request.extra, &path, value),
                }
            }
            _ => keep(&mut request.extra, &path, value),
        }
    }
    if request.thinking.is_some() && request.reasoning_effort.is_some() {
        return Err(wrong_value(PATH, "a budget and a level exclude each other"));
    }
    Ok(())
}
