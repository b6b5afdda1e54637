//! Items of a request's `input`, read: each is a message of its own, so that its place is its name.

use llm_core::{CompletionRequest, Content, Dialect, Error, Message, Part, Reasoning, Role, ToolCall};

use super::part::{read_content, read_part};
use super::seal::{self, Of};
use crate::wire::json::{Kind, Raw};
use crate::wire::read::{self, keep, missing, string, wrong_type, wrong_value};
use crate::wire::seal as google;

/// Reads `input`: a text of the user's, or a list of items.
pub(super) fn read_input(raw: Raw<'_>, request: &mut CompletionRequest) -> Result<(), Error> {
    match raw.kind() {
        Kind::String => request.messages.push(Message::user(string(raw, "input")?)),
        Kind::Array => {
            for (at, item) in raw.items().enumerate() {
                request.messages.push(read_item(item, &format!("input[{at}]"))?);
            }
        }
        kind => return Err(wrong_type("input", "a string or an array of objects", kind)),
    }
    Ok(())
}

fn read_item(raw: Raw<'_>, path: &str) -> Result<Message, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let kind = match raw.member("type") {
        Some(kind) => Some(string(kind, &format!("{path}.type"))?),
        None => None,
    };
    match kind.as_deref() {
        None if raw.member("role").is_none() => Err(missing(&format!("{path}.type"))),
        None | Some("message") => read_message(raw, path),
        Some("function_call") => read_call(raw, path, false),
        Some("custom_tool_call") => read_call(raw, path, true),
        Some("function_call_output" | "custom_tool_call_output") => read_result(raw, path),
        Some("reasoning") => read_reasoning(raw, path),
        // What only the provider knows, or has: neither the user says it nor the model.
        Some(_) => Ok(Message::new(Role::Tool, vec![other(raw)])),
    }
}

fn other(raw: Raw<'_>) -> Part {
    Content::Other { dialect: Dialect::OpenAiResponses, json: raw.json() }.into()
}

fn read_message(raw: Raw<'_>, path: &str) -> Result<Message, Error> {
    let role = match read::text(raw, path, "role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        other => return Err(wrong_value(&format!("{path}.role"), &format!("'{other}' is not supported"))),
    };
    let content = raw.member("content").ok_or_else(|| missing(&format!("{path}.content")))?;
    let mut message = Message::new(role, read_content(content, &format!("{path}.content"))?);
    keep_others(&mut message, raw, &["type", "role", "content"]);
    Ok(message)
}

fn keep_others(message: &mut Message, raw: Raw<'_>, known: &[&str]) {
    for (key, value) in raw.members().filter(|(key, value)| !known.contains(&key.as_ref()) && !value.is_null()) {
        keep(&mut message.extra, &key, value);
    }
}

fn read_call(raw: Raw<'_>, path: &str, custom: bool) -> Result<Message, Error> {
    let input = if custom { "input" } else { "arguments" };
    let call = ToolCall {
        id: read::text(raw, path, "call_id")?,
        name: read::text(raw, path, "name")?,
        arguments: read::text(raw, path, input)?,
        custom,
    };
    let mut part = Part::new(Content::ToolCall(call));
    part.signature = raw.member(google::MEMBER).and_then(google::read);
    let sealed = if part.signature.is_some() { google::MEMBER } else { "type" };
    let mut message = Message::new(Role::Assistant, vec![part]);
    keep_others(&mut message, raw, &["type", "call_id", "name", input, sealed]);
    Ok(message)
}

fn read_result(raw: Raw<'_>, path: &str) -> Result<Message, Error> {
    let call_id = read::text(raw, path, "call_id")?;
    let output = raw.member("output").ok_or_else(|| missing(&format!("{path}.output")))?;
    let content = read_content(output, &format!("{path}.output"))?;
    let result = Content::ToolResult { call_id, content, is_error: false };
    let mut message = Message::new(Role::Tool, vec![result.into()]);
    keep_others(&mut message, raw, &["type", "call_id", "output"]);
    Ok(message)
}

fn read_reasoning(raw: Raw<'_>, path: &str) -> Result<Message, Error> {
    let summary = raw.member("summary");
    if let Some(other) = summary.filter(|summary| summary.kind() != Kind::Array) {
        return Err(wrong_type(&format!("{path}.summary"), "an array of objects", other.kind()));
    }
    let Some(parts) = read_thoughts(raw) else {
        return Ok(Message::new(Role::Assistant, vec![other(raw)]));
    };
    let mut message = Message::new(Role::Assistant, parts);
    keep_others(&mut message, raw, &["type", "summary", "encrypted_content"]);
    Ok(message)
}

/// The thoughts of an item: one for each text of its summary that says something, the last one sealed. An item without
/// such is a thought that is held back, or nothing but a name. `None` if something in the summary is no text.
pub(super) fn read_thoughts(raw: Raw<'_>) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for text in raw.member("summary").into_iter().flat_map(Raw::items) {
        text.member("type").filter(|kind| kind.text() == "\"summary_text\"")?;
        read::only(text, &["type", "text"])?;
        let text = text.member("text")?.exact_string()?;
        parts.extend((!text.is_empty()).then(|| thought(text.into_owned(), false)));
    }
    let sealed = raw.member("encrypted_content").map(Raw::exact_string);
    let sealed = match sealed {
        Some(value) => Some(seal::read(&value?)),
        None => None,
    };
    if parts.is_empty() {
        let redacted = matches!(sealed, Some((_, None | Some(Of::Redacted))));
        parts.push(thought(String::new(), redacted));
    }
    if let (Some(last), Some((signature, _))) = (parts.last_mut(), sealed) {
        last.signature = Some(signature);
    }
    Some(parts)
}

fn thought(text: String, redacted: bool) -> Part {
    Content::Reasoning(Reasoning { text, redacted }).into()
}

/// The parts of an answer's message, as far as they can be understood.
pub(super) fn read_said(raw: Raw<'_>) -> impl Iterator<Item = Part> {
    raw.member("content").into_iter().flat_map(Raw::items).map(|part| read_part(part).unwrap_or_else(|| other(part)))
}
