//! Parts of contents, as requests and answers have them.
//!
//! What has no neutral form is kept: a part as [`Content::Other`], a member of one in its `extra`.

use std::borrow::Cow;

use llm_core::{Content, Dialect, Error, Part, Reasoning, Signature, Source, ToolCall};

use super::member::{member, members, only};
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::{boolean, keep, string, wrong_type, wrong_value};

/// The members of which a part has one.
const BODIES: [&str; 9] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
];

/// Where the media type of a file that is elsewhere is kept.
pub(super) const MEDIA_TYPE: &str = "fileData.mimeType";

/// Reads the parts of one conversation or answer, in order. Calls need no id here: those without one are numbered, and
/// results without one are those of the first call of their tool that still waits.
#[derive(Debug)]
pub(super) struct PartReader {
    /// What the ids begin with that are made here.
    prefix: String,
    calls: u32,
    /// The calls that wait for their results: id and tool.
    open: Vec<(String, String)>,
}

impl PartReader {
    /// A reader of parts whose calls are named `prefix` and a number.
    pub(super) const fn new(prefix: String) -> Self {
        Self { prefix, calls: 0, open: Vec::new() }
    }

    /// Reads a part of a request; `path` names it in errors.
    pub(super) fn read(&mut self, raw: Raw<'_>, path: &str) -> Result<Part, Error> {
        if raw.kind() != Kind::Object {
            return Err(wrong_type(path, "an object", raw.kind()));
        }
        for name in ["text", "thoughtSignature"] {
            if let Some(text) = member(raw, name) {
                string(text, &format!("{path}.{name}"))?;
            }
        }
        if let Some(thought) = member(raw, "thought") {
            boolean(thought, &format!("{path}.thought"))?;
        }
        if let Some(args) = member(raw, "functionCall").and_then(|call| member(call, "args"))
            && args.kind() != Kind::Object
        {
            return Err(wrong_type(&format!("{path}.functionCall.args"), "an object", args.kind()));
        }
        Ok(self.read_any(raw))
    }

    /// Reads a part as far as it can be understood.
    pub(super) fn read_any(&mut self, raw: Raw<'_>) -> Part {
        self.known(raw).unwrap_or_else(|| Content::Other { dialect: Dialect::Gemini, json: raw.json() }.into())
    }

    /// The part's neutral form; `None` if it has none, or members within that would be lost.
    fn known(&mut self, raw: Raw<'_>) -> Option<Part> {
        let mut body: Option<(Cow<'_, str>, Raw<'_>)> = None;
        let (mut thought, mut signature, mut extra) = (false, None, Vec::new());
        for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                name if BODIES.contains(&name) => {
                    if body.replace((key, value)).is_some() {
                        return None;
                    }
                }
                "thought" => thought = value.bool()?,
                "thoughtSignature" => {
                    let value = value.string()?.into_owned();
                    signature = Some(Signature { dialect: Dialect::Gemini, value });
                }
                name => keep(&mut extra, name, value),
            }
        }
        let content = match &body {
            // Only a seal: that of a text of nothing.
            None if thought => Content::Reasoning(Reasoning::default()),
            None if signature.is_some() => Content::Text(String::new()),
            None => return None,
            Some((key, value)) => match key.as_ref() {
                "text" if thought => {
                    Content::Reasoning(Reasoning { text: value.string()?.into_owned(), redacted: false })
                }
                "text" => Content::Text(value.string()?.into_owned()),
                _ if thought => return None,
                "inlineData" => inline(*value)?,
                "fileData" => {
                    let (content, media_type) = elsewhere(*value)?;
                    keep(&mut extra, MEDIA_TYPE, media_type);
                    content
                }
                "functionCall" => Content::ToolCall(self.call(*value)?),
                "functionResponse" => self.result(*value)?,
                _ => return None,
            },
        };
        Some(Part { signature, extra, ..Part::new(content) })
    }

    fn call(&mut self, raw: Raw<'_>) -> Option<ToolCall> {
        only(raw, &["id", "name", "args"])?;
        let name = member(raw, "name")?.exact_string()?.into_owned();
        let arguments = member(raw, "args").map_or("{}", Raw::text).to_owned();
        let id = member(raw, "id").and_then(Raw::string).filter(|id| !id.is_empty());
        let id = id.map_or_else(|| call_id(&self.prefix, self.calls), Cow::into_owned);
        self.calls += 1;
        self.open.push((id.clone(), name.clone()));
        Some(ToolCall { id, name, arguments, custom: false })
    }

    fn result(&mut self, raw: Raw<'_>) -> Option<Content> {
        only(raw, &["id", "name", "response", "parts"])?;
        let response = member(raw, "response");
        if response.is_some_and(|response| response.kind() != Kind::Object) {
            return None;
        }
        let name = member(raw, "name")?.exact_string()?;
        let id = member(raw, "id").and_then(Raw::string).filter(|id| !id.is_empty());
        let place = self.open.iter().position(|(call, tool)| match &id {
            Some(id) => call == id.as_ref() && *tool == name,
            None => *tool == name,
        })?;
        let mut content = Vec::new();
        for part in member(raw, "parts").into_iter().flat_map(Raw::items) {
            only(part, &["inlineData"])?;
            content.push(inline(member(part, "inlineData")?)?.into());
        }
        let (text, is_error) = response.map_or((String::new(), false), read_response);
        content.insert(0, Part::text(text));
        let (call_id, _) = self.open.remove(place);
        Some(Content::ToolResult { call_id, content, is_error })
    }
}

