//! Messages and their parts, as requests and answers have them.
//!
//! What has no neutral form is kept: a part or a tool call as [`Content::Other`], a member of either or of the message
//! in its `extra`.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use llm_core::{
    CacheMark, Citation, Content, Dialect, Error, Message, Part, Reasoning, Role, Signature, Source, ToolCall,
};

use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::{self, keep, missing, only, string, wrong_type, wrong_value};
use crate::wire::{AnswerOptions, seal};

/// Reads a message of a request; `path` names it in errors.
pub(super) fn read_message(raw: Raw<'_>, path: &str) -> Result<Message, Error> {
    if raw.kind() != Kind::Object {
        return Err(wrong_type(path, "an object", raw.kind()));
    }
    let role = match read::text(raw, path, "role")?.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => return Err(wrong_value(&format!("{path}.role"), &format!("'{other}' is not supported"))),
    };
    let mut content = Vec::new();
    let (mut thoughts, mut details, mut refusal, mut extra) = (None, None, None, Vec::new());
    let (mut name, mut call_id, mut calls) = (None, None, Vec::new());
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        let at = format!("{path}.{key}");
        match key.as_ref() {
            "role" => {}
            "content" => content = read_content(value, &at)?,
            "name" => name = Some(string(value, &at)?),
            "refusal" => refusal = Some(Content::Refusal(string(value, &at)?).into()),
            "tool_call_id" if role == Role::Tool => call_id = Some(string(value, &at)?),
            "tool_calls" if role == Role::Assistant => calls = read_calls(value, &at)?,
            "reasoning_content" | "reasoning" if thoughts.is_none() && value.kind() == Kind::String => {
                thoughts = Some(thought(string(value, &at)?));
            }
            "reasoning_details" if role == Role::Assistant => match read_details(value) {
                Some(read) => details = Some(read),
                None => keep(&mut extra, &key, value),
            },
            _ => keep(&mut extra, &key, value),
        }
    }
    if role == Role::Tool {
        let call_id = call_id.ok_or_else(|| missing(&format!("{path}.tool_call_id")))?;
        content = vec![Content::ToolResult { call_id, content, is_error: false }.into()];
    }
    // The details say what the text says, and more.
    let thoughts = details.unwrap_or_else(|| thoughts.into_iter().collect());
    let parts = thoughts.into_iter().chain(content).chain(refusal).chain(calls).collect();
    Ok(Message { role, parts, name, extra })
}

fn thought(text: String) -> Part {
    Content::Reasoning(Reasoning { text, redacted: false }).into()
}

/// Reads the message of an answer, as far as it can be understood. `new_id` names tool calls that have no name.
pub(super) fn read_answer_message(raw: Raw<'_>, mut new_id: impl FnMut() -> String) -> Message {
    let text = |name| raw.member(name).and_then(Raw::string).filter(|text| !text.is_empty()).map(Cow::into_owned);
    let mut parts = raw.member("reasoning_details").and_then(read_details).unwrap_or_default();
    if parts.is_empty() {
        parts.extend(text("reasoning_content").or_else(|| text("reasoning")).map(thought));
    }
    if let Some(content) = raw.member("content") {
        match content.string() {
            Some(text) => parts.push(Part::text(text)),
            None => parts.extend(content.items().map(|part| read_part(part).unwrap_or_else(|| other(part)))),
        }
    }
    if let Some(said) = parts.iter_mut().rfind(|part| part.as_text().is_some()) {
        said.citations = raw.member("annotations").into_iter().flat_map(Raw::items).filter_map(read_citation).collect();
    }
    parts.extend(text("refusal").map(|text| Content::Refusal(text).into()));
    for call in raw.member("tool_calls").into_iter().flat_map(Raw::items) {
        let custom = call.member("function").is_none();
        if let Some(body) = call.member(if custom { "custom" } else { "function" }) {
            let mut part = Part::new(Content::ToolCall(read_answer_call(call.member("id"), body, custom, &mut new_id)));
            for (key, value) in call.members() {
                if !["id", "index", "type", "function", "custom"].contains(&key.as_ref()) && !value.is_null() {
                    keep_of_call(&mut part, &key, value);
                }
            }
            parts.push(part);
        }
    }
    if let Some(function) = raw.member("function_call") {
        parts.push(Content::ToolCall(read_answer_call(None, function, false, &mut new_id)).into());
    }
    let known = [
        "role",
        "content",
        "refusal",
        "tool_calls",
        "function_call",
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "type",
        "annotations",
    ];
    let mut message = Message::new(Role::Assistant, parts);
    for (key, value) in raw.members() {
        let empty = value.is_null() || (value.kind() == Kind::Array && value.items().next().is_none());
        if !empty && !known.contains(&key.as_ref()) {
            keep(&mut message.extra, &key, value);
        }
    }
    message
}

