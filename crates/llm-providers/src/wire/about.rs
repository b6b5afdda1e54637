//! What traces tell of bodies that pass through, whatever their dialect: settings and ends, never content.

use std::borrow::Cow;

use llm_core::{AboutAnswer, Dialect, Envelope, RequestSettings};

use super::json::Raw;
use super::{codec, openai};

/// The settings of a request.
#[must_use]
pub fn read_settings(envelope: &Envelope) -> RequestSettings {
    if envelope.dialect == Dialect::OpenAi {
        return openai::read_settings(&envelope.body);
    }
    let asked = codec(envelope.dialect).and_then(|codec| codec.decode_request(&envelope.body).ok());
    asked.map_or_else(RequestSettings::default, |asked| RequestSettings {
        temperature: asked.request.temperature,
        top_p: asked.request.top_p,
        frequency_penalty: asked.request.frequency_penalty,
        presence_penalty: asked.request.presence_penalty,
        seed: asked.request.seed,
    })
}

/// Adds to `about` what a whole answer, or one or more whole events of a stream, say of the answer. What cannot be read
/// says nothing.
pub fn read_about(dialect: Dialect, bytes: &[u8], about: &mut AboutAnswer) {
    let read: fn(Raw<'_>, &mut AboutAnswer) = match dialect {
        Dialect::OpenAi => return openai::read_about(bytes, about),
        Dialect::Anthropic => of_message,
        Dialect::Gemini => of_content,
        // Its answers and chunks name all this as a chat's do.
        Dialect::OpenAiCompletions => return openai::read_about(bytes, about),
        Dialect::OpenAiResponses => of_response,
        // Its answers name neither themselves nor their model, and no caller is told anything in it.
        Dialect::Bedrock => return,
    };
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Raw::parse(bytes).map_or((), |answer| read(answer, about));
    }
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(Ok(event)) = line.strip_prefix(b"data:").map(|data| Raw::parse(data.trim_ascii())) {
            read(event, about);
        }
    }
}

/// A message, the event that begins one, or the one that ends it.
fn of_message(raw: Raw<'_>, about: &mut AboutAnswer) {
    let (message, delta) = (raw.member("message").unwrap_or(raw), raw.member("delta").unwrap_or(raw));
    if raw.member("type").and_then(Raw::string).is_some_and(|kind| kind.starts_with("message")) {
        about.id = about.id.take().or_else(|| text(message, "id"));
        about.model = about.model.take().or_else(|| text(message, "model"));
        about.finish_reasons.extend(text(delta, "stop_reason"));
    }
}

/// A response, or an event that has one.
fn of_response(raw: Raw<'_>, about: &mut AboutAnswer) {
    let response = raw.member("response").unwrap_or(raw);
    if response.member("object").and_then(Raw::string).is_some_and(|object| object == "response") {
        about.id = about.id.take().or_else(|| text(response, "id"));
        about.model = about.model.take().or_else(|| text(response, "model"));
        about.finish_reasons.extend(text(response, "status").filter(|status| status != "in_progress"));
    }
}

/// An answer of Gemini's, or a piece of one.
fn of_content(raw: Raw<'_>, about: &mut AboutAnswer) {
    about.id = about.id.take().or_else(|| text(raw, "responseId"));
    about.model = about.model.take().or_else(|| text(raw, "modelVersion"));
    let candidates = raw.member("candidates").into_iter().flat_map(Raw::items);
    about.finish_reasons.extend(candidates.filter_map(|candidate| text(candidate, "finishReason")));
}

fn text(raw: Raw<'_>, name: &str) -> Option<String> {
    raw.member(name)?.string().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_events_say_the_same() {
        let (mut whole, mut streamed) = (AboutAnswer::default(), AboutAnswer::default());
        let message = br#"{"id":"msg_1","type":"message","model":"claude","content":[],"stop_reason":"end_turn"}"#;
        read_about(Dialect::Anthropic, message, &mut whole);
        let events = b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude\",\"stop_reason\":null}}\n\n\
                       event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"x\"}}\n\n\
                       event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n";
        read_about(Dialect::Anthropic, events, &mut streamed);
        assert_eq!((whole.id.as_deref(), whole.finish_reasons.len()), (Some("msg_1"), 1));
        assert_eq!(whole, streamed);
    }

    #[test]
    fn gemini_says_its_name_and_end() {
        let mut about = AboutAnswer::default();
        let chunk =
            b"data: {\"responseId\":\"r\",\"modelVersion\":\"g\",\"candidates\":[{\"finishReason\":\"STOP\"}]}\r\n\r\n";
        read_about(Dialect::Gemini, chunk, &mut about);
        assert_eq!((about.id.as_deref(), about.model.as_deref()), (Some("r"), Some("g")));
        assert_eq!(about.finish_reasons, ["STOP"]);
    }
}
