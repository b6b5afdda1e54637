//! Whole answers, and counts of tokens.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{
    Choice, CompletionResponse, Content, Dialect, Error, ErrorKind, Message, Part, Reasoning, Role, Signature,
    StopReason, ToolCall,
};

use super::block::{native_citation, read_answer_block};
use super::error::error_within;
use super::usage::{Counts, write_usage};
use crate::wire::AnswerOptions;
use crate::wire::json::{Kind, Raw, Syntax, Writer};
use crate::wire::{read, seal};

/// Reads an answer.
pub(super) fn decode_response(body: &[u8]) -> Result<CompletionResponse, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    let content = raw.member("content").filter(|content| content.kind() == Kind::Array);
    let content = content.ok_or_else(|| no_answer(raw, "content"))?;
    let text = |name| raw.member(name).and_then(Raw::string).map(Cow::into_owned);
    let mut counts = Counts::default();
    raw.member("usage").into_iter().for_each(|usage| counts.read(usage));
    let message = Message::new(Role::Assistant, content.items().map(read_answer_block).collect());
    let stop = text("stop_reason").map(|reason| stop_reason(&reason, text("stop_sequence")));
    let mut response = CompletionResponse::new(text("id").unwrap_or_default(), text("model").unwrap_or_default());
    response.choices.push(Choice { index: 0, message, stop, logprobs: None });
    response.usage = counts.usage();
    response.dialect = Some(Dialect::Anthropic);
    let known = ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"];
    for (key, value) in raw.members().filter(|(key, value)| !known.contains(&key.as_ref()) && !value.is_null()) {
        read::keep(&mut response.extra, &key, value);
    }
    Ok(response)
}

/// Writes an answer: the first of its choices, for there is place for one.
pub(super) fn encode_response(response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
    let native = options.from.or(response.dialect) == Some(Dialect::Anthropic);
    let choice = response.choices.iter().min_by_key(|choice| choice.index);
    let parts = choice.map_or(&[][..], |choice| &choice.message.parts);
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("id").string(if response.id.is_empty() { options.id } else { &response.id });
        writer.key("type").string("message");
        writer.key("role").string("assistant");
        writer.key("model").string(options.model.unwrap_or(&response.model));
        writer.key("content").array(|writer| parts.iter().for_each(|part| write_block(writer, part)));
        let told = Told {
            called: parts.iter().any(|part| matches!(part.content, Content::ToolCall(_))),
            refused: parts.iter().any(|part| matches!(part.content, Content::Refusal(_))),
        };
        write_stop(writer, choice.and_then(|choice| choice.stop.as_ref()), told, native);
        writer.key("usage");
        write_usage(writer, response.usage.as_ref());
        if native {
            response.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    });
    writer.into_bytes()
}

/// Reads the number of a prompt's tokens.
pub(super) fn decode_count(body: &[u8]) -> Result<u64, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    raw.member("input_tokens").and_then(Raw::u64).ok_or_else(|| no_answer(raw, "input_tokens"))
}

/// Writes the number of a prompt's tokens.
pub(super) fn encode_count(tokens: u64) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| writer.key("input_tokens").integer(tokens));
    writer.into_bytes()
}

/// The error for an answer that is not JSON.
pub(super) fn not_json(syntax: Syntax, answer: &[u8]) -> Error {
    Error::new(ErrorKind::BadAnswer, format!("the provider's answer is not valid JSON: {}", syntax.describe(answer)))
}

fn no_answer(answer: Raw<'_>, member: &str) -> Error {
    error_within(answer)
        .unwrap_or_else(|| Error::new(ErrorKind::BadAnswer, format!("the provider's answer has no '{member}'")))
}

/// The neutral reason.
pub(super) fn stop_reason(reason: &str, sequence: Option<String>) -> StopReason {
    match reason {
        "end_turn" => StopReason::Stop,
        "stop_sequence" => sequence.map_or(StopReason::Stop, StopReason::StopSequence),
        "max_tokens" => StopReason::Length,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        "tool_use" => StopReason::ToolCalls,
        "refusal" => StopReason::ContentFilter,
        "pause_turn" => StopReason::Pause,
        other => StopReason::Other(other.to_owned()),
    }
}

/// What an answer holds that decides how its end is named.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) called: bool,
    pub(super) refused: bool,
}

/// Writes the members `stop_reason` and `stop_sequence`.
pub(super) fn write_stop(writer: &mut Writer, reason: Option<&StopReason>, told: Told, native: bool) {
    let name = reason.map(|reason| match reason {
        // Servers say that they are done after tool calls too: what was called decides.
        StopReason::Stop if told.called => "tool_use",
        StopReason::Stop if told.refused => "refusal",
        StopReason::StopSequence(_) => "stop_sequence",
        StopReason::Length => "max_tokens",
        StopReason::ContextWindow => "model_context_window_exceeded",
        StopReason::ToolCalls => "tool_use",
        StopReason::ContentFilter => "refusal",
        StopReason::Pause => "pause_turn",
        StopReason::Other(other) if native => other,
        _ => "end_turn",
    });
    writer.key("stop_reason").optional_string(name);
    let sequence = match reason {
        Some(StopReason::StopSequence(text)) => Some(text.as_str()),
        _ => None,
    };
    writer.key("stop_sequence").optional_string(sequence);
}

fn write_block(writer: &mut Writer, part: &Part) {
    match &part.content {
        Content::Text(text) if text.is_empty() => {}
        Content::Text(text) | Content::Refusal(text) => writer.object(|writer| {
            writer.key("type").string("text");
            writer.key("text").string(text);
            let cited = part.citations.iter().filter_map(native_citation);
            if cited.clone().next().is_some() {
                writer.key("citations").array(|writer| cited.for_each(|citation| writer.json(citation)));
            }
        }),
        Content::Reasoning(reasoning) => write_thought(writer, reasoning, part.signature.as_ref()),
        Content::ToolCall(call) => write_call(writer, call, part.signature.as_ref()),
        Content::Other { dialect: Dialect::Anthropic, json } => writer.json(json),
        _ => {}
    }
}

/// Writes a thought. One that this dialect did not seal has an empty seal, and is left out when it comes back.
fn write_thought(writer: &mut Writer, reasoning: &Reasoning, signature: Option<&Signature>) {
    let seal = signature.filter(|seal| seal.dialect == Dialect::Anthropic).map(|seal| seal.value.as_str());
    match (reasoning.redacted, seal) {
        (true, None) => {}
        (true, Some(seal)) => writer.object(|writer| {
            writer.key("type").string("redacted_thinking");
            writer.key("data").string(seal);
        }),
        (false, seal) if reasoning.text.is_empty() && seal.is_none() => {}
        (false, seal) => writer.object(|writer| {
            writer.key("type").string("thinking");
            writer.key("thinking").string(&reasoning.text);
            writer.key("signature").string(seal.unwrap_or_default());
        }),
    }
}

fn write_call(writer: &mut Writer, call: &ToolCall, signature: Option<&Signature>) {
    writer.object(|writer| {
        writer.key("type").string("tool_use");
        writer.key("id").string(&call.id);
        writer.key("name").string(&call.name);
        writer.key("input");
        match Raw::parse(call.arguments.as_bytes()) {
            Ok(raw) if raw.kind() == Kind::Object => writer.raw(raw.text().as_bytes()),
            _ if call.arguments.trim().is_empty() => writer.raw(b"{}"),
            // What the model wrote is no object. It is told as it stands, and seen to be none.
            _ => writer.string(&call.arguments),
        }
        if let Some(Signature { dialect: Dialect::Gemini, value }) = signature {
            seal::write(writer, value);
        }
    });
}
