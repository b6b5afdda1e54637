//! Whole answers, and the numbers of tokens.

use std::ops::Range;

use bytes::Bytes;
use llm_core::{
    Choice, Citation, CompletionResponse, Content, Dialect, Error, ErrorKind, Message, Part, Role, StopReason,
};

use super::error::{error_within, not_json};
use super::member::{count, member, members, text};
use super::part::{PartReader, object_text, write_call, write_seal};
use super::probability;
use super::usage::{read_usage, write_usage};
use crate::wire::AnswerOptions;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::keep;
use crate::wire::told::clean;

/// Reads an answer. One to a prompt that was blocked is a refusal.
pub(super) fn decode_response(body: &[u8]) -> Result<CompletionResponse, Error> {
    let raw = read_object(body)?;
    let mut response = CompletionResponse { dialect: Some(Dialect::Gemini), ..CompletionResponse::new("", "") };
    let mut candidates = None;
    for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "candidates" => candidates = Some(value).filter(|list| list.items().next().is_some()),
            "usageMetadata" => response.usage = read_usage(value),
            "modelVersion" => response.model = value.string().unwrap_or_default().into_owned(),
            "responseId" => response.id = value.string().unwrap_or_default().into_owned(),
            name => keep(&mut response.extra, name, value),
        }
    }
    match (candidates, blocked(raw)) {
        (Some(candidates), _) => {
            let mut reader = PartReader::new(call_prefix(&response.id));
            for (place, candidate) in candidates.items().enumerate() {
                response.choices.push(read_candidate(candidate, place, &mut reader)?);
            }
        }
        (None, Some(why)) => {
            let message = Message::new(Role::Assistant, vec![Content::Refusal(why).into()]);
            let stop = Some(StopReason::ContentFilter);
            response.choices.push(Choice { index: 0, message, stop, logprobs: None });
        }
        (None, None) => return Err(no_candidates(raw)),
    }
    Ok(response)
}

/// The object that an answer or an event is, unless it is an error.
pub(super) fn read_object(body: &[u8]) -> Result<Raw<'_>, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    match error_within(raw) {
        Some(error) => Err(error),
        None if raw.kind() == Kind::Object => Ok(raw),
        None => Err(no_candidates(raw)),
    }
}

fn no_candidates(raw: Raw<'_>) -> Error {
    let what = match raw.kind() {
        Kind::Object => "the provider's answer has no 'candidates'".to_owned(),
        kind => format!("the provider's answer is {}, not an object", kind.name()),
    };
    Error::new(ErrorKind::BadAnswer, what)
}

/// What the ids of an answer's calls begin with that have none.
pub(super) fn call_prefix(id: &str) -> String {
    format!("call_{id}_")
}

/// Why the prompt was blocked, if it was.
pub(super) fn blocked(raw: Raw<'_>) -> Option<String> {
    let feedback = member(raw, "promptFeedback")?;
    let reason = text(feedback, "blockReason")?;
    let told = text(feedback, "blockReasonMessage").filter(|told| !told.is_empty());
    Some(told.unwrap_or_else(|| format!("the prompt was blocked: {reason}")))
}

/// Why a candidate ended. `called` and `said` tell whether it calls a tool, and whether it has content at all.
///
/// # Errors
/// `BadAnswer` for reasons that are failures.
pub(super) fn stop_reason(reason: &str, called: bool, said: bool, why: Option<&str>) -> Result<StopReason, Error> {
    Ok(match reason {
        "STOP" if called => StopReason::ToolCalls,
        "STOP" => StopReason::Stop,
        "OTHER" if said => StopReason::Stop,
        "MAX_TOKENS" => StopReason::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE" | "MODEL_ARMOR" => {
            StopReason::ContentFilter
        }
        image if image.starts_with("IMAGE_") => StopReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE"
        | "TOO_MANY_TOOL_CALLS" => {
            let why = why.map(|why| format!(": {}", clean(why))).unwrap_or_default();
            return Err(Error::new(ErrorKind::BadAnswer, format!("the provider's answer failed, {reason}{why}")));
        }
        other => StopReason::Other(other.to_owned()),
    })
}

