//! Whole answers.

use bytes::Bytes;
use llm_core::{Choice, CompletionResponse, Content, Dialect, Error, ErrorKind, Message, Part, Role, StopReason};

use super::block::{input, read_blocks, write_call, write_thought};
use super::usage::{read_usage, write_usage};
use crate::wire::json::{Kind, Raw, Syntax, Writer};

/// Reads an answer. It names neither itself nor its model.
pub(super) fn decode_response(body: &[u8]) -> Result<CompletionResponse, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    let message = raw.member("output").and_then(|output| output.member("message"));
    let content = message.and_then(|message| message.member("content")).filter(|it| it.kind() == Kind::Array);
    let content = content.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the provider's answer has no message"))?;
    let stop = raw.member("stopReason").and_then(Raw::string);
    let stop = stop.map(|reason| stop_reason(&reason, matched(raw))).transpose()?;
    let mut response = CompletionResponse::new("", "");
    let message = Message::new(Role::Assistant, read_blocks(content));
    response.choices.push(Choice { index: 0, message, stop, logprobs: None });
    response.usage = read_usage(raw);
    response.dialect = Some(Dialect::Bedrock);
    Ok(response)
}

/// The stop text that was written, where the model tells it.
pub(super) fn matched(raw: Raw<'_>) -> Option<String> {
    let fields = raw.member("additionalModelResponseFields")?;
    Some(fields.member("stop_sequence")?.string()?.into_owned())
}

/// The neutral reason.
///
/// # Errors
/// `BadAnswer` where the model's output was none.
pub(super) fn stop_reason(reason: &str, sequence: Option<String>) -> Result<StopReason, Error> {
    Ok(match reason {
        "end_turn" => StopReason::Stop,
        "stop_sequence" => sequence.map_or(StopReason::Stop, StopReason::StopSequence),
        "max_tokens" => StopReason::Length,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        "tool_use" => StopReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => StopReason::ContentFilter,
        "malformed_model_output" | "malformed_tool_use" => {
            return Err(Error::new(ErrorKind::BadAnswer, format!("the provider's model failed: {reason}")));
        }
        other => StopReason::Other(other.to_owned()),
    })
}

/// The name of a reason, of an answer that did or did not call.
pub(super) fn reason_name(reason: Option<&StopReason>, called: bool) -> &str {
    match reason {
        Some(StopReason::Stop) if called => "tool_use",
        Some(StopReason::StopSequence(_)) => "stop_sequence",
        Some(StopReason::Length) => "max_tokens",
        Some(StopReason::ContextWindow) => "model_context_window_exceeded",
        Some(StopReason::ToolCalls) => "tool_use",
        Some(StopReason::ContentFilter) => "content_filtered",
        Some(StopReason::Other(other)) => other,
        Some(StopReason::Stop | StopReason::Pause) | None => "end_turn",
        Some(_) => "end_turn",
    }
}

/// Writes an answer: the first of its choices, for there is place for one.
pub(super) fn encode_response(response: &CompletionResponse) -> Bytes {
    let choice = response.choices.iter().min_by_key(|choice| choice.index);
    let parts = choice.map_or(&[][..], |choice| &choice.message.parts);
    let called = parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("output").object(|writer| {
            writer.key("message").object(|writer| {
                writer.key("role").string("assistant");
                writer.key("content").array(|writer| parts.iter().for_each(|part| write_block(writer, part)));
            });
        });
        let reason = choice.and_then(|choice| choice.stop.as_ref());
        writer.key("stopReason").string(reason_name(reason, called));
        if let Some(usage) = &response.usage {
            write_usage(writer, usage);
        }
    });
    writer.into_bytes()
}

/// Writes a part of an answer; one that an answer cannot have is left out.
fn write_block(writer: &mut Writer, part: &Part) {
    match &part.content {
        Content::Text(text) | Content::Refusal(text) => writer.object(|writer| writer.key("text").string(text)),
        Content::ToolCall(call) => {
            let input = input(&call.arguments).unwrap_or("{}");
            writer.object(|writer| write_call(writer, &call.id, &call.name, input));
        }
        Content::Reasoning(thought) => writer.object(|writer| write_thought(writer, thought, part.signature.as_ref())),
        Content::Other { dialect: Dialect::Bedrock, json } => writer.json(json),
        _ => {}
    }
}

/// The error for an answer that is not JSON.
pub(super) fn not_json(syntax: Syntax, answer: &[u8]) -> Error {
    Error::new(ErrorKind::BadAnswer, format!("the provider's answer is not valid JSON: {}", syntax.describe(answer)))
}
