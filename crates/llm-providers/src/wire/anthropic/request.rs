//! Requests for messages, read.

use llm_core::{
    CompletionRequest, Content, Dialect, Error, Message, Origin, ResponseFormat, Role, Thinking, Tool, ToolChoice,
};

use super::block::{read_blocks, read_mark};
use crate::wire::DecodedRequest;
use crate::wire::json::{Kind, Raw};
use crate::wire::read::{self, Seen, boolean, keep, number, only, string, whole, wrong_type, wrong_value};

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Answer,
    /// The number of its tokens: it needs no cap.
    Count,
}

/// Reads a request body. Parameters without a neutral form are kept in `extra`; of `thinking`, `output_config` and
/// `metadata` the whole when something in them has none.
pub(super) fn decode_request(body: &[u8], purpose: Purpose) -> Result<DecodedRequest, Error> {
    let raw = read::object(body)?;
    let mut request = CompletionRequest::new("", Vec::new());
    let mut system = None;
    let mut stream = false;
    let mut seen = Seen::default();
    for (key, value) in raw.members() {
        let name = key.as_ref();
        seen.note(&KNOWN, name)?;
        if value.is_null() && KNOWN[NEEDED..].contains(&name) {
            continue;
        }
        match name {
            "model" => request.model = read::model(value)?,
            "messages" => request.messages = read_messages(value)?,
            "max_tokens" => {
                let cap = whole(value, name)?;
                if cap == 0 {
                    return Err(wrong_value(name, "it must be at least 1"));
                }
                request.max_tokens = Some(cap);
            }
            "system" => system = Some(Message::new(Role::System, read_blocks(value, name)?)),
            "stream" => stream = boolean(value, name)?,
            "stop_sequences" => request.stop = read_stops(value)?,
            "temperature" => request.temperature = Some(number(value, name)?),
            "top_p" => request.top_p = Some(number(value, name)?),
            "top_k" => request.top_k = Some(whole(value, name)?),
            "tools" => request.tools = read_tools(value)?,
            "tool_choice" => read_tool_choice(value, &mut request)?,
            "thinking" => read_thinking(value, &mut request)?,
            "output_config" => read_output(value, &mut request)?,
            "metadata" => match read_user(value)? {
                Some(user) => request.safety_identifier = user,
                None => keep(&mut request.extra, name, value),
            },
            "service_tier" => match string(value, name)?.as_str() {
                "auto" => request.service_tier = Some("auto".to_owned()),
                "standard_only" => request.service_tier = Some("default".to_owned()),
                _ => keep(&mut request.extra, name, value),
            },
            _ => keep(&mut request.extra, name, value),
        }
    }
    let needed = if purpose == Purpose::Answer { NEEDED } else { NEEDED - 1 };
    KNOWN[..needed].iter().try_for_each(|name| seen.require(&KNOWN, name))?;
    let leading = system.is_some();
    request.messages.splice(0..0, system);
    request.origin = Some(Origin { dialect: Dialect::Anthropic, leading });
    Ok(DecodedRequest { request, stream, include_usage: true })
}

/// How many of [`KNOWN`] must be there.
const NEEDED: usize = 3;

/// The parameters that have a place of their own.
const KNOWN: [&str; 15] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "stream",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "metadata",
    "service_tier",
];

fn read_messages(raw: Raw<'_>) -> Result<Vec<Message>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("messages", "an array of objects", raw.kind()));
    }
    let read = |(at, message)| read_message(message, &format!("messages[{at}]"));
    let messages: Vec<_> = raw.items().enumerate().map(read).collect::<Result<_, _>>()?;
    if messages.is_empty() {
        return Err(wrong_value("messages", "it must hold at least one message"));
    }
    Ok(messages)
}

fn read_message(raw: Raw<'_>, path: &str) -> Result<Message, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let role = match read::text(raw, path, "role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            return Err(wrong_value(&format!("{path}.role"), &format!("'{other}' is not supported")));
        }
    };
    let mut message = Message::new(role, Vec::new());
    let mut said = false;
    for (key, value) in raw.members() {
        match key.as_ref() {
            "role" => {}
            "content" => {
                said = true;
                message.parts = read_blocks(value, &format!("{path}.content"))?;
            }
            _ if value.is_null() => {}
            _ => keep(&mut message.extra, &key, value),
        }
    }
    if !said {
        return Err(read::missing(&format!("{path}.content")));
    }
    let misplaced = message.parts.iter().position(|part| match &part.content {
        Content::ToolCall(_) => role != Role::Assistant,
        Content::ToolResult { .. } => role != Role::User,
        _ => false,
    });
    match misplaced {
        Some(at) => {
            let path = format!("{path}.content[{at}].type");
            Err(wrong_value(&path, "tools are called by the assistant and answer to it as the user"))
        }
        None => Ok(message),
    }
}

