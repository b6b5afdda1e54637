//! Messages and their parts, as requests and answers have them.
//!
//! What has no neutral form becomes [`Part::Other`]: a content part or a tool call as it is, a member of the
//! message as an object of that one member, which has no `type`.

use std::borrow::Cow;

use llm_core::{Error, Json, Message, Part, Reasoning, Role, Source, ToolCall};

use super::envelope::{missing, wrong_type, wrong_value};
use crate::wire::json::{Kind, Raw, Writer};

/// Reads a message of a request; `path` names it in errors.
pub(super) fn read_message(raw: Raw<'_>, path: &str) -> Result<Message, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let role = raw.member("role").ok_or_else(|| missing(&format!("{path}.role")))?;
    let role = match string(role, &format!("{path}.role"))?.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => return Err(wrong_value(&format!("{path}.role"), &format!("'{other}' is not supported"))),
    };
    let mut content = Vec::new();
    let (mut thoughts, mut refusal, mut others) = (None, None, Vec::new());
    let (mut name, mut call_id, mut calls) = (None, None, Vec::new());
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        let at = format!("{path}.{key}");
        match key.as_ref() {
            "role" => {}
            "content" => content = read_content(value, &at)?,
            "name" => name = Some(string(value, &at)?),
            "refusal" => refusal = Some(Part::Refusal(string(value, &at)?)),
            "tool_call_id" if role == Role::Tool => call_id = Some(string(value, &at)?),
            "tool_calls" if role == Role::Assistant => calls = read_calls(value, &at)?,
            "reasoning_content" | "reasoning" if thoughts.is_none() && value.kind() == Kind::String => {
                let text = string(value, &at)?;
                thoughts = Some(Part::Reasoning(Reasoning { text, signature: None }));
            }
            // It would turn the other members, as a part, into something else.
            "type" => return Err(wrong_value(&at, "messages have no type")),
            _ => others.push(member_part(&key, value)),
        }
    }
    if role == Role::Tool {
        let call_id = call_id.ok_or_else(|| missing(&format!("{path}.tool_call_id")))?;
        content = vec![Part::ToolResult { call_id, content, is_error: false }];
    }
    let parts = thoughts.into_iter().chain(content).chain(refusal).chain(calls).chain(others).collect();
    Ok(Message { role, parts, name })
}

/// Reads the message of an answer, as far as it can be understood. `new_id` names tool calls that have no name.
pub(super) fn read_answer_message(raw: Raw<'_>, mut new_id: impl FnMut() -> String) -> Message {
    let mut parts = Vec::new();
    let text = |name| raw.member(name).and_then(Raw::string).filter(|text| !text.is_empty()).map(Cow::into_owned);
    if let Some(text) = text("reasoning_content").or_else(|| text("reasoning")) {
        parts.push(Part::Reasoning(Reasoning { text, signature: None }));
    }
    if let Some(content) = raw.member("content") {
        match content.string() {
            Some(text) => parts.push(Part::Text(text.into_owned())),
            None => parts.extend(content.items().map(|part| read_part(part).unwrap_or_else(|| other(part)))),
        }
    }
    parts.extend(text("refusal").map(Part::Refusal));
    for call in raw.member("tool_calls").into_iter().flat_map(Raw::items) {
        match call.member("function") {
            Some(function) => parts.push(Part::ToolCall(read_answer_call(call.member("id"), function, &mut new_id))),
            None => parts.extend((of_type(call) == Some("custom".into())).then(|| other(call))),
        }
    }
    if let Some(function) = raw.member("function_call") {
        parts.push(Part::ToolCall(read_answer_call(None, function, &mut new_id)));
    }
    let known = ["role", "content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning", "type"];
    let others = raw.members().filter(|(key, value)| {
        let empty = value.is_null() || (value.kind() == Kind::Array && value.items().next().is_none());
        !empty && !known.contains(&key.as_ref())
    });
    parts.extend(others.map(|(key, value)| member_part(&key, value)));
    Message::new(Role::Assistant, parts)
}

fn read_answer_call(id: Option<Raw<'_>>, function: Raw<'_>, mut new_id: impl FnMut() -> String) -> ToolCall {
    let id = id.and_then(Raw::string).filter(|id| !id.is_empty());
    let name = function.member("name").and_then(Raw::string).unwrap_or_default().into_owned();
    let arguments = function.member("arguments");
    let arguments = arguments.map_or(Cow::Borrowed("{}"), |raw| raw.string().unwrap_or(Cow::Borrowed(raw.text())));
    ToolCall { id: id.map_or_else(&mut new_id, Cow::into_owned), name, arguments: arguments.into_owned() }
}