/// The id of the call `number` of an answer or a conversation, where it has none.
pub(super) fn call_id(prefix: &str, number: u32) -> String {
    format!("{prefix}{number}")
}

/// Checks that calls are the model's and results are the user's.
pub(super) fn check_role(part: &Part, from_model: bool, path: &str) -> Result<(), Error> {
    match &part.content {
        Content::ToolCall(_) if !from_model => Err(wrong_value(path, "tools are called by the model")),
        Content::ToolResult { .. } if from_model => Err(wrong_value(path, "tools answer as the user")),
        _ => Ok(()),
    }
}

fn inline(raw: Raw<'_>) -> Option<Content> {
    only(raw, &["mimeType", "data", "displayName"])?;
    let text = |name| member(raw, name).map(|text| text.exact_string().map(Cow::into_owned));
    let (media_type, data) = (text("mimeType")??, text("data")??);
    let name = text("displayName").map_or(Some(None), |name| name.map(Some))?;
    let (kind, format) = media_type.split_once('/')?;
    Some(match kind {
        "image" if name.is_none() => Content::Image { source: Source::Base64 { media_type, data }, detail: None },
        "audio" if name.is_none() => Content::Audio { data, format: audio_format(format).to_owned() },
        _ => Content::File { source: Source::Base64 { media_type, data }, name },
    })
}

/// A file that anybody can fetch, and its media type. One that only Google has is of no use to others.
fn elsewhere(raw: Raw<'_>) -> Option<(Content, Raw<'_>)> {
    only(raw, &["mimeType", "fileUri"])?;
    let uri = member(raw, "fileUri")?.exact_string()?.into_owned();
    let address = uri.strip_prefix("https://")?;
    let host = address.split(['/', '?', '#', ':']).next().unwrap_or_default();
    if host.ends_with("googleapis.com") || host.ends_with("youtube.com") || host == "youtu.be" {
        return None;
    }
    let media_type = member(raw, "mimeType")?;
    let source = Source::Url(uri);
    let content = match media_type.exact_string()?.split_once('/')? {
        ("image", _) => Content::Image { source, detail: None },
        _ => Content::File { source, name: None },
    };
    Some((content, media_type))
}

/// What a tool answered, as text, and whether that is an error.
fn read_response(raw: Raw<'_>) -> (String, bool) {
    let mut all = raw.members();
    if let (Some((key, value)), None) = (all.next(), all.next())
        && let (Some(text), "result" | "error") = (value.exact_string(), key.as_ref())
    {
        return (text.into_owned(), key == "error");
    }
    (compact(raw.text()), false)
}

/// JSON without white space between its tokens.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|character| {
            match character {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                _ => {}
            }
            in_string || !matches!(character, ' ' | '\t' | '\r' | '\n')
        })
        .collect()
}

/// The format that a subtype of audio is elsewhere.
fn audio_format(subtype: &str) -> &str {
    match subtype {
        "mpeg" => "mp3",
        "x-wav" => "wav",
        other => other,
    }
}

/// The media type of a format of sound; `None` if it can be none.
pub(super) fn audio_type(format: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-+.;= ".contains(&byte);
    match format {
        "mp3" => Some("audio/mpeg".to_owned()),
        _ if format.is_empty() || !format.bytes().all(plain) => None,
        _ => Some(format!("audio/{format}")),
    }
}

/// A call's arguments as an object's text: nothing is an empty one. `None` if they are something else.
pub(super) fn object_text(arguments: &str) -> Option<&str> {
    if arguments.trim().is_empty() {
        return Some("{}");
    }
    Raw::parse(arguments.as_bytes()).ok().filter(|raw| raw.kind() == Kind::Object).map(Raw::text)
}

/// Writes the member that calls a tool.
pub(super) fn write_call(writer: &mut Writer, id: Option<&str>, name: &str, args: &str) {
    writer.key("functionCall").object(|writer| {
        if let Some(id) = id {
            writer.key("id").string(id);
        }
        writer.key("name").string(name);
        writer.key("args").text(args);
    });
}

/// Writes the seal, if it is Google's.
pub(super) fn write_seal(writer: &mut Writer, signature: Option<&Signature>) {
    if let Some(Signature { dialect: Dialect::Gemini, value }) = signature {
        writer.key("thoughtSignature").string(value);
    }
}