fn read_stops(raw: Raw<'_>) -> Result<Vec<String>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("stop_sequences", "an array of strings", raw.kind()));
    }
    raw.items().enumerate().map(|(at, text)| string(text, &format!("stop_sequences[{at}]"))).collect()
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
    let kind = raw.member("type").map(Raw::text);
    let schema = raw.member("input_schema").filter(|_| matches!(kind, None | Some("\"custom\"")))?;
    let mut tool = Tool::function(raw.member("name")?.exact_string()?, None, Some(schema.json()));
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "name" | "input_schema" | "type" => {}
            "description" => tool.description = Some(value.exact_string()?.into_owned()),
            "strict" => tool.strict = Some(value.bool()?),
            "cache_control" if read_mark(value).is_some() => tool.cache = read_mark(value),
            _ => keep(&mut tool.extra, &key, value),
        }
    }
    Some(tool)
}

fn read_tool_choice(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("tool_choice", "an object", raw.kind()));
    }
    let kind = read::text(raw, "tool_choice", "type")?;
    let known = if kind == "tool" {
        only(raw, &["type", "name", "disable_parallel_tool_use"])
    } else {
        only(raw, &["type", "disable_parallel_tool_use"])
    };
    request.tool_choice = Some(match (kind.as_str(), known) {
        ("auto", Some(())) => ToolChoice::Auto,
        ("any", Some(())) => ToolChoice::Required,
        ("none", Some(())) => ToolChoice::None,
        ("tool", Some(())) => ToolChoice::Function(read::text(raw, "tool_choice", "name")?),
        _ => {
            request.tool_choice = Some(ToolChoice::Other(raw.json()));
            return Ok(());
        }
    });
    if let Some(disabled) = raw.member("disable_parallel_tool_use")
        && boolean(disabled, "tool_choice.disable_parallel_tool_use")?
    {
        request.parallel_tool_calls = Some(false);
    }
    Ok(())
}

fn read_thinking(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("thinking", "an object", raw.kind()));
    }
    let kind = read::text(raw, "thinking", "type")?;
    let budget = raw.member("budget_tokens").map(|tokens| whole(tokens, "thinking.budget_tokens")).transpose()?;
    let shown = raw.member("display").map(Raw::text);
    let thinking = match (kind.as_str(), budget) {
        ("enabled", Some(tokens)) => Thinking::Budget(tokens),
        ("enabled", None) => return Err(read::missing("thinking.budget_tokens")),
        ("adaptive", None) => Thinking::Adaptive,
        ("disabled", None) => Thinking::Off,
        ("between_tools", None) => Thinking::BetweenTools,
        _ => {
            keep(&mut request.extra, "thinking", raw);
            return Ok(());
        }
    };
    let show = match shown {
        None => None,
        Some("\"summarized\"") => Some(true),
        Some("\"omitted\"") => Some(false),
        Some(_) => {
            keep(&mut request.extra, "thinking", raw);
            return Ok(());
        }
    };
    if only(raw, &["type", "budget_tokens", "display"]).is_none() {
        keep(&mut request.extra, "thinking", raw);
        return Ok(());
    }
    (request.thinking, request.show_thoughts) = (Some(thinking), show);
    Ok(())
}

fn read_output(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("output_config", "an object", raw.kind()));
    }
    let effort = raw.member("effort").map(|effort| string(effort, "output_config.effort")).transpose()?;
    let format = raw.member("format").map(|format| read_format(format).ok_or(format));
    match (format, only(raw, &["effort", "format"])) {
        (Some(Err(_)), _) | (_, None) => keep(&mut request.extra, "output_config", raw),
        (format, Some(())) => {
            request.reasoning_effort = effort;
            request.response_format = format.and_then(Result::ok);
        }
    }
    Ok(())
}

fn read_format(raw: Raw<'_>) -> Option<ResponseFormat> {
    only(raw, &["type", "schema"])?;
    raw.member("type").filter(|kind| kind.text() == "\"json_schema\"")?;
    let schema = Some(raw.member("schema")?.json());
    // The name stands only in other dialects, which cannot do without.
    Some(ResponseFormat::JsonSchema { name: "response".to_owned(), description: None, schema, strict: Some(true) })
}

/// The outer `None` if there is more than a user's name.
fn read_user(raw: Raw<'_>) -> Result<Option<Option<String>>, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type("metadata", "an object", raw.kind()));
    }
    if only(raw, &["user_id"]).is_none() {
        return Ok(None);
    }
    raw.member("user_id").map(|user| string(user, "metadata.user_id")).transpose().map(Some)
}