fn read_content(raw: Raw<'_>, path: &str) -> Result<Vec<Part>, Error> {
    match raw.kind() {
        Kind::String => Ok(vec![Part::Text(string(raw, path)?)]),
        Kind::Array => {
            raw.items().enumerate().map(|(at, part)| read_content_part(part, &format!("{path}[{at}]"))).collect()
        }
        kind => Err(wrong_type(path, "a string or an array", kind)),
    }
}

fn read_content_part(raw: Raw<'_>, path: &str) -> Result<Part, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    match of_type(raw).as_deref() {
        None => Err(missing(&format!("{path}.type"))),
        Some("function" | "custom") => Err(wrong_value(&format!("{path}.type"), "a tool call is no content")),
        Some(_) => Ok(read_part(raw).unwrap_or_else(|| other(raw))),
    }
}

/// The part's neutral form; `None` if it has none, or has members that would be lost.
fn read_part(raw: Raw<'_>) -> Option<Part> {
    let kind = raw.member("type")?.exact_string()?;
    only(raw, &["type", &kind])?;
    let body = raw.member(&kind)?;
    let text = |name| body.member(name).map(|text| text.exact_string().map(Cow::into_owned));
    match kind.as_ref() {
        "text" => Some(Part::Text(body.exact_string()?.into_owned())),
        "refusal" => Some(Part::Refusal(body.exact_string()?.into_owned())),
        "image_url" if body.kind() == Kind::String => {
            Some(Part::Image { source: source(&body.exact_string()?), detail: None })
        }
        "image_url" => {
            only(body, &["url", "detail"])?;
            let detail = text("detail").map_or(Some(None), |detail| detail.map(Some))?;
            Some(Part::Image { source: source(&text("url")??), detail })
        }
        "input_audio" => {
            only(body, &["data", "format"])?;
            Some(Part::Audio { data: text("data")??, format: text("format")?? })
        }
        "file" => {
            only(body, &["file_id", "filename", "file_data"])?;
            let source = match (text("file_id"), text("file_data")) {
                (Some(id), None) => Source::Id(id?),
                (None, Some(data)) => source(&data?),
                _ => return None,
            };
            let name = text("filename").map_or(Some(None), |name| name.map(Some))?;
            Some(Part::File { source, name })
        }
        _ => None,
    }
}

/// A data URI as its media type and base64, anything else as an address.
fn source(url: &str) -> Source {
    let inline = || {
        let rest = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &url[5..])?;
        let (head, data) = rest.split_once(',')?;
        let (media_type, encoding) = head.rsplit_once(';')?;
        let media_type = media_type.split(';').next().unwrap_or_default();
        if !encoding.eq_ignore_ascii_case("base64") || media_type.is_empty() {
            return None;
        }
        let media_type = if media_type.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { media_type };
        Some(Source::Base64 { media_type: media_type.to_owned(), data: data.to_owned() })
    };
    inline().unwrap_or_else(|| Source::Url(url.to_owned()))
}

fn read_calls(raw: Raw<'_>, path: &str) -> Result<Vec<Part>, Error> {
    if raw.kind() != Kind::Array {
        return Err(wrong_type(path, "an array", raw.kind()));
    }
    raw.items().enumerate().map(|(at, call)| read_call(call, &format!("{path}[{at}]"))).collect()
}

/// A call of a function; a custom one, or one with members that would be lost, stays as it is.
fn read_call(raw: Raw<'_>, path: &str) -> Result<Part, Error> {
    let kind = of_type(raw);
    let function = match (kind.as_deref(), raw.member("function")) {
        (None | Some("function"), Some(function)) => function,
        (Some("custom"), _) => return Ok(other(raw)),
        (None, None) => return Err(missing(&format!("{path}.type"))),
        (Some("function"), None) => return Err(missing(&format!("{path}.function"))),
        (Some(_), _) => return Err(wrong_value(&format!("{path}.type"), "it is neither function nor custom")),
    };
    if only(raw, &["id", "index", "type", "function"]).is_none() || only(function, &["name", "arguments"]).is_none() {
        return kind.map(|_| other(raw)).ok_or_else(|| missing(&format!("{path}.type")));
    }
    let read = |from: Raw<'_>, name: &str, path: String| match from.member(name) {
        Some(value) => string(value, &path),
        None => Err(missing(&path)),
    };
    let id = read(raw, "id", format!("{path}.id"))?;
    let name = read(function, "name", format!("{path}.function.name"))?;
    let arguments = match function.member("arguments") {
        Some(object) if object.kind() == Kind::Object => object.text().to_owned(),
        _ => read(function, "arguments", format!("{path}.function.arguments"))?,
    };
    Ok(Part::ToolCall(ToolCall { id, name, arguments }))
}

