//! Chat completion requests.

use bytes::Bytes;
use llm_core::{CompletionRequest, Dialect, Error, Json, Origin, ResponseFormat, Tool, ToolChoice, ToolKind};

use super::message::{read_message, write_message};
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::{
    self, Seen, boolean, duplicate, keep, not_whole, number, only, small, string, whole, wrong_type, wrong_value,
};
use crate::wire::{DecodedRequest, MaxTokensField};

/// Whether a stream ends with its usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeUsage {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Reads a request body. Parameters without a neutral form are kept in `extra`, also `response_format` as a whole when
/// something in it has none.
///
/// # Errors
/// `InvalidRequest`, naming the parameter.
pub fn decode_chat_request(body: &[u8]) -> Result<DecodedRequest, Error> {
    let raw = read::object(body)?;
    let mut request = CompletionRequest::new("", Vec::new());
    let (mut stream, mut include_usage) = (false, false);
    let (mut cap, mut old_cap) = (None, None);
    let mut seen = Seen::default();
    for (key, value) in raw.members() {
        let name = key.as_ref();
        seen.note(&KNOWN, name)?;
        if value.is_null() && KNOWN[2..].contains(&name) {
            continue;
        }
        match name {
            "model" => request.model = read::model(value)?,
            "messages" => read_messages(value, &mut request)?,
            "max_completion_tokens" => cap = Some(whole(value, name)?),
            "max_tokens" => old_cap = Some(value),
            "temperature" => request.temperature = Some(number(value, name)?),
            "top_p" => request.top_p = Some(number(value, name)?),
            // Not OpenAI's; others take −1 for all.
            "top_k" if value.u64().is_some() => request.top_k = value.u64(),
            "presence_penalty" => request.presence_penalty = Some(number(value, name)?),
            "frequency_penalty" => request.frequency_penalty = Some(number(value, name)?),
            "stop" => request.stop = read_stop(value)?,
            "n" => request.n = Some(small(value, name)?),
            "seed" => request.seed = Some(value.i64().ok_or_else(|| not_whole(value, name))?),
            "tools" => request.tools = read_tools(value)?,
            "tool_choice" => request.tool_choice = Some(read_tool_choice(value)?),
            "parallel_tool_calls" => request.parallel_tool_calls = Some(boolean(value, name)?),
            "response_format" => match read_format(value)? {
                Some(format) => request.response_format = Some(format),
                None => keep(&mut request.extra, name, value),
            },
            "reasoning_effort" => request.reasoning_effort = Some(string(value, name)?),
            "logprobs" => request.logprobs = Some(boolean(value, name)?),
            "top_logprobs" => request.top_logprobs = Some(small(value, name)?),
            "service_tier" => request.service_tier = Some(string(value, name)?),
            "safety_identifier" => request.safety_identifier = Some(string(value, name)?),
            "user" => request.user = Some(string(value, name)?),
            "stream" => stream = boolean(value, name)?,
            "stream_options" => include_usage = read_include_usage(value)?,
            _ => keep(&mut request.extra, name, value),
        }
    }
    KNOWN[..2].iter().try_for_each(|needed| seen.require(&KNOWN, needed))?;
    request.max_tokens = match (cap, old_cap) {
        (None, Some(value)) => Some(whole(value, "max_tokens")?),
        (cap, None) => cap,
        (cap, Some(value)) => {
            keep(&mut request.extra, "max_tokens", value);
            cap
        }
    };
    request.origin = Some(Origin { dialect: Dialect::OpenAi, leading: false });
    Ok(DecodedRequest { request, stream, include_usage: include_usage && stream })
}

/// Writes a request body; `stream` asks for a stream, with or without its usage. The cap on tokens goes out as
/// `max_completion_tokens`. Nothing is judged: what is said in another dialect goes out as it is.
#[must_use]
pub fn encode_chat_request(request: &CompletionRequest, stream: Option<IncludeUsage>) -> Bytes {
    write_request(request, request.model.as_str(), MaxTokensField::MaxCompletionTokens, stream)
}

