//! Whole chat completions.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{Choice, CompletionResponse, Content, Dialect, Error, Message, Role, StopReason};

use super::answer::{no_answer, not_json};
use super::message::{Shown, read_answer_message, write_answer_message};
use super::usage::{read_usage, write_usage};
use crate::wire::AnswerOptions;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::read::keep;

/// Reads an answer. Tool calls without an id are given one that no other answer has.
///
/// # Errors
/// `BadAnswer` when it is none; what its `error` member says when it has one instead of `choices`.
pub fn decode_chat_response(body: &[u8]) -> Result<CompletionResponse, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    let choices = raw.member("choices").filter(|choices| choices.kind() == Kind::Array);
    let choices = choices.ok_or_else(|| no_answer(raw, "choices"))?;
    let text = |name| raw.member(name).and_then(Raw::string).map(Cow::into_owned).unwrap_or_default();
    let id = text("id");
    let mut named = 0_u32;
    let mut new_id = || {
        named += 1;
        format!("call_{id}_{}", named - 1)
    };
    let choices = choices.items().enumerate().map(|(place, choice)| read_choice(choice, place, &mut new_id)).collect();
    let mut extra = Vec::new();
    for (key, value) in raw.members() {
        if !["id", "object", "created", "model", "choices", "usage"].contains(&key.as_ref()) {
            keep(&mut extra, &key, value);
        }
    }
    Ok(CompletionResponse {
        model: text("model"),
        created: raw.member("created").and_then(Raw::u64),
        choices,
        usage: raw.member("usage").and_then(read_usage),
        latency: None,
        extra,
        id,
        dialect: Some(Dialect::OpenAi),
    })
}

/// Writes an answer. Set `created` first: an absent one is written as 0.
#[must_use]
pub fn encode_chat_response(response: &CompletionResponse) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("id").string(&response.id);
        writer.key("object").string("chat.completion");
        writer.key("created").integer(response.created.unwrap_or(0));
        writer.key("model").string(&response.model);
        writer.key("choices").array(|writer| response.choices.iter().for_each(|choice| write_choice(writer, choice)));
        if let Some(usage) = &response.usage {
            writer.key("usage");
            write_usage(writer, usage);
        }
        response.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
    });
    writer.into_bytes()
}

/// Writes an answer that may have been read from another dialect: what is another's own is left out, and thoughts too
/// unless `options` say otherwise.
pub(super) fn encode_answer(response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
    let from = options.from.or(response.dialect).unwrap_or(Dialect::OpenAi);
    let native = from == Dialect::OpenAi;
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("id").string(if response.id.is_empty() { options.id } else { &response.id });
        writer.key("object").string("chat.completion");
        writer.key("created").integer(response.created.unwrap_or(options.created));
        writer.key("model").string(options.model.unwrap_or(&response.model));
        writer.key("choices").array(|writer| {
            for choice in &response.choices {
                write_choice_of(writer, choice, from, Shown::by(options, from));
            }
        });
        if let Some(usage) = &response.usage {
            writer.key("usage");
            write_usage(writer, usage);
        }
        if native {
            response.extra.iter().for_each(|(key, value)| writer.key(key).json(value));
        }
    });
    writer.into_bytes()
}

fn read_choice(raw: Raw<'_>, place: usize, new_id: impl FnMut() -> String) -> Choice {
    let index = raw.member("index").and_then(Raw::u64);
    let index = index.and_then(|index| u32::try_from(index).ok()).unwrap_or(u32::try_from(place).unwrap_or(u32::MAX));
    let message = raw.member("message").map(|message| read_answer_message(message, new_id));
    let message = message.unwrap_or_else(|| Message::new(Role::Assistant, Vec::new()));
    let called = message.parts.iter().any(|part| matches!(part.content, Content::ToolCall(_)));
    let reason = raw.member("finish_reason").and_then(Raw::string).filter(|reason| !reason.is_empty());
    Choice {
        index,
        message,
        stop: reason.map(|reason| stop_reason(&reason, called)),
        logprobs: raw.member("logprobs").map(Raw::json),
    }
}

fn write_choice(writer: &mut Writer, choice: &Choice) {
    write_choice_of(writer, choice, Dialect::OpenAi, Shown::Sealed);
}

fn write_choice_of(writer: &mut Writer, choice: &Choice, from: Dialect, shown: Shown) {
    writer.object(|writer| {
        writer.key("index").integer(choice.index);
        writer.key("message");
        write_answer_message(writer, &choice.message, from, shown);
        match &choice.logprobs {
            Some(logprobs) => writer.key("logprobs").json(logprobs),
            None => writer.key("logprobs").null(),
        }
        writer.key("finish_reason").optional_string(choice.stop.as_ref().map(|reason| reason_name(reason, from)));
    });
}

/// The neutral reason. Servers say `stop` after tool calls too: what was `called` decides.
pub(super) fn stop_reason(reason: &str, called: bool) -> StopReason {
    match reason {
        "stop" if called => StopReason::ToolCalls,
        "stop" => StopReason::Stop,
        "length" => StopReason::Length,
        "tool_calls" | "function_call" => StopReason::ToolCalls,
        "content_filter" => StopReason::ContentFilter,
        other => StopReason::Other(other.to_owned()),
    }
}

/// The reason's name here, of an answer that was read `from` that dialect.
pub(super) fn reason_name(reason: &StopReason, from: Dialect) -> &str {
    match reason {
        StopReason::Length | StopReason::ContextWindow => "length",
        StopReason::ToolCalls => "tool_calls",
        StopReason::ContentFilter => "content_filter",
        StopReason::Other(other) if from == Dialect::OpenAi => other,
        _ => "stop",
    }
}
