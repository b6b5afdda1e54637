//! Whole responses.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{
    Choice, CompletionResponse, Content, Dialect, Error, ErrorKind, Json, Message, Part, Role, StopReason, ToolCall,
};

use super::echo::write_echo;
use super::item::{read_said, read_thoughts};
use super::part::{is_known, write_citation};
use super::translate::{end_of_thoughts, write_thoughts};
use super::usage::{read_usage, write_usage};
use crate::wire::AnswerOptions;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::openai::{error_object, error_within, not_json};
use crate::wire::read::keep;
use crate::wire::seal as google;

/// The members of an answer that have a place of their own.
const KNOWN: [&str; 9] =
    ["id", "object", "created_at", "status", "error", "incomplete_details", "model", "output", "usage"];

/// Reads an answer.
///
/// # Errors
/// `BadAnswer` when it is none; what its `error` says when it failed.
pub(super) fn decode_response(body: &[u8]) -> Result<CompletionResponse, Error> {
    read_response(Raw::parse(body).map_err(|syntax| not_json(syntax, body))?)
}

pub(super) fn read_response(raw: Raw<'_>) -> Result<CompletionResponse, Error> {
    let output = raw.member("output").filter(|output| output.kind() == Kind::Array);
    if let Some(error) = failure(raw) {
        return Err(error);
    }
    let output = output.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the provider's answer has no 'output'"))?;
    let text = |name| raw.member(name).and_then(Raw::string).map(Cow::into_owned).unwrap_or_default();
    let mut message = Message::new(Role::Assistant, Vec::new());
    let mut logprobs = Vec::new();
    for item in output.items() {
        read_item(item, &mut message.parts, &mut logprobs);
    }
    let called = message.tool_calls().next().is_some();
    let stop = stop_reason(raw, called);
    let mut extra = Vec::new();
    for (key, value) in raw.members().filter(|(key, _)| !KNOWN.contains(&key.as_ref())) {
        keep(&mut extra, &key, value);
    }
    let logprobs = (!logprobs.is_empty()).then(|| logprobs_of(&logprobs));
    Ok(CompletionResponse {
        id: text("id"),
        model: text("model"),
        created: raw.member("created_at").and_then(Raw::u64),
        choices: vec![Choice { index: 0, message, stop: Some(stop), logprobs }],
        usage: raw.member("usage").and_then(read_usage),
        latency: None,
        extra,
        dialect: Some(Dialect::OpenAiResponses),
    })
}

/// What a response says went wrong.
pub(super) fn failure(raw: Raw<'_>) -> Option<Error> {
    match raw.member("error") {
        Some(error) if raw.member("status").is_some() => Some(error_object(error)),
        Some(_) => error_within(raw),
        None if raw.member("status").is_some_and(|status| status.text() == "\"failed\"") => {
            Some(Error::new(ErrorKind::Upstream, "the provider's answer failed"))
        }
        None => None,
    }
}

/// Why an answer ended: there is no word for it, but for the answers that are not whole.
pub(super) fn stop_reason(raw: Raw<'_>, called: bool) -> StopReason {
    let why = raw.member("incomplete_details").and_then(|details| details.member("reason")).and_then(Raw::string);
    match (raw.member("status").and_then(Raw::string).as_deref(), why.as_deref()) {
        (Some("incomplete"), Some("content_filter")) => StopReason::ContentFilter,
        (Some("incomplete"), None | Some("max_output_tokens")) => StopReason::Length,
        (Some("incomplete"), Some(why)) => StopReason::Other(why.to_owned()),
        (Some(status @ ("cancelled" | "queued" | "in_progress")), _) => StopReason::Other(status.to_owned()),
        _ if called => StopReason::ToolCalls,
        _ => StopReason::Stop,
    }
}

