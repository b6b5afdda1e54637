//! Chat completion requests.

use bytes::Bytes;
use llm_core::{CompletionRequest, Error, ErrorKind, Json, ModelId, ResponseFormat, Tool, ToolChoice};

use super::envelope::{duplicate, missing, not_json, wrong_type, wrong_value};
use super::message::{keep, only, read_message, string, write_message};
use crate::wire::json::{Kind, Raw, Writer};

/// Whether a stream ends with its usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeUsage {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// A chat completion request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// What is asked.
    pub request: CompletionRequest,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether the stream is to end with its usage.
    pub include_usage: bool,
}

/// Reads a request body. Parameters without a neutral form are kept in `extra`, also `tools` and
/// `response_format` as a whole when something in them has none.
///
/// # Errors
/// `InvalidRequest`, naming the parameter.
pub fn decode_chat_request(body: &[u8]) -> Result<ChatRequest, Error> {
    let raw = read_object(body)?;
    let mut request = CompletionRequest::new("", Vec::new());
    let (mut stream, mut include_usage) = (false, false);
    let (mut cap, mut old_cap) = (None, None);
    let mut seen = Vec::new();
    for (key, value) in raw.members() {
        let name = key.as_ref();
        if let Some(known) = KNOWN.iter().find(|known| **known == name) {
            if seen.contains(known) {
                return Err(duplicate(name));
            }
            seen.push(known);
            if value.is_null() && !matches!(name, "model" | "messages") {
                continue;
            }
        }
        match name {
            "model" => request.model = read_model(value)?,
            "messages" => read_messages(value, &mut request)?,
            "max_completion_tokens" => cap = Some(whole(value, name)?),
            "max_tokens" => old_cap = Some(value),
            "temperature" => request.temperature = Some(number(value, name)?),
            "top_p" => request.top_p = Some(number(value, name)?),
            "presence_penalty" => request.presence_penalty = Some(number(value, name)?),
            "frequency_penalty" => request.frequency_penalty = Some(number(value, name)?),
            "stop" => request.stop = read_stop(value)?,
            "n" => request.n = Some(small(value, name)?),
            "seed" => request.seed = Some(value.i64().ok_or_else(|| not_whole(value, name))?),
            "tools" => match read_tools(value)? {
                Some(tools) => request.tools = tools,
                None => keep(&mut request.extra, name, value),
            },
            "tool_choice" => request.tool_choice = Some(read_tool_choice(value)?),
            "parallel_tool_calls" => request.parallel_tool_calls = Some(boolean(value, name)?),
            "response_format" => match read_format(value)? {
                Some(format) => request.response_format = Some(format),
                None => keep(&mut request.extra, name, value),
            },
            "reasoning_effort" => request.reasoning_effort = Some(string(value, name)?),
            "user" => request.user = Some(string(value, name)?),
            "stream" => stream = boolean(value, name)?,
            "stream_options" => include_usage = read_include_usage(value)?,
            _ => keep(&mut request.extra, name, value),
        }
    }
    require(&seen)?;
    request.max_tokens = match (cap, old_cap) {
        (None, Some(value)) => Some(whole(value, "max_tokens")?),
        (cap, None) => cap,
        (cap, Some(value)) => {
            keep(&mut request.extra, "max_tokens", value);
            cap
        }
    };
    Ok(ChatRequest { request, stream, include_usage: include_usage && stream })
}

/// Writes a request body; `stream` asks for a stream, with or without its usage. The cap on tokens goes out as
/// `max_completion_tokens`.
#[must_use]
pub fn encode_chat_request(request: &CompletionRequest, stream: Option<IncludeUsage>) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("model").string(request.model.as_str());
        writer.key("messages").array(|writer| {
            request.messages.iter().for_each(|message| write_message(writer, message));
        });
        if let Some(cap) = request.max_tokens {
            writer.key("max_completion_tokens").integer(cap);
        }
        for (key, number) in [
            ("temperature", request.temperature),
            ("top_p", request.top_p),
            ("presence_penalty", request.presence_penalty),
            ("frequency_penalty", request.frequency_penalty),
        ] {
            if let Some(number) = number {
                writer.key(key).f64(number);
            }
        }
        if !request.stop.is_empty() {
            writer.key("stop").array(|writer| request.stop.iter().for_each(|text| writer.string(text)));
        }
        if let Some(n) = request.n {
            writer.key("n").integer(n);
        }
        if let Some(seed) = request.seed {
            writer.key("seed").integer(seed);
        }
        write_tools(writer, request);
        if let Some(format) = &request.response_format {
            write_format(writer, format);
        }
        if let Some(effort) = &request.reasoning_effort {
            writer.key("reasoning_effort").string(effort);
        }
        if let Some(user) = &request.user {
            writer.key("user").string(user);
        }
        request.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        if let Some(usage) = stream {
            writer.key("stream").bool(true);
            if usage == IncludeUsage::Yes {
                writer.key("stream_options").object(|writer| writer.key("include_usage").bool(true));
            }
        }
    });
    writer.into_bytes()
}