/// The reason's name here, of an answer that is this dialect's own if `native`.
pub(super) fn reason_name(reason: &StopReason, native: bool) -> &str {
    match reason {
        StopReason::Length | StopReason::ContextWindow => "MAX_TOKENS",
        StopReason::ContentFilter => "SAFETY",
        StopReason::Other(other) if native => other,
        _ => "STOP",
    }
}

fn read_candidate(raw: Raw<'_>, place: usize, reader: &mut PartReader) -> Result<Choice, Error> {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    let mut choice =
        Choice { index: place, message: Message::new(Role::Assistant, Vec::new()), stop: None, logprobs: None };
    let (mut reason, mut why, mut citations) = (None, None, Vec::new());
    for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
        match key.as_ref() {
            "index" => choice.index = count(value).and_then(|index| u32::try_from(index).ok()).unwrap_or(place),
            "content" => {
                let parts = member(value, "parts").into_iter().flat_map(Raw::items);
                choice.message.parts = parts.map(|part| reader.read_any(part)).collect();
            }
            "finishReason" => reason = value.string(),
            "logprobsResult" => choice.logprobs = probability::read(value),
            name => {
                match name {
                    "finishMessage" => why = value.string(),
                    "citationMetadata" | "groundingMetadata" => citations.push(value),
                    _ => {}
                }
                keep(&mut choice.message.extra, name, value);
            }
        }
    }
    for metadata in citations {
        cite(&mut choice.message.parts, metadata);
    }
    let Some(reason) = reason.filter(|reason| !reason.is_empty()) else { return Ok(choice) };
    let called = choice.message.tool_calls().next().is_some();
    let stop = stop_reason(&reason, called, !choice.message.parts.is_empty(), why.as_deref())?;
    if reason_name(&stop, true) != reason {
        choice.message.extra.push(("finishReason".to_owned(), quoted(&reason)));
    }
    choice.stop = Some(stop);
    Ok(choice)
}

fn quoted(text: &str) -> llm_core::Json {
    let mut writer = Writer::default();
    writer.string(text);
    let text = String::from_utf8(writer.into_bytes().to_vec()).expect("a string is written in UTF-8");
    llm_core::Json::parse(text).expect("a string is JSON")
}

/// Adds what `metadata` says the text is based on to its last part.
fn cite(parts: &mut [Part], metadata: Raw<'_>) {
    let characters = |parts: &[Part]| parts.iter().filter_map(Part::as_text).map(|text| text.chars().count()).sum();
    let mut found = Vec::new();
    for (citation, segment) in citations(metadata) {
        let of = segment.as_ref().and_then(|segment| segment.part).unwrap_or(0);
        // Bytes of a part here, characters of the whole text there.
        let span = segment.and_then(|segment| {
            let text = parts.get(of)?.as_text()?;
            let before: usize = characters(&parts[..of]);
            let end = |at: usize| u32::try_from(before + text.get(..at)?.chars().count()).ok();
            Some((end(segment.bytes.start)?, end(segment.bytes.end)?))
        });
        found.push(Citation { span, ..citation });
    }
    if let Some(said) = parts.iter_mut().rfind(|part| part.as_text().is_some()) {
        said.citations.extend(found);
    }
}

/// A piece of a part's text.
pub(super) struct Segment {
    part: Option<usize>,
    bytes: Range<usize>,
}