fn read_answer_call(id: Option<Raw<'_>>, body: Raw<'_>, custom: bool, mut new_id: impl FnMut() -> String) -> ToolCall {
    let id = id.and_then(Raw::string).filter(|id| !id.is_empty());
    let name = body.member("name").and_then(Raw::string).unwrap_or_default().into_owned();
    let arguments = body.member(if custom { "input" } else { "arguments" });
    let absent = if custom { "" } else { "{}" };
    let arguments = arguments.map_or(Cow::Borrowed(absent), |raw| raw.string().unwrap_or(Cow::Borrowed(raw.text())));
    ToolCall { id: id.map_or_else(&mut new_id, Cow::into_owned), name, arguments: arguments.into_owned(), custom }
}

fn read_content(raw: Raw<'_>, path: &str) -> Result<Vec<Part>, Error> {
    match raw.kind() {
        Kind::String => Ok(vec![Part::text(string(raw, path)?)]),
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

/// The part's neutral form; `None` if it has none, or has members within that would be lost.
fn read_part(raw: Raw<'_>) -> Option<Part> {
    let kind = raw.member("type")?.exact_string()?;
    let mut part = Part::new(read_part_content(raw.member(&kind)?, &kind)?);
    for (key, value) in raw.members().filter(|(key, value)| key != "type" && *key != kind && !value.is_null()) {
        match (key.as_ref(), read_mark(value)) {
            (CACHE, Some(mark)) => part.cache = Some(mark),
            _ => keep(&mut part.extra, &key, value),
        }
    }
    Some(part)
}

fn read_part_content(body: Raw<'_>, kind: &str) -> Option<Content> {
    let text = |name| body.member(name).map(|text| text.exact_string().map(Cow::into_owned));
    match kind {
        "text" => Some(Content::Text(body.exact_string()?.into_owned())),
        "refusal" => Some(Content::Refusal(body.exact_string()?.into_owned())),
        "image_url" if body.kind() == Kind::String => {
            Some(Content::Image { source: source(&body.exact_string()?), detail: None })
        }
        "image_url" => {
            only(body, &["url", "detail"])?;
            let detail = text("detail").map_or(Some(None), |detail| detail.map(Some))?;
            Some(Content::Image { source: source(&text("url")??), detail })
        }
        "input_audio" => {
            only(body, &["data", "format"])?;
            Some(Content::Audio { data: text("data")??, format: text("format")?? })
        }
        "file" => {
            only(body, &["file_id", "filename", "file_data"])?;
            let source = match (text("file_id"), text("file_data")) {
                (Some(id), None) => Source::Id(id?),
                (None, Some(data)) => source(&data?),
                _ => return None,
            };
            let name = text("filename").map_or(Some(None), |name| name.map(Some))?;
            Some(Content::File { source, name })
        }
        _ => None,
    }
}

/// The member of a part that marks the prompt for caching.
pub(in crate::wire) const CACHE: &str = "prompt_cache_breakpoint";

/// The lifetimes that a mark may have.
const TTLS: [(&str, Duration); 2] = [("30m", Duration::from_secs(30 * 60)), ("12h", Duration::from_secs(12 * 60 * 60))];

pub(in crate::wire) fn read_mark(raw: Raw<'_>) -> Option<CacheMark> {
    only(raw, &["mode", "ttl"])?;
    raw.member("mode").filter(|mode| mode.text() == "\"explicit\"")?;
    let ttl = match raw.member("ttl") {
        None => None,
        Some(ttl) => {
            let ttl = ttl.exact_string()?;
            Some(TTLS.into_iter().find(|(name, _)| *name == ttl)?.1)
        }
    };
    Some(CacheMark { ttl })
}

pub(in crate::wire) fn write_mark(writer: &mut Writer, mark: CacheMark) {
    writer.key(CACHE).object(|writer| {
        writer.key("mode").string("explicit");
        if let Some(ttl) = mark.ttl {
            // The shortest that lasts as long, else the longest.
            let name = TTLS.into_iter().find(|(_, lasts)| ttl <= *lasts).unwrap_or(TTLS[1]).0;
            writer.key("ttl").string(name);
        }
    });
}

/// The dialects whose seals are told in `reasoning_details`, by the names that routers of many providers use.
const FORMATS: [(&str, Dialect); 3] = [
    ("anthropic-claude-v1", Dialect::Anthropic),
    ("openai-responses-v1", Dialect::OpenAiResponses),
    ("google-gemini-v1", Dialect::Gemini),
];

/// Thoughts with their seals; `None` if something in them would be lost.
pub(super) fn read_details(raw: Raw<'_>) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for detail in raw.items() {
        only(detail, &["type", "text", "signature", "data", "format", "index", "id"])?;
        let text = |name| detail.member(name).map(|text| text.exact_string().map(Cow::into_owned));
        let format = text("format").flatten();
        let dialect =
            FORMATS.into_iter().find(|(name, _)| Some(*name) == format.as_deref()).map(|(_, dialect)| dialect);
        let seal = |value: String| Some(Signature { dialect: dialect?, value });
        parts.push(match detail.member("type")?.exact_string()?.as_ref() {
            "reasoning.text" => {
                let mut part = thought(text("text").map_or(Some(String::new()), |text| text)?);
                if let Some(signature) = text("signature") {
                    part.signature = Some(seal(signature?)?);
                }
                part
            }
            "reasoning.encrypted" => {
                let content = Content::Reasoning(Reasoning { text: String::new(), redacted: true });
                Part { signature: Some(seal(text("data")??)?), ..Part::new(content) }
            }
            _ => return None,
        });
    }
    (raw.kind() == Kind::Array).then_some(parts)
}

/// Writes what `reasoning_details` holds of a thought.
pub(super) fn write_detail(writer: &mut Writer, index: usize, reasoning: &Reasoning, signature: Option<&Signature>) {
    writer.object(|writer| {
        let kind = if reasoning.redacted { "reasoning.encrypted" } else { "reasoning.text" };
        writer.key("type").string(kind);
        if !reasoning.redacted {
            writer.key("text").string(&reasoning.text);
        }
        if let Some(signature) = signature {
            writer.key(if reasoning.redacted { "data" } else { "signature" }).string(&signature.value);
            if let Some((format, _)) = FORMATS.into_iter().find(|(_, dialect)| *dialect == signature.dialect) {
                writer.key("format").string(format);
            }
        }
        writer.key("index").integer(index);
    });
}

/// A link to a page; other annotations say nothing that has a neutral form.
pub(super) fn read_citation(raw: Raw<'_>) -> Option<Citation> {
    let link = raw.member("url_citation")?;
    let text = |name| link.member(name).and_then(Raw::string).map(Cow::into_owned);
    let place = |name| link.member(name).and_then(Raw::u64).and_then(|place| u32::try_from(place).ok());
    Some(Citation {
        url: text("url"),
        title: text("title"),
        quote: None,
        span: place("start_index").zip(place("end_index")),
        native: Some((Dialect::OpenAi, raw.json())),
    })
}

/// A data URI as its media type and base64, anything else as an address.
pub(in crate::wire) fn source(url: &str) -> Source {
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

/// A call; one with members within that would be lost stays as it is.
fn read_call(raw: Raw<'_>, path: &str) -> Result<Part, Error> {
    let kind = of_type(raw);
    let custom = kind.as_deref() == Some("custom");
    let (member, input) = if custom { ("custom", "input") } else { ("function", "arguments") };
    let body = match (kind.as_deref(), raw.member(member)) {
        (None | Some("function" | "custom"), Some(body)) => body,
        (None, None) => return Err(missing(&format!("{path}.type"))),
        (Some("function" | "custom"), None) => return Err(missing(&format!("{path}.{member}"))),
        (Some(_), _) => return Err(wrong_value(&format!("{path}.type"), "it is neither function nor custom")),
    };
    if only(body, &["name", input]).is_none() {
        return kind.map(|_| other(raw)).ok_or_else(|| missing(&format!("{path}.type")));
    }
    let id = read::text(raw, path, "id")?;
    let body_path = format!("{path}.{member}");
    let name = read::text(body, &body_path, "name")?;
    let arguments = match body.member(input) {
        Some(object) if object.kind() == Kind::Object && !custom => object.text().to_owned(),
        _ => read::text(body, &body_path, input)?,
    };
    let mut part = Part::new(Content::ToolCall(ToolCall { id, name, arguments, custom }));
    for (key, value) in raw.members().filter(|(_, value)| !value.is_null()) {
        if !["id", "index", "type", member].contains(&key.as_ref()) {
            keep_of_call(&mut part, &key, value);
        }
    }
    Ok(part)
}

/// Keeps a member of a call: Google's seal as the part's, others as they are.
fn keep_of_call(part: &mut Part, key: &str, value: Raw<'_>) {
    match seal::read(value).filter(|_| key == seal::MEMBER) {
        Some(seal) => part.signature = Some(seal),
        None => keep(&mut part.extra, key, value),
    }
}

/// What the member `type` says; empty if it is no string.
fn of_type(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    raw.member("type").map(|kind| kind.string().unwrap_or_default())
}

fn other(raw: Raw<'_>) -> Part {
    Content::Other { dialect: Dialect::OpenAi, json: raw.json() }.into()
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
    match &part.content {
        Content::ToolResult { .. } => Place::Results,
        Content::ToolCall(_) => Place::Calls,
        Content::Refusal(_) | Content::Reasoning(_) => Place::Members,
        Content::Other { json, .. } => match Raw::parse(json.as_str().as_bytes()).ok().and_then(of_type).as_deref() {
            Some("function" | "custom") => Place::Calls,
            _ => Place::Content,
        },
        _ => Place::Content,
    }
}

/// Writes a message of a request as it is: one for each tool result, then one with the rest.
pub(super) fn write_message(writer: &mut Writer, message: &Message) {
    let mut results = 0;
    for part in &message.parts {
        if let Content::ToolResult { call_id, content, .. } = &part.content {
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
                    write_members(writer, message);
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
            write_members(writer, message);
        }
    });
}

/// Writes what a message of a request says beside its content.
fn write_members(writer: &mut Writer, message: &Message) {
    if let Some(refusal) = refusal(&message.parts) {
        writer.key("refusal").string(&refusal);
    }
    write_thoughts_and_calls(writer, &message.parts, Shown::Sealed);
    message.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
}

/// What is told of an answer's thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    /// Their texts.
    Thoughts,
    /// Their texts and their seals.
    Sealed,
}

