//! Whole completions of a prompt.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{Choice, CompletionResponse, Content, Dialect, Error, ErrorKind, Message, Part, Role, StopReason};

use super::probability;
use crate::wire::AnswerOptions;
use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::openai::{error_within, not_json, read_usage, write_usage};
use crate::wire::read::keep;

/// Reads an answer.
///
/// # Errors
/// `BadAnswer` when it is none; what its `error` member says when it has one instead of `choices`.
pub(super) fn decode_response(body: &[u8]) -> Result<CompletionResponse, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    let choices = raw.member("choices").filter(|choices| choices.kind() == Kind::Array).ok_or_else(|| {
        let none = || Error::new(ErrorKind::BadAnswer, "the provider's answer has no 'choices'");
        error_within(raw).unwrap_or_else(none)
    })?;
    let text = |name| raw.member(name).and_then(Raw::string).map(Cow::into_owned).unwrap_or_default();
    let mut extra = Vec::new();
    for (key, value) in raw.members() {
        if !["id", "object", "created", "model", "choices", "usage"].contains(&key.as_ref()) {
            keep(&mut extra, &key, value);
        }
    }
    Ok(CompletionResponse {
        id: text("id"),
        model: text("model"),
        created: raw.member("created").and_then(Raw::u64),
        choices: choices.items().enumerate().map(|(place, choice)| read_choice(choice, place)).collect(),
        usage: raw.member("usage").and_then(read_usage),
        latency: None,
        extra,
        dialect: Some(Dialect::OpenAiCompletions),
    })
}

fn read_choice(raw: Raw<'_>, place: usize) -> Choice {
    let index = raw.member("index").and_then(Raw::u64).unwrap_or(place as u64);
    let text = raw.member("text").and_then(Raw::string).unwrap_or_default();
    let reason = raw.member("finish_reason").and_then(Raw::string).filter(|reason| !reason.is_empty());
    Choice {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        message: Message::new(Role::Assistant, vec![Part::text(text)]),
        stop: reason.map(|reason| stop_reason(&reason)),
        logprobs: raw.member("logprobs").and_then(probability::read),
    }
}

pub(super) fn stop_reason(reason: &str) -> StopReason {
    match reason {
        "stop" => StopReason::Stop,
        "length" => StopReason::Length,
        "content_filter" => StopReason::ContentFilter,
        other => StopReason::Other(other.to_owned()),
    }
}

/// The reason's name here.
pub(super) fn reason_name(reason: &StopReason, native: bool) -> &str {
    match reason {
        StopReason::Length | StopReason::ContextWindow => "length",
        StopReason::ContentFilter => "content_filter",
        StopReason::Other(other) if native => other,
        _ => "stop",
    }
}

/// Writes an answer: its texts, joined. Thoughts have no place here.
pub(super) fn encode_response(response: &CompletionResponse, options: &AnswerOptions<'_>) -> Bytes {
    let native = options.from.or(response.dialect).is_none_or(|from| from == Dialect::OpenAiCompletions);
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("id").string(if response.id.is_empty() { options.id } else { &response.id });
        writer.key("object").string("text_completion");
        writer.key("created").integer(response.created.unwrap_or(options.created));
        writer.key("model").string(options.model.unwrap_or(&response.model));
        writer.key("choices").array(|writer| {
            for choice in &response.choices {
                let texts = choice.message.parts.iter().filter_map(|part| match &part.content {
                    Content::Text(text) | Content::Refusal(text) => Some(text.as_str()),
                    _ => None,
                });
                writer.object(|writer| {
                    writer.key("text").string(&texts.collect::<String>());
                    writer.key("index").integer(choice.index);
                    writer.key("logprobs");
                    match &choice.logprobs {
                        Some(logprobs) => {
                            probability::write(writer, logprobs, 0);
                        }
                        None => writer.null(),
                    }
                    let reason = choice.stop.as_ref().map(|reason| reason_name(reason, native));
                    writer.key("finish_reason").optional_string(reason);
                });
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
