//! A whole chat completion as the stream that says the same. Members that nobody here knows are kept.

use bytes::Bytes;
use llm_core::{Error, Frame};

use super::answer::{no_answer, not_json};
use super::frames::done_frame;
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw, Writer};

/// The frames that say what the whole answer `body` says: for each choice its role, one chunk for each member of its
/// message, and why it ended; then the usage, if the answer tells it, in a frame of its own; then the terminal marker.
///
/// # Errors
/// `BadAnswer` when `body` is no answer.
pub fn replay_chat(body: &[u8]) -> Result<Vec<Frame>, Error> {
    let answer = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    let choices = answer.member("choices").filter(|choices| choices.kind() == Kind::Array);
    let choices = choices.ok_or_else(|| no_answer(answer, "choices"))?;
    let mut frames = Frames { head: head(answer), frames: Vec::new() };
    for choice in choices.items() {
        frames.choice(choice);
    }
    if let Some(usage) = answer.member("usage") {
        let mut frame = frames.frame(|writer| {
            writer.key("choices").array(|_| {});
            writer.key("usage").text(usage.text());
        });
        frame.usage = read_usage(usage).map(Box::new);
        frame.usage_only = true;
        frames.frames.push(frame);
    }
    frames.frames.push(Frame { bytes: done_frame(), last: true, ..Frame::default() });
    Ok(frames.frames)
}

/// What each chunk begins with.
fn head(answer: Raw<'_>) -> Bytes {
    let mut writer = Writer::after(b"data: {");
    for (key, value) in answer.members() {
        match key.as_ref() {
            "choices" | "usage" => {}
            "object" => writer.key(&key).string("chat.completion.chunk"),
            _ => writer.key(&key).text(value.text()),
        }
    }
    writer.into_bytes()
}

struct Frames {
    head: Bytes,
    frames: Vec<Frame>,
}

impl Frames {
    fn choice(&mut self, choice: Raw<'_>) {
        let index = choice.member("index");
        let message = choice.member("message");
        let logprobs = choice.member("logprobs");
        let members = || message.into_iter().flat_map(Raw::members).filter(|(_, value)| !value.is_null());
        let role = message.and_then(|message| message.member("role"));
        self.delta(index, None, |writer| {
            match role {
                Some(role) => writer.key("role").text(role.text()),
                None => writer.key("role").string("assistant"),
            }
            writer.key("content").string("");
        });
        // Log probabilities go with the text that they are of.
        let mut logprobs = logprobs;
        for (key, value) in members().filter(|(key, value)| key != "role" && !is_empty(key, *value)) {
            let of_text = matches!(key.as_ref(), "content" | "refusal");
            let mut frame = self.written(index, if of_text { logprobs.take() } else { None }, None, |writer| {
                writer.key(&key);
                if key == "tool_calls" { numbered(writer, value) } else { writer.text(value.text()) }
            });
            frame.content = true;
            self.frames.push(frame);
        }
        let frame = self.written(index, logprobs, Some(choice), |_| {});
        self.frames.push(frame);
    }

    fn delta(&mut self, index: Option<Raw<'_>>, logprobs: Option<Raw<'_>>, fill: impl FnOnce(&mut Writer)) {
        let frame = self.written(index, logprobs, None, fill);
        self.frames.push(frame);
    }

    /// A chunk of one choice; `end` is the choice whose end it tells.
    fn written(
        &self,
        index: Option<Raw<'_>>,
        logprobs: Option<Raw<'_>>,
        end: Option<Raw<'_>>,
        fill: impl FnOnce(&mut Writer),
    ) -> Frame {
        self.frame(|writer| {
            writer.key("choices").array(|writer| {
                writer.object(|writer| {
                    writer.key("index").text(index.map_or("0", Raw::text));
                    writer.key("delta").object(fill);
                    writer.key("logprobs").text(logprobs.map_or("null", Raw::text));
                    let mut reason = "null";
                    for (key, value) in end.into_iter().flat_map(Raw::members) {
                        match key.as_ref() {
                            "index" | "message" | "logprobs" => {}
                            "finish_reason" => reason = value.text(),
                            _ => writer.key(&key).text(value.text()),
                        }
                    }
                    writer.key("finish_reason").text(reason);
                });
            });
        })
    }

    fn frame(&self, fill: impl FnOnce(&mut Writer)) -> Frame {
        let mut writer = Writer::after(&self.head);
        fill(&mut writer);
        // A break between two tokens of the answer's would end the event's line.
        writer.unbreak();
        writer.raw(b"}\n\n");
        Frame { bytes: writer.into_bytes(), ..Frame::default() }
    }
}

/// Whether a delta need not tell the member: the first has an empty text, and lists begin empty.
fn is_empty(key: &str, value: Raw<'_>) -> bool {
    match value.kind() {
        Kind::String => key == "content" && value.text() == "\"\"",
        Kind::Array => key == "tool_calls" && value.items().next().is_none(),
        _ => false,
    }
}

/// Tool calls with the numbers that they have in a stream.
fn numbered(writer: &mut Writer, calls: Raw<'_>) {
    writer.array(|writer| {
        for (number, call) in calls.items().enumerate() {
            writer.object(|writer| {
                writer.key("index").integer(number);
                for (key, value) in call.members().filter(|(key, _)| key != "index") {
                    writer.key(&key).text(value.text());
                }
            });
        }
    });
}
