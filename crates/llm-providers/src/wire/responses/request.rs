//! Requests for responses, read.

use llm_core::{
    CompletionRequest, Dialect, Error, Json, Message, Origin, ResponseFormat, Role, Tool, ToolChoice, ToolKind,
};

use super::item::read_input;
use crate::wire::DecodedRequest;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::{self, Seen, boolean, duplicate, keep, number, only, small, string, whole, wrong_type};

/// The parameters that have a place of their own.
const KNOWN: [&str; 19] = [
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_logprobs",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "include",
    "user",
    "safety_identifier",
    "service_tier",
    "previous_response_id",
];

/// What asks for the probabilities of the answer's tokens, among `include`.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";

/// What asks for the seals of thoughts.
pub(super) const SEALS: &str = "reasoning.encrypted_content";

/// Reads a request body. Parameters without a neutral form are kept in `extra`, those of `reasoning` and of `text` under
/// their whole path.
pub(super) fn decode_request(body: &[u8]) -> Result<DecodedRequest, Error> {
    let raw = read::object(body)?;
    let mut request = CompletionRequest::new("", Vec::new());
    let (mut stream, mut instructions, mut input) = (false, None, None);
    let mut seen = Seen::default();
    for (key, value) in raw.members() {
        let name = key.as_ref();
        seen.note(&KNOWN, name)?;
        if value.is_null() && name != "model" {
            continue;
        }
        match name {
            "model" => request.model = read::model(value)?,
            "input" => input = Some(value),
            "instructions" => instructions = Some(Message::system(string(value, name)?)),
            "max_output_tokens" => request.max_tokens = Some(whole(value, name)?),
            "temperature" => request.temperature = Some(number(value, name)?),
            "top_p" => request.top_p = Some(number(value, name)?),
            "top_logprobs" => request.top_logprobs = Some(small(value, name)?),
            "stream" => stream = boolean(value, name)?,
            "tools" => request.tools = read_tools(value)?,
            "tool_choice" => request.tool_choice = Some(read_choice(value)?),
            "parallel_tool_calls" => request.parallel_tool_calls = Some(boolean(value, name)?),
            "reasoning" => read_reasoning(value, &mut request)?,
            "text" => read_text(value, &mut request)?,
            "include" => read_include(value, &mut request)?,
            "user" => request.user = Some(string(value, name)?),
            "safety_identifier" => request.safety_identifier = Some(string(value, name)?),
            "service_tier" => request.service_tier = Some(string(value, name)?),
            _ => keep(&mut request.extra, name, value),
        }
    }
    seen.require(&KNOWN, "model")?;
    let leading = instructions.is_some();
    request.messages.extend(instructions);
    if let Some(input) = input {
        read_input(input, &mut request)?;
    }
    request.origin = Some(Origin { dialect: Dialect::OpenAiResponses, leading });
    Ok(DecodedRequest { request, stream, include_usage: true })
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

/// `None` for tools that the provider runs.
fn read_tool(raw: Raw<'_>) -> Option<Tool> {
    let kind = raw.member("type")?.exact_string()?;
    let mut tool = Tool::function(raw.member("name")?.exact_string()?, None, None);
    match kind.as_ref() {
        "function" => tool.parameters = raw.member("parameters").map(Raw::json),
        "custom" => tool.kind = ToolKind::Custom { format: raw.member("format").map(Raw::json) },
        _ => return None,
    }
    let own = if kind == "custom" { "format" } else { "parameters" };
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "type" | "name" => {}
            "description" => tool.description = Some(value.exact_string()?.into_owned()),
            "strict" if kind == "function" => tool.strict = Some(value.bool()?),
            key if key == own => {}
            key => keep(&mut tool.extra, key, value),
        }
    }
    Some(tool)
}

fn read_choice(raw: Raw<'_>) -> Result<ToolChoice, Error> {
    Ok(match (raw.kind(), raw.text()) {
        (Kind::String, "\"none\"") => ToolChoice::None,
        (Kind::String, "\"auto\"") => ToolChoice::Auto,
        (Kind::String, "\"required\"") => ToolChoice::Required,
        (Kind::String, _) => ToolChoice::Other(raw.json()),
        (Kind::Object, _) => {
            let named = named_function(raw).map(ToolChoice::Function);
            named.or_else(|| allowed_tools(raw)).unwrap_or_else(|| ToolChoice::Other(raw.json()))
        }
        (kind, _) => return Err(wrong_type("tool_choice", "a string or an object", kind)),
    })
}