/// `Some` if the object has no members but those of `names` and null ones.
pub(super) fn only(raw: Raw<'_>, names: &[&str]) -> Option<()> {
    raw.members().all(|(key, value)| value.is_null() || names.contains(&key.as_ref())).then_some(())
}

/// The string's text; half a surrogate pair, which has no form in UTF-8, is refused.
pub(super) fn string(raw: Raw<'_>, path: &str) -> Result<String, Error> {
    if raw.kind() != Kind::String {
        return Err(wrong_type(path, "a string", raw.kind()));
    }
    let text = raw.exact_string().ok_or_else(|| wrong_value(path, "half a surrogate pair is no character"))?;
    Ok(text.into_owned())
}

/// What the member `type` says; empty if it is no string.
fn of_type(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    raw.member("type").map(|kind| kind.string().unwrap_or_default())
}

fn other(raw: Raw<'_>) -> Part {
    Part::Other(raw.json())
}

/// A member of a message as a part.
fn member_part(key: &str, value: Raw<'_>) -> Part {
    let mut writer = Writer::default();
    writer.object(|writer| writer.key(key).json(&value.json()));
    Part::Other(Raw::parse(&writer.into_bytes()).expect("a written object is JSON").json())
}

/// Where a part belongs in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Content,
    Calls,
    Members,
    Results,
}

fn place(part: &Part) -> Place {
    match part {
        Part::ToolResult { .. } => Place::Results,
        Part::ToolCall(_) => Place::Calls,
        Part::Refusal(_) | Part::Reasoning(_) => Place::Members,
        Part::Other(json) => match Raw::parse(json.as_str().as_bytes()).ok().and_then(of_type).as_deref() {
            None => Place::Members,
            Some("function" | "custom") => Place::Calls,
            Some(_) => Place::Content,
        },
        _ => Place::Content,
    }
}

/// Writes a message of a request: one for each tool result, then one with the rest.
pub(super) fn write_message(writer: &mut Writer, message: &Message) {
    let mut results = 0;
    for part in &message.parts {
        if let Part::ToolResult { call_id, content, .. } = part {
            results += 1;
            writer.object(|writer| {
                writer.key("role").string("tool");
                if let Some(name) = &message.name {
                    writer.key("name").string(name);
                }
                writer.key("tool_call_id").string(call_id);
                writer.key("content");
                write_content(writer, &content.iter().collect::<Vec<_>>());
                if message.role == Role::Tool {
                    write_members(writer, &message.parts);
                }
            });
        }
    }
    let is_rest = |part| match place(part) {
        Place::Results => false,
        Place::Content => true,
        Place::Calls | Place::Members => message.role != Role::Tool,
    };
    if results == 0 || message.parts.iter().any(is_rest) {
        write_rest(writer, message);
    }
}

fn write_rest(writer: &mut Writer, message: &Message) {
    let content: Vec<_> = message.parts.iter().filter(|part| place(part) == Place::Content).collect();
    writer.object(|writer| {
        writer.key("role").string(match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            // A tool's message is its result; what is beside it, its caller says.
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        });
        if let Some(name) = &message.name {
            writer.key("name").string(name);
        }
        if message.role == Role::Assistant && content.is_empty() {
            writer.key("content").null();
        } else {
            writer.key("content");
            write_content(writer, &content);
        }
        if message.role != Role::Tool {
            write_members(writer, &message.parts);
        }
    });
}

/// Writes what a message of a request says beside its content.
fn write_members(writer: &mut Writer, parts: &[Part]) {
    let refusal = joined(parts, |part| match part {
        Part::Refusal(text) => Some(text),
        _ => None,
    });
    if let Some(refusal) = refusal {
        writer.key("refusal").string(&refusal);
    }
    write_thoughts_calls_and_others(writer, parts);
}

