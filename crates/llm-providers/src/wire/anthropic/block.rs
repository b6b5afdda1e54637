//! Blocks of content, as requests and answers have them.

use std::borrow::Cow;
use std::time::Duration;

use llm_core::{CacheMark, Citation, Content, Dialect, Error, Json, Part, Reasoning, Signature, Source, ToolCall};

use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::{self, keep, missing, only, wrong_type};
use crate::wire::seal;

/// Reads what a message of a request, a tool's answer or the system's instructions say: a text, or blocks.
pub(super) fn read_blocks(raw: Raw<'_>, path: &str) -> Result<Vec<Part>, Error> {
    match raw.kind() {
        Kind::String => Ok(vec![Part::text(read::string(raw, path)?)]),
        Kind::Array => raw.items().enumerate().map(|(at, block)| read_block(block, &format!("{path}[{at}]"))).collect(),
        kind => Err(wrong_type(path, "a string or an array", kind)),
    }
}

fn read_block(raw: Raw<'_>, path: &str) -> Result<Part, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let kind = raw.member("type").ok_or_else(|| missing(&format!("{path}.type")))?;
    match kind.exact_string().as_deref() {
        Some("tool_use") => read_call(raw, path),
        Some("tool_result") => read_result(raw, path),
        Some(kind) => Ok(read_plain(raw, kind).unwrap_or_else(|| other(raw))),
        None => Err(wrong_type(&format!("{path}.type"), "a string", kind.kind())),
    }
}

fn read_call(raw: Raw<'_>, path: &str) -> Result<Part, Error> {
    let input = match raw.member("input") {
        Some(input) if input.kind() == Kind::Object => input.text(),
        Some(input) => return Err(wrong_type(&format!("{path}.input"), "an object", input.kind())),
        None => "{}",
    };
    let call = ToolCall::function(read::text(raw, path, "id")?, read::text(raw, path, "name")?, input);
    let mut part = Part::new(Content::ToolCall(call));
    keep_others(&mut part, raw, &["id", "name", "input"]);
    Ok(part)
}

fn read_result(raw: Raw<'_>, path: &str) -> Result<Part, Error> {
    let content = match raw.member("content") {
        Some(content) => read_blocks(content, &format!("{path}.content"))?,
        None => Vec::new(),
    };
    let is_error = match raw.member("is_error") {
        Some(is) => read::boolean(is, &format!("{path}.is_error"))?,
        None => false,
    };
    let call_id = read::text(raw, path, "tool_use_id")?;
    let mut part = Part::new(Content::ToolResult { call_id, content, is_error });
    keep_others(&mut part, raw, &["tool_use_id", "content", "is_error"]);
    Ok(part)
}

/// A block of a kind that has a neutral form; `None` if it has none, or has members within that would be lost.
fn read_plain(raw: Raw<'_>, kind: &str) -> Option<Part> {
    let text = |name: &str| raw.member(name)?.exact_string().map(Cow::into_owned);
    let (mut part, known): (Part, &[&str]) = match kind {
        "text" => {
            let mut part = Part::text(text("text")?);
            let citations = raw.member("citations");
            part.citations = citations.into_iter().flat_map(Raw::items).map(read_citation).collect();
            (part, &["text", "citations"])
        }
        "image" => {
            let source = read_source(raw.member("source")?)?;
            (Content::Image { source, detail: None }.into(), &["source"])
        }
        "document" => {
            let source = read_source(raw.member("source")?)?;
            let name = match raw.member("title") {
                Some(title) => Some(title.exact_string()?.into_owned()),
                None => None,
            };
            (Content::File { source, name }.into(), &["source", "title"])
        }
        "thinking" => {
            let mut part = Part::new(Content::Reasoning(Reasoning { text: text("thinking")?, redacted: false }));
            part.signature = text("signature").filter(|seal| !seal.is_empty()).map(own_seal);
            (part, &["thinking", "signature"])
        }
        "redacted_thinking" => {
            let mut part = Part::new(Content::Reasoning(Reasoning { text: String::new(), redacted: true }));
            part.signature = Some(own_seal(text("data")?));
            (part, &["data"])
        }
        _ => return None,
    };
    keep_others(&mut part, raw, known);
    Some(part)
}

pub(super) const fn own_seal(value: String) -> Signature {
    Signature { dialect: Dialect::Anthropic, value }
}