/// The links in `citationMetadata` or `groundingMetadata`, each with the text that rests on it where that is said.
pub(super) fn citations(raw: Raw<'_>) -> Vec<(Citation, Option<Segment>)> {
    let number = |raw: Raw<'_>, name| member(raw, name).and_then(count).and_then(|at| usize::try_from(at).ok());
    let segment = |raw: Raw<'_>| {
        let bytes = number(raw, "startIndex").unwrap_or(0)..number(raw, "endIndex")?;
        Some(Segment { part: number(raw, "partIndex"), bytes })
    };
    let link = |raw: Raw<'_>| Citation { url: text(raw, "uri"), title: text(raw, "title"), ..Citation::default() };
    let mut found: Vec<_> = ["citationSources", "citations"]
        .into_iter()
        .flat_map(|name| member(raw, name).into_iter().flat_map(Raw::items))
        .map(|source| (link(source), segment(source)))
        .collect();
    let chunks: Vec<_> = member(raw, "groundingChunks").into_iter().flat_map(Raw::items).collect();
    let linked = |chunk: Raw<'_>| members(chunk).next().map(|(_, source)| link(source));
    let mut cited = vec![false; chunks.len()];
    for support in member(raw, "groundingSupports").into_iter().flat_map(Raw::items) {
        for place in member(support, "groundingChunkIndices").into_iter().flat_map(Raw::items) {
            let place = count(place).and_then(|place| usize::try_from(place).ok());
            let Some((place, chunk)) = place.and_then(|place| Some((place, *chunks.get(place)?))) else { continue };
            cited[place] = true;
            found.extend(linked(chunk).map(|link| (link, member(support, "segment").and_then(segment))));
        }
    }
    let rest = chunks.iter().zip(cited).filter(|(_, cited)| !cited);
    found.extend(rest.filter_map(|(chunk, _)| Some((linked(*chunk)?, None))));
    found.retain(|(citation, _)| citation.url.is_some());
    found
}

