//! Requests, read: by the simulated provider, for nobody else is called in this dialect.

use bytes::Bytes;
use llm_core::{
    CompletionRequest, Dialect, Envelope, Error, Message, Operation, Origin, ResponseFormat, Role, Span, Tool,
    ToolChoice,
};

use super::block::{read_blocks, read_mark};
use crate::wire::DecodedRequest;
use crate::wire::envelope::{same, walk};
use crate::wire::json::{Kind, Raw};
use crate::wire::read::{self, Seen, keep, missing, number, whole, wrong_type, wrong_value};

/// Reads a request to `model`, which its path names, as far as needed to route it; `stream` says whether it is
/// `converse-stream`.
///
/// # Errors
/// `InvalidRequest`, naming the parameter, or the place where the body stops being JSON.
pub fn read_converse(body: Bytes, model: &str, stream: bool) -> Result<Envelope, Error> {
    const COUNTS: fn(&[u8]) -> bool = |name| name != b"requestMetadata";
    let (mut seen, mut asks, mut sampled, mut max_output) = (Seen::default(), false, true, None);
    let digest = walk(&body, COUNTS, |name, value| {
        seen.note(&KNOWN, name)?;
        match name {
            "messages" => {
                value.list(name)?;
                asks = true;
            }
            "inferenceConfig" => {
                let member = |name| value.raw().and_then(|config| config.member(name));
                sampled &= member("temperature").and_then(Raw::f64) != Some(0.0);
                max_output = member("maxTokens").and_then(Raw::u64);
            }
            _ => {}
        }
        Ok(())
    })?;
    if !asks {
        return Err(missing("messages"));
    }
    Ok(Envelope {
        dialect: Dialect::Bedrock,
        operation: Operation::Chat,
        digest,
        same: |a, b| same(a, b, COUNTS),
        model: Span { start: 0, end: 0 },
        escaped_model: Some(model.into()),
        stream,
        sampled,
        stateful: false,
        // Its streams always tell it.
        wants_usage: true,
        user: None,
        max_output,
        choices: 1,
        ask_usage: None,
        body,
    })
}

/// The parameters that have a place of their own.
const KNOWN: [&str; 6] = ["messages", "system", "inferenceConfig", "toolConfig", "outputConfig", "serviceTier"];

/// Reads a request. Its model stands in the path.
pub(super) fn decode_request(body: &[u8]) -> Result<DecodedRequest, Error> {
    let raw = read::object(body)?;
    let mut request = CompletionRequest::new("", Vec::new());
    let (mut system, mut seen) = (None, Seen::default());
    for (key, value) in raw.members() {
        let name = key.as_ref();
        seen.note(&KNOWN, name)?;
        if value.is_null() {
            continue;
        }
        match name {
            "messages" => request.messages = read_messages(value)?,
            "system" => system = Some(Message::new(Role::System, read_blocks(value))),
            "inferenceConfig" => read_config(value, &mut request)?,
            "toolConfig" => read_tools(value, &mut request)?,
            "outputConfig" => request.response_format = read_format(value),
            "serviceTier" => request.service_tier = Some(read::text(value, name, "type")?),
            _ => keep(&mut request.extra, name, value),
        }
    }
    seen.require(&KNOWN, "messages")?;
    let leading = system.is_some();
    request.messages.splice(0..0, system);
    request.origin = Some(Origin { dialect: Dialect::Bedrock, leading });
    Ok(DecodedRequest { request, stream: false, include_usage: true })
}

fn read_messages(raw: Raw<'_>) -> Result<Vec<Message>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type("messages", "an array of objects", raw.kind()));
    }
    let read = |(at, message): (usize, Raw<'_>)| {
        let path = format!("messages[{at}]");
        let role = match read::text(message, &path, "role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(wrong_value(&format!("{path}.role"), "it must be user or assistant")),
        };
        let content = message.member("content").ok_or_else(|| missing(&format!("{path}.content")))?;
        if content.kind() != Kind::Array {
            return Err(wrong_type(&format!("{path}.content"), "an array of objects", content.kind()));
        }
        Ok(Message::new(role, read_blocks(content)))
    };
    let messages: Vec<_> = raw.items().enumerate().map(read).collect::<Result<_, _>>()?;
    match messages.first().map(|message| message.role) {
        Some(Role::User) => Ok(messages),
        _ => Err(wrong_value("messages", "a conversation must start with a user message")),
    }
}

fn read_config(config: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    for (name, value) in config.members() {
        let path = format!("inferenceConfig.{name}");
        match name.as_ref() {
            "maxTokens" => request.max_tokens = Some(whole(value, &path)?),
            "temperature" => request.temperature = Some(number(value, &path)?),
            "topP" => request.top_p = Some(number(value, &path)?),
            "stopSequences" => {
                request.stop = value.items().map(|text| read::string(text, &path)).collect::<Result<_, _>>()?;
            }
            _ => keep(&mut request.extra, &path, value),
        }
    }
    Ok(())
}

fn read_tools(config: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    for (at, item) in config.member("tools").into_iter().flat_map(Raw::items).enumerate() {
        if let Some(mark) = item.member("cachePoint") {
            request.tools.last_mut().into_iter().for_each(|last| last.cache = Some(read_mark(mark)));
            continue;
        }
        let path = format!("toolConfig.tools[{at}].toolSpec");
        let Some(tool) = item.member("toolSpec") else {
            request.tools.push(Tool::native(item.json()));
            continue;
        };
        let description = tool.member("description").and_then(Raw::string).map(|text| text.into_owned());
        let schema = tool.member("inputSchema").and_then(|schema| schema.member("json")).map(Raw::json);
        let strict = tool.member("strict").and_then(Raw::bool);
        let tool = Tool::function(read::text(tool, &path, "name")?, description, schema);
        request.tools.push(Tool { strict, ..tool });
    }
    let Some((name, value)) = config.member("toolChoice").and_then(|choice| choice.members().next()) else {
        return Ok(());
    };
    request.tool_choice = Some(match name.as_ref() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "tool" => ToolChoice::Function(read::text(value, "toolConfig.toolChoice.tool", "name")?),
        _ => return Err(wrong_value("toolConfig.toolChoice", "it must be auto, any or tool")),
    });
    Ok(())
}

fn read_format(config: Raw<'_>) -> Option<ResponseFormat> {
    let schema = config.member("textFormat")?.member("structure")?.member("jsonSchema")?;
    let text = |name| schema.member(name).and_then(Raw::string);
    let json = text("schema").and_then(|text| Raw::parse(text.as_bytes()).ok().map(Raw::json));
    Some(ResponseFormat::JsonSchema {
        name: text("name").unwrap_or_default().into_owned(),
        description: text("description").map(|text| text.into_owned()),
        schema: json,
        strict: None,
    })
}
