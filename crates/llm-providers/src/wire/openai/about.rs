//! What traces tell of bodies that pass through: settings and ends, never content.

use std::borrow::Cow;

use llm_core::{AboutAnswer, RequestSettings};

use crate::wire::json::Raw;

/// The settings of a request; none of a body that is no JSON object.
#[must_use]
pub fn read_settings(body: &[u8]) -> RequestSettings {
    let mut settings = RequestSettings::default();
    let Ok(request) = Raw::parse(body) else { return settings };
    for (key, value) in request.members() {
        match key.as_ref() {
            "temperature" => settings.temperature = value.f64(),
            "top_p" => settings.top_p = value.f64(),
            "frequency_penalty" => settings.frequency_penalty = value.f64(),
            "presence_penalty" => settings.presence_penalty = value.f64(),
            "seed" => settings.seed = value.i64(),
            _ => {}
        }
    }
    settings
}

/// Adds to `about` what a whole answer, or one or more whole events of a stream, say of the answer. What cannot be read
/// says nothing.
pub fn read_about(bytes: &[u8], about: &mut AboutAnswer) {
    if bytes.trim_ascii_start().starts_with(b"{") {
        return read_object(bytes, about);
    }
    // Most chunks say nothing of this: they are not read as JSON.
    if about.id.is_some() && about.model.is_some() && !ends_a_choice(bytes) {
        return;
    }
    // An event's data stands in one line wherever a provider speaks this format.
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(data) = line.strip_prefix(b"data:") {
            read_object(data.trim_ascii(), about);
        }
    }
}

/// Whether a reason is given for which a choice ended. What only looks like one, in a text, does no harm.
fn ends_a_choice(bytes: &[u8]) -> bool {
    const KEY: &[u8] = b"\"finish_reason\"";
    memchr::memmem::find_iter(bytes, KEY).any(|at| {
        let rest = bytes[at + KEY.len()..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\""))
    })
}

/// A whole answer, or a chunk of one.
fn read_object(data: &[u8], about: &mut AboutAnswer) {
    let Ok(answer) = Raw::parse(data) else { return };
    for (key, value) in answer.members() {
        match key.as_ref() {
            "id" if about.id.is_none() => about.id = named(value),
            "model" if about.model.is_none() => about.model = named(value),
            "choices" => {
                let reasons = value.items().filter_map(|choice| choice.member("finish_reason").and_then(named));
                about.finish_reasons.extend(reasons);
            }
            _ => {}
        }
    }
}

fn named(value: Raw<'_>) -> Option<String> {
    value.string().map(Cow::into_owned).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_nothing_else() {
        let body = br#"{"model":"m","temperature":0.5,"top_p":1,"seed":-7,"messages":[{"temperature":2}],"stop":"x"}"#;
        let expected =
            RequestSettings { temperature: Some(0.5), top_p: Some(1.0), seed: Some(-7), ..RequestSettings::default() };
        assert_eq!(read_settings(body), expected);
        assert_eq!(read_settings(b"no JSON"), RequestSettings::default());
        assert_eq!(read_settings(br#"{"temperature":"hot"}"#), RequestSettings::default());
    }

    #[test]
    fn a_whole_answer_and_the_events_of_a_stream_say_the_same() {
        let expected = AboutAnswer {
            id: Some("a-1".into()),
            model: Some("m-2".into()),
            finish_reasons: vec!["stop".into(), "length".into()],
        };
        let mut whole = AboutAnswer::default();
        read_about(
            br#" {"id":"a-1","model":"m-2","choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}"#,
            &mut whole,
        );
        assert_eq!(whole, expected);
        let mut streamed = AboutAnswer::default();
        let frames: [&[u8]; 3] = [
            b"data: {\"id\":\"a-1\",\"model\":\"m-2\",\"choices\":[{\"delta\":{},\"finish_reason\":null}]}\n\n",
            b"data: {\"id\":\"a-1\",\"choices\":[{\"finish_reason\" : \"stop\"}]}\r\n\r\n\
              data:{\"id\":\"other\",\"choices\":[{\"finish_reason\":\"length\"}]}\n\n",
            b": comment\n\ndata: [DONE]\n\n",
        ];
        frames.into_iter().for_each(|frame| read_about(frame, &mut streamed));
        assert_eq!(streamed, expected);
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        let mut about = AboutAnswer::default();
        for bytes in [&b""[..], b"{", b"data: {", b"[1]", br#"{"id":7,"choices":{"finish_reason":"stop"}}"#] {
            read_about(bytes, &mut about);
        }
        assert_eq!(about, AboutAnswer::default());
    }
}