/// Writes the message of an answer: its content is one text.
pub(super) fn write_answer_message(writer: &mut Writer, message: &Message) {
    writer.object(|writer| {
        writer.key("role").string("assistant");
        let content = joined(&message.parts, |part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        writer.key("content").optional_string(content.as_deref());
        let refusal = joined(&message.parts, |part| match part {
            Part::Refusal(text) => Some(text),
            _ => None,
        });
        writer.key("refusal").optional_string(refusal.as_deref());
        write_thoughts_calls_and_others(writer, &message.parts);
    });
}

fn write_thoughts_calls_and_others(writer: &mut Writer, parts: &[Part]) {
    let thoughts = joined(parts, |part| match part {
        Part::Reasoning(reasoning) => Some(&reasoning.text),
        _ => None,
    });
    if let Some(thoughts) = thoughts {
        writer.key("reasoning_content").string(&thoughts);
    }
    let calls: Vec<_> = parts.iter().filter(|part| place(part) == Place::Calls).collect();
    if !calls.is_empty() {
        writer.key("tool_calls").array(|writer| calls.iter().for_each(|call| write_call(writer, call)));
    }
    for part in parts.iter().filter(|part| place(part) == Place::Members) {
        let Part::Other(json) = part else { continue };
        let members = Raw::parse(json.as_str().as_bytes()).ok().into_iter().flat_map(Raw::members);
        members.for_each(|(key, value)| writer.key(&key).json(&value.json()));
    }
}

/// The texts that `of` finds, joined without a separator; `None` if it finds none.
fn joined<'a>(parts: &'a [Part], of: impl Fn(&'a Part) -> Option<&'a String>) -> Option<String> {
    let texts: Vec<_> = parts.iter().filter_map(of).map(String::as_str).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

fn write_call(writer: &mut Writer, part: &Part) {
    match part {
        Part::ToolCall(call) => writer.object(|writer| {
            writer.key("id").string(&call.id);
            writer.key("type").string("function");
            writer.key("function").object(|writer| {
                writer.key("name").string(&call.name);
                writer.key("arguments").string(&call.arguments);
            });
        }),
        Part::Other(json) => writer.json(json),
        _ => {}
    }
}

/// One text as a string, anything else as an array of parts.
fn write_content(writer: &mut Writer, parts: &[&Part]) {
    match parts {
        [] => writer.string(""),
        [Part::Text(text)] => writer.string(text),
        parts => writer.array(|writer| parts.iter().for_each(|part| write_part(writer, part))),
    }
}

fn write_part(writer: &mut Writer, part: &Part) {
    match part {
        Part::Text(text) => writer.object(|writer| {
            writer.key("type").string("text");
            writer.key("text").string(text);
        }),
        Part::Image { source, detail } => writer.object(|writer| {
            writer.key("type").string("image_url");
            writer.key("image_url").object(|writer| {
                write_source(writer, source, "url");
                if let Some(detail) = detail {
                    writer.key("detail").string(detail);
                }
            });
        }),
        Part::Audio { data, format } => writer.object(|writer| {
            writer.key("type").string("input_audio");
            writer.key("input_audio").object(|writer| {
                writer.key("data").string(data);
                writer.key("format").string(format);
            });
        }),
        Part::File { source, name } => writer.object(|writer| {
            writer.key("type").string("file");
            writer.key("file").object(|writer| {
                if let Some(name) = name {
                    writer.key("filename").string(name);
                }
                write_source(writer, source, "file_data");
            });
        }),
        Part::Refusal(text) => writer.object(|writer| {
            writer.key("type").string("refusal");
            writer.key("refusal").string(text);
        }),
        Part::Other(json) => writer.json(json),
        _ => {}
    }
}

fn write_source(writer: &mut Writer, source: &Source, key: &str) {
    match source {
        Source::Url(url) => writer.key(key).string(url),
        Source::Base64 { media_type, data } => writer.key(key).string(&format!("data:{media_type};base64,{data}")),
        Source::Id(id) => writer.key("file_id").string(id),
    }
}

/// A value of a request that only the dialect knows, kept under its name.
pub(super) fn keep(extra: &mut Vec<(String, Json)>, key: &str, value: Raw<'_>) {
    extra.push((key.to_owned(), value.json()));
}