/// Writes a request for `model` as it is.
pub(super) fn write_request(
    request: &CompletionRequest,
    model: &str,
    cap_field: MaxTokensField,
    stream: Option<IncludeUsage>,
) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("model").string(model);
        writer.key("messages").array(|writer| {
            request.messages.iter().for_each(|message| write_message(writer, message));
        });
        write_parameters(writer, &Parameters::of(request), cap_field);
        write_tools(writer, request);
        if let Some(format) = &request.response_format {
            write_format(writer, format);
        }
        for (key, text) in [
            ("reasoning_effort", &request.reasoning_effort),
            ("service_tier", &request.service_tier),
            ("safety_identifier", &request.safety_identifier),
            ("user", &request.user),
        ] {
            if let Some(text) = text {
                writer.key(key).string(text);
            }
        }
        request.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        write_stream(writer, stream);
    });
    writer.into_bytes()
}

/// What is said in numbers and stop texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters<'a> {
    pub(super) max_tokens: Option<u64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_k: Option<u64>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) stop: &'a [String],
    pub(super) n: Option<u32>,
    pub(super) seed: Option<i64>,
    pub(super) logprobs: Option<bool>,
    pub(super) top_logprobs: Option<u32>,
}

impl<'a> Parameters<'a> {
    pub(super) fn of(request: &'a CompletionRequest) -> Self {
        Self {
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            presence_penalty: request.presence_penalty,
            frequency_penalty: request.frequency_penalty,
            stop: &request.stop,
            n: request.n,
            seed: request.seed,
            logprobs: request.logprobs,
            top_logprobs: request.top_logprobs,
        }
    }
}

pub(super) fn write_parameters(writer: &mut Writer, request: &Parameters<'_>, cap_field: MaxTokensField) {
    if let Some(cap) = request.max_tokens {
        let field = match cap_field {
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
            MaxTokensField::MaxTokens => "max_tokens",
        };
        writer.key(field).integer(cap);
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
    if let Some(top_k) = request.top_k {
        writer.key("top_k").integer(top_k);
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
    if let Some(wanted) = request.logprobs {
        writer.key("logprobs").bool(wanted);
    }
    if let Some(count) = request.top_logprobs {
        writer.key("top_logprobs").integer(count);
    }
}

pub(super) fn write_stream(writer: &mut Writer, stream: Option<IncludeUsage>) {
    if let Some(usage) = stream {
        writer.key("stream").bool(true);
        if usage == IncludeUsage::Yes {
            writer.key("stream_options").object(|writer| writer.key("include_usage").bool(true));
        }
    }
}

/// The parameters that have a place of their own; the first two must be there.
const KNOWN: [&str; 24] = [
    "model",
    "messages",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "n",
    "seed",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "service_tier",
    "safety_identifier",
    "user",
    "stream",
    "stream_options",
];

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

fn read_tools(raw: Raw<'_>) -> Result<Vec<Tool>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("tools", "an array", raw.kind()));
    }
    let read = |(at, tool): (usize, Raw<'_>)| match tool.kind() {
        Kind::Object => Ok(read_tool(tool).unwrap_or_else(|| Tool::native(tool.json()))),
        kind => Err(wrong_type(&format!("tools[{at}]"), "an object", kind)),
    };
    raw.items().enumerate().map(read).collect()
}

/// `None` if something has no neutral form: tools of other kinds, members within that nobody here knows.
fn read_tool(raw: Raw<'_>) -> Option<Tool> {
    let kind = raw.member("type")?.exact_string()?;
    let body = raw.member(&kind)?;
    let name = body.member("name")?.exact_string()?.into_owned();
    let description = optional_text(body, "description")?;
    let mut tool = match kind.as_ref() {
        "function" => {
            only(body, &["name", "description", "parameters", "strict"])?;
            let parameters = body.member("parameters").map(Raw::json);
            Tool { strict: optional_bool(body, "strict")?, ..Tool::function(name, description, parameters) }
        }
        "custom" => {
            only(body, &["name", "description", "format"])?;
            let kind = ToolKind::Custom { format: body.member("format").map(Raw::json) };
            Tool { kind, ..Tool::function(name, description, None) }
        }
        _ => return None,
    };
    for (key, value) in raw.members().filter(|(key, value)| key != "type" && *key != kind && !value.is_null()) {
        keep(&mut tool.extra, &key, value);
    }
    Some(tool)
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
        (Kind::Object, _) => {
            named_tool(raw).or_else(|| allowed_tools(raw)).unwrap_or_else(|| ToolChoice::Other(raw.json()))
        }
        (kind, _) => return Err(wrong_type("tool_choice", "a string or an object", kind)),
    })
}