fn read_item<'a>(item: Raw<'a>, parts: &mut Vec<Part>, logprobs: &mut Vec<Raw<'a>>) {
    let text = |name| item.member(name).and_then(Raw::string).map(Cow::into_owned).unwrap_or_default();
    let other = || Part::new(Content::Other { dialect: Dialect::OpenAiResponses, json: item.json() });
    match text("type").as_str() {
        "message" => {
            parts.extend(read_said(item).map(|part| Part { extra: Vec::new(), ..part }));
            let said = item.member("content").into_iter().flat_map(Raw::items);
            logprobs.extend(said.filter_map(|part| part.member("logprobs")).flat_map(Raw::items));
        }
        kind @ ("function_call" | "custom_tool_call") => {
            let custom = kind == "custom_tool_call";
            let arguments = text(if custom { "input" } else { "arguments" });
            let call = ToolCall { id: text("call_id"), name: text("name"), arguments, custom };
            let signature = item.member(google::MEMBER).and_then(google::read);
            parts.push(Part { signature, ..Part::new(Content::ToolCall(call)) });
        }
        // Thoughts of which nothing is told have no place elsewhere.
        "reasoning" => match read_thoughts(item) {
            Some(thoughts) if !thoughts.iter().all(is_empty) => parts.extend(thoughts),
            _ => parts.push(other()),
        },
        _ => parts.push(other()),
    }
}

fn is_empty(part: &Part) -> bool {
    part.signature.is_none() && matches!(&part.content, Content::Reasoning(thought) if thought.text.is_empty())
}

/// Probabilities in chat's JSON.
pub(super) fn logprobs_of(tokens: &[Raw<'_>]) -> Json {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("content").array(|writer| tokens.iter().for_each(|token| writer.text(token.text())));
        writer.key("refusal").null();
    });
    super::request::json(writer)
}

/// The answer's name: its own if it is one of this dialect's, else made of the one it has.
pub(super) fn answer_id(id: &str, options_id: &str) -> String {
    let id = if id.is_empty() { options_id } else { id };
    if id.starts_with("resp_") { id.to_owned() } else { format!("resp_{id}") }
}

/// The name of the item at `at`.
pub(super) fn item_id(prefix: &str, answer: &str, at: usize) -> String {
    format!("{prefix}_{}_{at}", answer.strip_prefix("resp_").unwrap_or(answer))
}

/// How an answer ended: its status, and why it is not whole.
pub(super) const fn status(reason: Option<&StopReason>) -> (&'static str, Option<&'static str>) {
    match reason {
        Some(StopReason::Length | StopReason::ContextWindow) => ("incomplete", Some("max_output_tokens")),
        Some(StopReason::ContentFilter) => ("incomplete", Some("content_filter")),
        _ => ("completed", None),
    }
}

/// Writes an answer.
pub(super) fn encode_response(response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
    let from = options.from.or(response.dialect);
    let native = from.is_none_or(|from| from == Dialect::OpenAiResponses);
    let id = answer_id(&response.id, options.id);
    let choice = response.choices.iter().find(|choice| choice.index == 0).or_else(|| response.choices.first());
    let (mut status, mut why) = status(choice.and_then(|choice| choice.stop.as_ref()));
    if let Some(StopReason::Other(other)) = choice.and_then(|choice| choice.stop.as_ref()).filter(|_| native) {
        match other.as_str() {
            "cancelled" => status = "cancelled",
            "queued" => status = "queued",
            "in_progress" => status = "in_progress",
            "max_messages" => (status, why) = ("incomplete", Some("max_messages")),
            "steered" => (status, why) = ("incomplete", Some("steered")),
            _ => {}
        }
    }
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("id").string(&id);
        writer.key("object").string("response");
        writer.key("created_at").integer(response.created.unwrap_or(options.created));
        writer.key("status").string(status);
        writer.key("error").null();
        writer.key("incomplete_details");
        match why {
            Some(why) => writer.object(|writer| writer.key("reason").string(why)),
            None => writer.null(),
        }
        writer.key("model").string(options.model.unwrap_or(&response.model));
        writer.key("output").array(|writer| {
            if let Some(choice) = choice {
                write_output(writer, choice, &id, if why.is_some() { "incomplete" } else { "completed" });
            }
        });
        if native && !response.extra.is_empty() {
            response.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        } else {
            write_echo(writer, options.request);
        }
        writer.key("usage");
        match &response.usage {
            Some(usage) => write_usage(writer, usage),
            None => writer.null(),
        }
    });
    writer.into_bytes()
}