/// Keeps the members of a block that are not `known`.
fn keep_others(part: &mut Part, raw: Raw<'_>, known: &[&str]) {
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "type" => {}
            name if known.contains(&name) => {}
            "cache_control" if read_mark(value).is_some() => part.cache = read_mark(value),
            // The seal of another dialect, as an answer of ours told it.
            seal::MEMBER if seal::read(value).is_some() => part.signature = seal::read(value),
            _ => keep(&mut part.extra, &key, value),
        }
    }
}

fn read_source(raw: Raw<'_>) -> Option<Source> {
    let text = |name: &str| raw.member(name)?.exact_string().map(Cow::into_owned);
    match raw.member("type")?.exact_string()?.as_ref() {
        "base64" => {
            only(raw, &["type", "media_type", "data"])?;
            Some(Source::Base64 { media_type: text("media_type")?, data: text("data")? })
        }
        "text" => {
            only(raw, &["type", "media_type", "data"])?;
            Some(Source::Text { media_type: text("media_type")?, text: text("data")? })
        }
        "url" => {
            only(raw, &["type", "url"])?;
            text("url").map(Source::Url)
        }
        "file" => {
            only(raw, &["type", "file_id"])?;
            text("file_id").map(Source::Id)
        }
        _ => None,
    }
}

/// The lifetime of a mark that says none, and the longer one.
const SHORT: Duration = Duration::from_secs(5 * 60);
const LONG: Duration = Duration::from_secs(60 * 60);

/// `None` if the mark is of a kind that nobody here knows.
pub(super) fn read_mark(raw: Raw<'_>) -> Option<CacheMark> {
    only(raw, &["type", "ttl"])?;
    raw.member("type").filter(|kind| kind.text() == "\"ephemeral\"")?;
    let ttl = match raw.member("ttl").map(Raw::text) {
        None => None,
        Some("\"5m\"") => Some(SHORT),
        Some("\"1h\"") => Some(LONG),
        Some(_) => return None,
    };
    Some(CacheMark { ttl })
}

pub(super) fn write_mark(writer: &mut Writer, mark: CacheMark) {
    writer.key("cache_control").object(|writer| {
        writer.key("type").string("ephemeral");
        match mark.ttl {
            None => {}
            Some(ttl) if ttl <= SHORT => writer.key("ttl").string("5m"),
            Some(_) => writer.key("ttl").string("1h"),
        }
    });
}

/// Reads a citation, as far as it can be understood.
pub(super) fn read_citation(raw: Raw<'_>) -> Citation {
    let text = |name: &str| raw.member(name).and_then(Raw::string).map(Cow::into_owned);
    let on_the_web = raw.member("type").is_some_and(|kind| kind.text() == "\"web_search_result_location\"");
    Citation {
        url: text("url").filter(|_| on_the_web),
        title: text("title").or_else(|| text("document_title")),
        quote: text("cited_text"),
        span: None,
        native: Some((Dialect::Anthropic, raw.json())),
    }
}

/// The citation as it stands here; `None` for those of other dialects.
pub(super) const fn native_citation(citation: &Citation) -> Option<&Json> {
    match &citation.native {
        Some((Dialect::Anthropic, json)) => Some(json),
        _ => None,
    }
}

/// Reads a block of an answer, as far as it can be understood.
pub(super) fn read_answer_block(raw: Raw<'_>) -> Part {
    let text = |name: &str| raw.member(name).and_then(Raw::string).map(Cow::into_owned).unwrap_or_default();
    match raw.member("type").and_then(Raw::string).as_deref() {
        Some("tool_use") => {
            let input = raw.member("input").map_or(Cow::Borrowed("{}"), read_input);
            Content::ToolCall(ToolCall::function(text("id"), text("name"), input)).into()
        }
        Some("text") => {
            let citations = raw.member("citations");
            Part {
                citations: citations.into_iter().flat_map(Raw::items).map(read_citation).collect(),
                ..Part::text(text("text"))
            }
        }
        Some(kind) => read_plain(raw, kind).unwrap_or_else(|| other(raw)),
        None => other(raw),
    }
}

/// A call's arguments as the model wrote them: what is no object stands in an answer as a string.
pub(super) fn read_input(input: Raw<'_>) -> Cow<'_, str> {
    input.string().unwrap_or_else(|| Cow::Borrowed(input.text()))
}

fn other(raw: Raw<'_>) -> Part {
    Content::Other { dialect: Dialect::Anthropic, json: raw.json() }.into()
}