impl Shown {
    /// What `options` want told of an answer that was read `from` that dialect.
    pub(super) fn by(options: &AnswerOptions<'_>, from: Dialect) -> Self {
        match (options.thoughts, options.seals) {
            _ if from == Dialect::OpenAi => Self::Sealed,
            (true, true) => Self::Sealed,
            (true, false) => Self::Thoughts,
            (false, _) => Self::Nothing,
        }
    }
}

/// Writes the message of an answer that was read `from` that dialect: its content is one text.
pub(super) fn write_answer_message(writer: &mut Writer, message: &Message, from: Dialect, shown: Shown) {
    let native = from == Dialect::OpenAi;
    writer.object(|writer| {
        writer.key("role").string("assistant");
        let content = joined(&message.parts, |content| match content {
            Content::Text(text) => Some(text),
            _ => None,
        });
        let refusal = refusal(&message.parts);
        // An answer of nothing is an empty one where the dialect has no word for none.
        let empty = !native && refusal.is_none() && message.tool_calls().next().is_none();
        writer.key("content").optional_string(content.as_deref().or(empty.then_some("")));
        writer.key("refusal").optional_string(refusal.as_deref());
        write_annotations(writer, &message.parts);
        write_thoughts_and_calls(writer, &message.parts, shown);
        if native {
            message.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    });
}

/// Writes the citations that are links.
fn write_annotations(writer: &mut Writer, parts: &[Part]) {
    let mut links = Vec::new();
    let mut start = 0;
    for part in parts {
        let Some(text) = part.as_text() else { continue };
        let end = start + text.chars().count();
        links.extend(part.citations.iter().map(|citation| (citation, start..end)));
        start = end;
    }
    links.retain(|(citation, _)| is_link(citation));
    if !links.is_empty() {
        writer.key("annotations").array(|writer| {
            links.iter().for_each(|(citation, part)| write_citation(writer, citation, part.start, part.end));
        });
    }
}

/// Whether a citation has a form here.
pub(super) const fn is_link(citation: &Citation) -> bool {
    citation.url.is_some() || matches!(citation.native, Some((Dialect::OpenAi, _)))
}

/// Writes a citation of the characters `start..end`, unless it says which.
pub(super) fn write_citation(writer: &mut Writer, citation: &Citation, start: usize, end: usize) {
    if let Some((Dialect::OpenAi, native)) = &citation.native {
        return writer.json(native);
    }
    writer.object(|writer| {
        writer.key("type").string("url_citation");
        writer.key("url_citation").object(|writer| {
            let (start, end) = citation.span.map_or((start, end), |(start, end)| (start as usize, end as usize));
            writer.key("start_index").integer(start);
            writer.key("end_index").integer(end);
            writer.key("title").string(citation.title.as_deref().unwrap_or_default());
            writer.key("url").string(citation.url.as_deref().unwrap_or_default());
        });
    });
}

fn write_thoughts_and_calls(writer: &mut Writer, parts: &[Part], shown: Shown) {
    let says = |part: &Part| matches!(&part.content, Content::Reasoning(thought) if !thought.text.is_empty());
    match shown {
        Shown::Sealed => write_thoughts(writer, parts, "reasoning_content", true),
        Shown::Thoughts if parts.iter().any(says) => write_thoughts(writer, parts, "reasoning_content", false),
        Shown::Thoughts | Shown::Nothing => {}
    }
    let calls: Vec<_> = parts.iter().filter(|part| place(part) == Place::Calls).collect();
    if !calls.is_empty() {
        writer.key("tool_calls").array(|writer| calls.iter().for_each(|call| write_call(writer, call)));
    }
}

/// Writes the thoughts under `field`, and their seals if they are wanted.
pub(super) fn write_thoughts(writer: &mut Writer, parts: &[Part], field: &str, seals: bool) {
    let text = joined(parts, |content| match content {
        Content::Reasoning(reasoning) if !reasoning.redacted => Some(&reasoning.text),
        _ => None,
    });
    if let Some(text) = text {
        writer.key(field).string(&text);
    }
    let thoughts = || {
        parts.iter().filter_map(|part| match &part.content {
            Content::Reasoning(reasoning) => Some((reasoning, part.signature.as_ref())),
            _ => None,
        })
    };
    if seals && thoughts().any(|(_, signature)| signature.is_some()) {
        writer.key("reasoning_details").array(|writer| {
            for (index, (reasoning, signature)) in thoughts().enumerate() {
                write_detail(writer, index, reasoning, signature);
            }
        });
    }
}

fn refusal(parts: &[Part]) -> Option<String> {
    joined(parts, |content| match content {
        Content::Refusal(text) => Some(text),
        _ => None,
    })
}

/// The texts that `of` finds, joined without a separator; `None` if it finds none.
fn joined<'a>(parts: &'a [Part], of: impl Fn(&'a Content) -> Option<&'a String>) -> Option<String> {
    let texts: Vec<_> = parts.iter().filter_map(|part| of(&part.content)).map(String::as_str).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

fn write_call(writer: &mut Writer, part: &Part) {
    match &part.content {
        Content::ToolCall(call) => writer.object(|writer| {
            write_call_members(writer, call);
            if let Some(Signature { dialect: Dialect::Gemini, value }) = &part.signature {
                seal::write(writer, value);
            }
            part.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }),
        Content::Other { json, .. } => writer.json(json),
        _ => {}
    }
}

/// Writes the members of a call that say what it is.
pub(super) fn write_call_members(writer: &mut Writer, call: &ToolCall) {
    let (kind, input) = if call.custom { ("custom", "input") } else { ("function", "arguments") };
    writer.key("id").string(&call.id);
    writer.key("type").string(kind);
    writer.key(kind).object(|writer| {
        writer.key("name").string(&call.name);
        writer.key(input).string(&call.arguments);
    });
}

/// One text as a string, anything else as an array of parts.
fn write_content(writer: &mut Writer, parts: &[&Part]) {
    match parts {
        [] => writer.string(""),
        [Part { content: Content::Text(text), cache: None, extra, .. }] if extra.is_empty() => writer.string(text),
        parts => writer.array(|writer| parts.iter().for_each(|part| write_part(writer, part))),
    }
}

fn write_part(writer: &mut Writer, part: &Part) {
    if let Content::Other { json, .. } = &part.content {
        return writer.json(json);
    }
    writer.object(|writer| {
        write_part_members(writer, &part.content, None);
        if let Some(mark) = part.cache {
            write_mark(writer, mark);
        }
        part.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
    });
}

/// Writes the members of a part that say what it is; a file without a name is given `file_name`.
pub(super) fn write_part_members(writer: &mut Writer, content: &Content, file_name: Option<&str>) {
    match content {
        Content::Text(text) => {
            writer.key("type").string("text");
            writer.key("text").string(text);
        }
        Content::Image { source, detail } => {
            writer.key("type").string("image_url");
            writer.key("image_url").object(|writer| {
                write_source(writer, source, "url");
                if let Some(detail) = detail {
                    writer.key("detail").string(detail);
                }
            });
        }
        Content::Audio { data, format } => {
            writer.key("type").string("input_audio");
            writer.key("input_audio").object(|writer| {
                writer.key("data").string(data);
                writer.key("format").string(format);
            });
        }
        Content::File { source, name } => {
            writer.key("type").string("file");
            writer.key("file").object(|writer| {
                if let Some(name) = name.as_deref().or(file_name) {
                    writer.key("filename").string(name);
                }
                write_source(writer, source, "file_data");
            });
        }
        Content::Refusal(text) => {
            writer.key("type").string("refusal");
            writer.key("refusal").string(text);
        }
        _ => {}
    }
}

pub(in crate::wire) fn write_source(writer: &mut Writer, source: &Source, key: &str) {
    match source {
        Source::Url(url) => writer.key(key).string(url),
        Source::Base64 { media_type, data } => write_data(writer.key(key), media_type, data),
        Source::Text { media_type, text } => write_data(writer.key(key), media_type, &BASE64.encode(text)),
        Source::Id(id) => writer.key("file_id").string(id),
    }
}

/// Writes a data URI. What may be megabytes long is copied once.
fn write_data(writer: &mut Writer, media_type: &str, data: &str) {
    let plain = |text: &str| text.bytes().all(|byte| byte > b' ' && byte < 0x7f && !matches!(byte, b'"' | b'\\'));
    if !plain(media_type) || !plain(data) {
        return writer.string(&format!("data:{media_type};base64,{data}"));
    }
    for piece in ["\"data:", media_type, ";base64,", data, "\""] {
        writer.raw(piece.as_bytes());
    }
}