/// The name in `{"type":"function","name":…}`.
fn named_function(raw: Raw<'_>) -> Option<String> {
    raw.member("type").filter(|kind| kind.text() == "\"function\"")?;
    only(raw, &["type", "name"])?;
    Some(raw.member("name")?.exact_string()?.into_owned())
}

fn allowed_tools(raw: Raw<'_>) -> Option<ToolChoice> {
    raw.member("type").filter(|kind| kind.text() == "\"allowed_tools\"")?;
    only(raw, &["type", "mode", "tools"])?;
    let required = match raw.member("mode")?.text() {
        "\"auto\"" => false,
        "\"required\"" => true,
        _ => return None,
    };
    let tools = raw.member("tools").filter(|tools| tools.kind() == Kind::Array)?;
    Some(ToolChoice::Allowed { required, tools: tools.items().map(named_function).collect::<Option<_>>()? })
}

fn read_reasoning(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("reasoning", "an object", raw.kind()));
    }
    let mut seen = Seen::default();
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        let path = format!("reasoning.{key}");
        if seen.note(&["effort", "summary"], &key).is_err() {
            return Err(duplicate(&path));
        }
        match key.as_ref() {
            "effort" => request.reasoning_effort = Some(string(value, &path)?),
            "summary" | "generate_summary" => {
                request.show_thoughts = Some(true);
                // How long a summary, is for this dialect alone.
                if key != "summary" || string(value, &path)? != "auto" {
                    keep(&mut request.extra, &path, value);
                }
            }
            _ => keep(&mut request.extra, &path, value),
        }
    }
    Ok(())
}

fn read_text(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("text", "an object", raw.kind()));
    }
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        let path = format!("text.{key}");
        match key.as_ref() {
            "format" if request.response_format.is_some() => return Err(duplicate(&path)),
            "format" if value.kind() != Kind::Object => return Err(wrong_type(&path, "an object", value.kind())),
            "format" => match read_format(value) {
                Some(format) => request.response_format = Some(format),
                None => keep(&mut request.extra, &path, value),
            },
            _ => keep(&mut request.extra, &path, value),
        }
    }
    Ok(())
}

/// `None` if it has no neutral form.
fn read_format(raw: Raw<'_>) -> Option<ResponseFormat> {
    let kind = raw.member("type")?.exact_string()?;
    match kind.as_ref() {
        "text" => only(raw, &["type"]).map(|()| ResponseFormat::Text),
        "json_object" => only(raw, &["type"]).map(|()| ResponseFormat::JsonObject),
        "json_schema" => {
            only(raw, &["type", "name", "description", "schema", "strict"])?;
            let text = |name| raw.member(name).map(|text| text.exact_string().map(|text| text.into_owned()));
            Some(ResponseFormat::JsonSchema {
                name: text("name")??,
                description: text("description").map_or(Some(None), |text| text.map(Some))?,
                schema: raw.member("schema").map(Raw::json),
                strict: raw.member("strict").map_or(Some(None), |strict| strict.bool().map(Some))?,
            })
        }
        _ => None,
    }
}

/// Reads what is to be told beside the answer. What has a neutral form is left out of what is kept.
fn read_include(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("include", "an array of strings", raw.kind()));
    }
    let mut others = Vec::new();
    for (at, item) in raw.items().enumerate() {
        let name = string(item, &format!("include[{at}]"))?;
        if name == LOGPROBS {
            request.logprobs = Some(true);
        } else if !others.contains(&name) {
            others.push(name);
        }
    }
    if !others.is_empty() {
        let mut writer = Writer::default();
        writer.array(|writer| others.iter().for_each(|name| writer.string(name)));
        request.extra.push(("include".to_owned(), json(writer)));
    }
    Ok(())
}

/// What was written, for keeping.
pub(super) fn json(writer: Writer) -> Json {
    let text = String::from_utf8(writer.into_bytes().to_vec()).expect("a writer writes UTF-8");
    Json::parse(text).expect("a writer writes JSON")
}

/// The role's name here.
pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::Assistant => "assistant",
        Role::User | Role::Tool => "user",
    }
}