/// The parameters that have a place of their own.
const KNOWN: [&str; 19] = [
    "model",
    "messages",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "n",
    "seed",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "user",
    "stream",
    "stream_options",
];

/// The object that a request body is.
pub(super) fn read_object(body: &[u8]) -> Result<Raw<'_>, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    match raw.kind() {
        Kind::Object => Ok(raw),
        kind => {
            let message = format!("the body must be a JSON object, not {}", kind.name());
            Err(Error::new(ErrorKind::InvalidRequest, message))
        }
    }
}

pub(super) fn read_model(raw: Raw<'_>) -> Result<ModelId, Error> {
    let model = string(raw, "model")?;
    if model.is_empty() {
        return Err(wrong_value("model", "it must not be empty"));
    }
    Ok(ModelId::from(model))
}

fn require(seen: &[&str]) -> Result<(), Error> {
    match ["model", "messages"].into_iter().find(|param| !seen.contains(param)) {
        Some(param) => Err(missing(param)),
        None => Ok(()),
    }
}

fn read_messages(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("messages", "an array of objects", raw.kind()));
    }
    for (at, message) in raw.items().enumerate() {
        request.messages.push(read_message(message, &format!("messages[{at}]"))?);
    }
    if request.messages.is_empty() {
        return Err(wrong_value("messages", "it must hold at least one message"));
    }
    Ok(())
}

pub(super) fn whole(raw: Raw<'_>, param: &str) -> Result<u64, Error> {
    raw.u64().ok_or_else(|| not_whole(raw, param))
}

pub(super) fn small(raw: Raw<'_>, param: &str) -> Result<u32, Error> {
    u32::try_from(whole(raw, param)?).map_err(|_| wrong_value(param, "it is too large"))
}

fn not_whole(raw: Raw<'_>, param: &str) -> Error {
    match raw.kind() {
        Kind::Number => wrong_value(param, "it is no whole number in range"),
        kind => wrong_type(param, "a whole number", kind),
    }
}

fn number(raw: Raw<'_>, param: &str) -> Result<f64, Error> {
    raw.f64().ok_or_else(|| match raw.kind() {
        Kind::Number => wrong_value(param, "it is out of range"),
        kind => wrong_type(param, "a number", kind),
    })
}

fn boolean(raw: Raw<'_>, param: &str) -> Result<bool, Error> {
    raw.bool().ok_or_else(|| wrong_type(param, "a boolean", raw.kind()))
}

fn read_stop(raw: Raw<'_>) -> Result<Vec<String>, Error> {
    match raw.kind() {
        Kind::String => Ok(vec![string(raw, "stop")?]),
        Kind::Array => raw.items().enumerate().map(|(at, text)| string(text, &format!("stop[{at}]"))).collect(),
        kind => Err(wrong_type("stop", "a string or an array of strings", kind)),
    }
}

fn read_include_usage(raw: Raw<'_>) -> Result<bool, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("stream_options", "an object", raw.kind()));
    }
    let mut values = raw.members().filter(|(key, _)| key == "include_usage").map(|(_, value)| value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(duplicate("stream_options.include_usage")),
        (Some(value), None) if !value.is_null() => boolean(value, "stream_options.include_usage"),
        _ => Ok(false),
    }
}

/// `None` if something has no neutral form: tools of other kinds, members that nobody here knows.
fn read_tools(raw: Raw<'_>) -> Result<Option<Vec<Tool>>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("tools", "an array", raw.kind()));
    }
    let mut tools = Vec::new();
    for (at, tool) in raw.items().enumerate() {
        if tool.kind() != Kind::Object {
            return Err(wrong_type(&format!("tools[{at}]"), "an object", tool.kind()));
        }
        match read_tool(tool) {
            Some(tool) => tools.push(tool),
            None => return Ok(None),
        }
    }
    Ok(Some(tools))
}

fn read_tool(raw: Raw<'_>) -> Option<Tool> {
    let function =
        raw.member("function").filter(|_| raw.member("type").is_some_and(|kind| kind.text() == "\"function\""))?;
    only(raw, &["type", "function"])?;
    only(function, &["name", "description", "parameters", "strict"])?;
    Some(Tool {
        name: function.member("name")?.exact_string()?.into_owned(),
        description: optional_text(function, "description")?,
        parameters: function.member("parameters").map(Raw::json),
        strict: optional_bool(function, "strict")?,
    })
}