/// Writes the items of an answer; the last has the answer's status.
fn write_output(writer: &mut Writer, choice: &Choice, answer: &str, last: &'static str) {
    let parts = &choice.message.parts;
    let is_said = |part: &Part| matches!(part.content, Content::Text(_) | Content::Refusal(_));

    let mut logprobs = choice.logprobs.as_ref();
    let (mut place, mut item) = (0, 0);
    while place < parts.len() {
        let begin = place;
        place += 1;
        match &parts[begin].content {
            Content::ToolCall(call) => {
                let status = if place == parts.len() { last } else { "completed" };
                writer.object(|writer| write_call(writer, call, &parts[begin], &item_id("fc", answer, item), status));
            }
            Content::Reasoning(_) => {
                place = end_of_thoughts(parts, begin);
                let thoughts = &parts[begin..place];
                let redacted = matches!(&thoughts[0].content, Content::Reasoning(thought) if thought.redacted);
                write_thoughts(writer, thoughts, redacted, |writer| {
                    writer.key("id").string(&item_id("rs", answer, item));
                });
            }
            Content::Text(_) | Content::Refusal(_) => {
                while parts.get(place).is_some_and(is_said) {
                    place += 1;
                }
                let status = if place == parts.len() { last } else { "completed" };
                writer.object(|writer| {
                    writer.key("type").string("message");
                    writer.key("id").string(&item_id("msg", answer, item));
                    writer.key("status").string(status);
                    writer.key("role").string("assistant");
                    writer.key("content").array(|writer| {
                        parts[begin..place].iter().for_each(|part| write_said(writer, part, logprobs.take()));
                    });
                });
            }
            Content::Other { dialect: Dialect::OpenAiResponses, json } => writer.json(json),
            _ => continue,
        }
        item += 1;
    }
}

fn write_call(writer: &mut Writer, call: &ToolCall, part: &Part, id: &str, status: &str) {
    let (kind, input) = if call.custom { ("custom_tool_call", "input") } else { ("function_call", "arguments") };
    writer.key("type").string(kind);
    writer.key("id").string(id);
    writer.key("status").string(status);
    writer.key("call_id").string(&call.id);
    writer.key("name").string(&call.name);
    writer.key(input).string(&call.arguments);
    if let Some(seal) = part.signature.as_ref().filter(|seal| seal.dialect == Dialect::Gemini) {
        google::write(writer, &seal.value);
    }
}

fn write_said(writer: &mut Writer, part: &Part, logprobs: Option<&Json>) {
    writer.object(|writer| match &part.content {
        Content::Refusal(text) => {
            writer.key("type").string("refusal");
            writer.key("refusal").string(text);
        }
        content => {
            let text = if let Content::Text(text) = content { text.as_str() } else { "" };
            let end = text.chars().count();
            writer.key("type").string("output_text");
            writer.key("text").string(text);
            writer.key("annotations").array(|writer| {
                let cited = part.citations.iter().filter(|citation| is_known(citation));
                cited.for_each(|citation| write_citation(writer, citation, 0, end));
            });
            writer.key("logprobs").array(|writer| {
                let raw = logprobs.and_then(|logprobs| Raw::parse(logprobs.as_str().as_bytes()).ok());
                let tokens = raw.and_then(|raw| raw.member("content")).into_iter().flat_map(Raw::items);
                tokens.for_each(|token| writer.text(token.text()));
            });
        }
    });
}