/// Writes an answer that may have been read from another dialect: what is another's own is left out.
pub(super) fn encode_response(response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
    let native = options.from.or(response.dialect) == Some(Dialect::Gemini);
    let thoughts = shows_thoughts(options, native);
    let mut writer = Writer::default();
    writer.object(|writer| {
        if !(native && is_blocked(response)) {
            writer.key("candidates").array(|writer| {
                response.choices.iter().for_each(|choice| write_candidate(writer, choice, native, thoughts));
            });
        }
        if let Some(usage) = &response.usage {
            writer.key("usageMetadata");
            write_usage(writer, usage);
        }
        writer.key("modelVersion").string(options.model.unwrap_or(&response.model));
        writer.key("responseId").string(if response.id.is_empty() { options.id } else { &response.id });
        if native {
            response.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    });
    writer.into_bytes()
}

/// Whether thoughts are told: if they were asked for, or the answer is this dialect's own and tells them anyway.
pub(super) fn shows_thoughts(options: &AnswerOptions<'_>, native: bool) -> bool {
    native || options.thoughts || options.request.is_some_and(|request| request.show_thoughts == Some(true))
}

/// Whether an answer of this dialect's tells of a prompt that was blocked, and nothing else.
fn is_blocked(response: &CompletionResponse) -> bool {
    let refused = |part: &Part| matches!(part.content, Content::Refusal(_));
    response.extra.iter().any(|(name, _)| name == "promptFeedback")
        && response.choices.iter().all(|choice| choice.message.parts.iter().all(refused))
        && response.choices.iter().any(|choice| !choice.message.parts.is_empty())
}

fn write_candidate(writer: &mut Writer, choice: &Choice, native: bool, thoughts: bool) {
    let calls = || choice.message.tool_calls();
    let malformed = calls().find(|call| !call.custom && object_text(&call.arguments).is_none());
    writer.object(|writer| {
        writer.key("index").integer(choice.index);
        writer.key("content").object(|writer| {
            writer.key("role").string("model");
            writer.key("parts").array(|writer| {
                choice.message.parts.iter().for_each(|part| write_part(writer, part, native, thoughts));
            });
        });
        let extra = || choice.message.extra.iter().filter(|_| native);
        if let Some(call) = malformed {
            writer.key("finishReason").string(MALFORMED);
            writer.key("finishMessage").string(&malformed_message(&call.name));
        } else if let Some(stop) = &choice.stop
            && !extra().any(|(name, _)| name == "finishReason")
        {
            writer.key("finishReason").string(reason_name(stop, native));
        }
        if let Some(logprobs) = &choice.logprobs {
            writer.key("logprobsResult");
            probability::write(writer, logprobs);
        }
        if native {
            let replaced = |name: &str| malformed.is_some() && name.starts_with("finish");
            extra().filter(|(name, _)| !replaced(name)).for_each(|(key, value)| writer.key(key).json(value));
        } else {
            write_citations(writer, &choice.message.parts);
        }
    });
}

/// How Google ends an answer whose call has no arguments that it could give.
pub(super) const MALFORMED: &str = "MALFORMED_FUNCTION_CALL";

pub(super) fn malformed_message(name: &str) -> String {
    format!("the arguments of the call to '{name}' are no JSON object")
}

fn write_part(writer: &mut Writer, part: &Part, native: bool, thoughts: bool) {
    let sealed = part.signature.as_ref().is_some_and(|seal| seal.dialect == Dialect::Gemini);
    let open = |writer: &mut Writer, body: &dyn Fn(&mut Writer)| {
        writer.object(|writer| {
            body(writer);
            write_seal(writer, part.signature.as_ref());
            if native {
                part.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
            }
        });
    };
    match &part.content {
        Content::Text(text) | Content::Refusal(text) if !text.is_empty() || sealed => {
            open(writer, &|writer| writer.key("text").string(text));
        }
        Content::Reasoning(thought) if thoughts && !thought.redacted && (!thought.text.is_empty() || sealed) => {
            open(writer, &|writer| {
                writer.key("text").string(&thought.text);
                writer.key("thought").bool(true);
            });
        }
        Content::ToolCall(call) => {
            let input = || {
                let mut input = Writer::default();
                input.object(|input| input.key("input").string(&call.arguments));
                String::from_utf8_lossy(&input.into_bytes()).into_owned()
            };
            let args = if call.custom { Some(input()) } else { object_text(&call.arguments).map(str::to_owned) };
            if let Some(args) = args {
                open(writer, &|writer| write_call(writer, Some(&call.id), &call.name, &args));
            }
        }
        Content::Image { source: llm_core::Source::Base64 { media_type, data }, .. }
        | Content::File { source: llm_core::Source::Base64 { media_type, data }, .. } => {
            open(writer, &|writer| {
                writer.key("inlineData").object(|writer| {
                    writer.key("mimeType").string(media_type);
                    writer.key("data").string(data);
                });
            });
        }
        Content::Other { dialect: Dialect::Gemini, json } => writer.json(json),
        _ => {}
    }
}

/// Writes what the texts are based on, as far as it is on the web.
fn write_citations(writer: &mut Writer, parts: &[Part]) {
    let whole: String = parts.iter().filter_map(Part::as_text).collect();
    let links: Vec<_> = parts.iter().flat_map(|part| &part.citations).filter(|link| link.url.is_some()).collect();
    if links.is_empty() {
        return;
    }
    writer.key("citationMetadata").object(|writer| {
        writer.key("citationSources").array(|writer| {
            links.iter().for_each(|link| write_citation(writer, link, Some(&whole)));
        });
    });
}

/// Writes a citation; where it stands only if the text is known, since it is counted in bytes here.
pub(super) fn write_citation(writer: &mut Writer, citation: &Citation, text: Option<&str>) {
    writer.object(|writer| {
        if let (Some((start, end)), Some(text)) = (citation.span, text) {
            let byte = |at: u32| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
            writer.key("startIndex").integer(byte(start));
            writer.key("endIndex").integer(byte(end));
        }
        for (key, value) in [("uri", &citation.url), ("title", &citation.title)] {
            if let Some(value) = value {
                writer.key(key).string(value);
            }
        }
    });
}

/// Reads the number of a prompt's tokens.
pub(super) fn decode_count(body: &[u8]) -> Result<u64, Error> {
    let raw = read_object(body)?;
    let tokens = member(raw, "totalTokens").and_then(count);
    tokens.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the provider's answer has no 'totalTokens'"))
}

/// Writes the number of a prompt's tokens.
pub(super) fn encode_count(tokens: u64) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| writer.key("totalTokens").integer(tokens));
    writer.into_bytes()
}