/// The member's text; the outer `None` if it is something else.
fn optional_text(raw: Raw<'_>, name: &str) -> Option<Option<String>> {
    match raw.member(name) {
        Some(value) => value.exact_string().map(|text| Some(text.into_owned())),
        None => Some(None),
    }
}

fn optional_bool(raw: Raw<'_>, name: &str) -> Option<Option<bool>> {
    match raw.member(name) {
        Some(value) => value.bool().map(Some),
        None => Some(None),
    }
}

fn read_tool_choice(raw: Raw<'_>) -> Result<ToolChoice, Error> {
    Ok(match (raw.kind(), raw.text()) {
        (Kind::String, "\"none\"") => ToolChoice::None,
        (Kind::String, "\"auto\"") => ToolChoice::Auto,
        (Kind::String, "\"required\"") => ToolChoice::Required,
        (Kind::String, _) => ToolChoice::Other(raw.json()),
        (Kind::Object, _) => named_tool(raw).map_or_else(|| ToolChoice::Other(raw.json()), ToolChoice::Function),
        (kind, _) => return Err(wrong_type("tool_choice", "a string or an object", kind)),
    })
}

fn named_tool(raw: Raw<'_>) -> Option<String> {
    let function =
        raw.member("function").filter(|_| raw.member("type").is_some_and(|kind| kind.text() == "\"function\""))?;
    only(raw, &["type", "function"])?;
    only(function, &["name"])?;
    Some(function.member("name")?.exact_string()?.into_owned())
}

/// `None` if it has no neutral form.
fn read_format(raw: Raw<'_>) -> Result<Option<ResponseFormat>, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("response_format", "an object", raw.kind()));
    }
    let kind = raw.member("type").and_then(Raw::exact_string).unwrap_or_default();
    Ok(match kind.as_ref() {
        "text" => only(raw, &["type"]).map(|()| ResponseFormat::Text),
        "json_object" => only(raw, &["type"]).map(|()| ResponseFormat::JsonObject),
        "json_schema" => read_schema(raw),
        _ => None,
    })
}

fn read_schema(raw: Raw<'_>) -> Option<ResponseFormat> {
    let schema = raw.member("json_schema")?;
    only(raw, &["type", "json_schema"])?;
    only(schema, &["name", "description", "schema", "strict"])?;
    Some(ResponseFormat::JsonSchema {
        name: schema.member("name")?.exact_string()?.into_owned(),
        description: optional_text(schema, "description")?,
        schema: schema.member("schema").map(Raw::json),
        strict: optional_bool(schema, "strict")?,
    })
}

fn write_tools(writer: &mut Writer, request: &CompletionRequest) {
    if !request.tools.is_empty() {
        writer.key("tools").array(|writer| request.tools.iter().for_each(|tool| write_tool(writer, tool)));
    }
    match &request.tool_choice {
        None => {}
        Some(ToolChoice::None) => writer.key("tool_choice").string("none"),
        Some(ToolChoice::Required) => writer.key("tool_choice").string("required"),
        Some(ToolChoice::Function(name)) => writer.key("tool_choice").object(|writer| {
            writer.key("type").string("function");
            writer.key("function").object(|writer| writer.key("name").string(name));
        }),
        Some(ToolChoice::Other(choice)) => writer.key("tool_choice").json(choice),
        Some(_) => writer.key("tool_choice").string("auto"),
    }
    if let Some(parallel) = request.parallel_tool_calls {
        writer.key("parallel_tool_calls").bool(parallel);
    }
}

fn write_tool(writer: &mut Writer, tool: &Tool) {
    writer.object(|writer| {
        writer.key("type").string("function");
        writer.key("function").object(|writer| {
            writer.key("name").string(&tool.name);
            write_described(writer, tool.description.as_deref(), "parameters", tool.parameters.as_ref(), tool.strict);
        });
    });
}

fn write_format(writer: &mut Writer, format: &ResponseFormat) {
    writer.key("response_format").object(|writer| match format {
        ResponseFormat::Text => writer.key("type").string("text"),
        ResponseFormat::JsonObject => writer.key("type").string("json_object"),
        ResponseFormat::JsonSchema { name, description, schema, strict } => {
            writer.key("type").string("json_schema");
            writer.key("json_schema").object(|writer| {
                writer.key("name").string(name);
                write_described(writer, description.as_deref(), "schema", schema.as_ref(), *strict);
            });
        }
    });
}

fn write_described(
    writer: &mut Writer,
    description: Option<&str>,
    key: &str,
    schema: Option<&Json>,
    strict: Option<bool>,
) {
    if let Some(description) = description {
        writer.key("description").string(description);
    }
    if let Some(schema) = schema {
        writer.key(key).json(schema);
    }
    if let Some(strict) = strict {
        writer.key("strict").bool(strict);
    }
}