fn named_tool(raw: Raw<'_>) -> Option<ToolChoice> {
    named_function(raw).map(ToolChoice::Function)
}

/// The name in `{"type":"function","function":{"name":…}}`.
fn named_function(raw: Raw<'_>) -> Option<String> {
    let function =
        raw.member("function").filter(|_| raw.member("type").is_some_and(|kind| kind.text() == "\"function\""))?;
    only(raw, &["type", "function"])?;
    only(function, &["name"])?;
    Some(function.member("name")?.exact_string()?.into_owned())
}

fn allowed_tools(raw: Raw<'_>) -> Option<ToolChoice> {
    raw.member("type").filter(|kind| kind.text() == "\"allowed_tools\"")?;
    let allowed = raw.member("allowed_tools")?;
    only(raw, &["type", "allowed_tools"])?;
    only(allowed, &["mode", "tools"])?;
    let required = match allowed.member("mode")?.text() {
        "\"auto\"" => false,
        "\"required\"" => true,
        _ => return None,
    };
    let tools = allowed.member("tools").filter(|tools| tools.kind() == Kind::Array)?;
    Some(ToolChoice::Allowed { required, tools: tools.items().map(named_function).collect::<Option<_>>()? })
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

pub(super) fn write_tools(writer: &mut Writer, request: &CompletionRequest) {
    if !request.tools.is_empty() {
        writer.key("tools").array(|writer| request.tools.iter().for_each(|tool| write_tool(writer, tool, false)));
    }
    if let Some(choice) = &request.tool_choice {
        write_tool_choice(writer, choice);
    }
    if let Some(parallel) = request.parallel_tool_calls {
        writer.key("parallel_tool_calls").bool(parallel);
    }
}

pub(super) fn write_tool_choice(writer: &mut Writer, choice: &ToolChoice) {
    let name = |writer: &mut Writer, name: &str| {
        writer.object(|writer| {
            writer.key("type").string("function");
            writer.key("function").object(|writer| writer.key("name").string(name));
        });
    };
    writer.key("tool_choice");
    match choice {
        ToolChoice::None => writer.string("none"),
        ToolChoice::Required => writer.string("required"),
        ToolChoice::Function(function) => name(writer, function),
        ToolChoice::Allowed { required, tools } => writer.object(|writer| {
            writer.key("type").string("allowed_tools");
            writer.key("allowed_tools").object(|writer| {
                writer.key("mode").string(if *required { "required" } else { "auto" });
                writer.key("tools").array(|writer| tools.iter().for_each(|tool| name(writer, tool)));
            });
        }),
        ToolChoice::Other(choice) => writer.json(choice),
        _ => writer.string("auto"),
    }
}

/// Writes a tool; if `plain`, without what only its dialect knows.
pub(super) fn write_tool(writer: &mut Writer, tool: &Tool, plain: bool) {
    if let ToolKind::Native(json) = &tool.kind {
        return writer.json(json);
    }
    let custom = match &tool.kind {
        ToolKind::Custom { format } => Some(format),
        _ => None,
    };
    let kind = if custom.is_some() { "custom" } else { "function" };
    writer.object(|writer| {
        writer.key("type").string(kind);
        writer.key(kind).object(|writer| {
            writer.key("name").string(&tool.name);
            let (key, schema) = custom.map_or(("parameters", &tool.parameters), |format| ("format", format));
            write_described(writer, tool.description.as_deref(), key, schema.as_ref(), tool.strict);
        });
        if !plain {
            tool.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    });
}

pub(super) fn write_format(writer: &mut Writer, format: &ResponseFormat) {
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
