//! Blocks of content, as messages of requests and answers have them.

use std::borrow::Cow;
use std::time::Duration;

use llm_core::{CacheMark, Content, Dialect, Part, Reasoning, Signature, Source, ToolCall};

use crate::wire::json::{Kind, Raw, Writer};

/// A seal of Bedrock's. Its models that seal are Anthropic's, whose seals are good wherever they run.
pub(super) const fn seal(value: String) -> Signature {
    Signature { dialect: Dialect::Anthropic, value }
}

/// The formats of pictures, by their media types.
pub(super) const IMAGES: [(&str, &str); 4] =
    [("image/png", "png"), ("image/jpeg", "jpeg"), ("image/gif", "gif"), ("image/webp", "webp")];

/// The formats of documents, by their media types.
pub(super) const DOCUMENTS: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("text/html", "html"),
    ("text/markdown", "md"),
    ("text/plain", "txt"),
];

/// Reads blocks. A mark for caching is of the block before it; what has no neutral form stays as it is.
pub(super) fn read_blocks(blocks: Raw<'_>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for block in blocks.items() {
        if let Some(mark) = block.member("cachePoint") {
            parts.last_mut().into_iter().for_each(|last| last.cache = Some(read_mark(mark)));
            continue;
        }
        parts.extend(read_block(block));
    }
    parts
}

/// Reads a mark for caching.
pub(super) fn read_mark(mark: Raw<'_>) -> CacheMark {
    let long = mark.member("ttl").is_some_and(|ttl| ttl.text() == "\"1h\"");
    CacheMark { ttl: long.then_some(Duration::from_secs(3600)) }
}

fn read_block(block: Raw<'_>) -> Vec<Part> {
    let other = || vec![Part::new(Content::Other { dialect: Dialect::Bedrock, json: block.json() })];
    let Some((name, value)) = block.members().find(|(_, value)| !value.is_null()) else { return Vec::new() };
    let text = |name: &str| value.member(name).and_then(Raw::string).map(Cow::into_owned);
    match name.as_ref() {
        "text" => value.string().map(|text| vec![Part::text(text)]).unwrap_or_else(other),
        "image" => match read_source(value, &IMAGES) {
            Some(source) => vec![Content::Image { source, detail: None }.into()],
            None => other(),
        },
        "document" => match read_source(value, &DOCUMENTS) {
            Some(source) => vec![Content::File { source, name: text("name") }.into()],
            None => other(),
        },
        "toolUse" => {
            let input = value.member("input").map_or("{}", Raw::text);
            let (id, name) = (text("toolUseId").unwrap_or_default(), text("name").unwrap_or_default());
            vec![Content::ToolCall(ToolCall::function(id, name, input)).into()]
        }
        "toolResult" => {
            let content = value.member("content").map(read_blocks).unwrap_or_default();
            let is_error = value.member("status").is_some_and(|status| status.text() == "\"error\"");
            let call_id = text("toolUseId").unwrap_or_default();
            vec![Content::ToolResult { call_id, content, is_error }.into()]
        }
        "reasoningContent" => read_thought(value).map(|part| vec![part]).unwrap_or_else(other),
        // Words, and what they are based on.
        "citationsContent" => value.member("content").map(read_blocks).unwrap_or_default(),
        _ => other(),
    }
}

fn read_thought(value: Raw<'_>) -> Option<Part> {
    let redacted = value.member("redactedContent").and_then(Raw::string);
    let (text, redacted, sealed) = match (redacted, value.member("reasoningText")) {
        (Some(data), _) => (String::new(), true, Some(data)),
        (None, Some(told)) => {
            let text = told.member("text").and_then(Raw::string).unwrap_or_default().into_owned();
            (text, false, told.member("signature").and_then(Raw::string))
        }
        (None, None) => return None,
    };
    let mut part = Part::new(Content::Reasoning(Reasoning { text, redacted }));
    part.signature = sealed.filter(|sealed| !sealed.is_empty()).map(|sealed| seal(sealed.into_owned()));
    Some(part)
}

fn read_source(value: Raw<'_>, formats: &[(&str, &str)]) -> Option<Source> {
    let format = value.member("format")?.string()?;
    let (media_type, _) = formats.iter().find(|(_, known)| *known == format)?;
    let data = value.member("source")?.member("bytes")?.exact_string()?.into_owned();
    Some(Source::Base64 { media_type: (*media_type).to_owned(), data })
}

/// Writes the block of a picture or a document: its kind, its format, its name if it has one, and its bytes in base64.
pub(super) fn write_source(writer: &mut Writer, kind: &str, format: &str, name: Option<&str>, data: &str) {
    writer.key(kind).object(|writer| {
        writer.key("format").string(format);
        if let Some(name) = name {
            writer.key("name").string(name);
        }
        writer.key("source").object(|writer| writer.key("bytes").string(data));
    });
}

/// Writes the block of a call.
pub(super) fn write_call(writer: &mut Writer, id: &str, name: &str, input: &str) {
    writer.key("toolUse").object(|writer| {
        writer.key("toolUseId").string(id);
        writer.key("name").string(name);
        writer.key("input").raw(input.as_bytes());
    });
}

/// Writes the block of a thought and its seal.
pub(super) fn write_thought(writer: &mut Writer, thought: &Reasoning, sealed: Option<&Signature>) {
    writer.key("reasoningContent").object(|writer| {
        let sealed = sealed.map(|sealed| sealed.value.as_str());
        if thought.redacted {
            return writer.key("redactedContent").string(sealed.unwrap_or_default());
        }
        writer.key("reasoningText").object(|writer| {
            writer.key("text").string(&thought.text);
            if let Some(sealed) = sealed {
                writer.key("signature").string(sealed);
            }
        });
    });
}

/// The arguments of a call as an object; `None` if they are none.
pub(super) fn input(arguments: &str) -> Option<&str> {
    let arguments = arguments.trim_matches([' ', '\t', '\n', '\r']);
    if arguments.is_empty() {
        return Some("{}");
    }
    Raw::parse(arguments.as_bytes()).ok().filter(|raw| raw.kind() == Kind::Object).map(Raw::text)
}
