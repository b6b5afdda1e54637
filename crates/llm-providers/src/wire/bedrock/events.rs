//! Messages of a streamed answer, to neutral events.

use llm_core::{Error, ErrorKind, StopReason, StreamEvent, Usage};

use super::block::seal;
use super::error::told;
use super::response::{matched, not_json, stop_reason};
use super::usage::read_usage;
use crate::wire::json::{Kind, Raw};
use crate::wire::{Sink, StreamDecoder, Text};

/// Turns the messages of a stream, as [`EventStream`](super::EventStream) gives them, into neutral events.
#[derive(Debug, Default)]
pub struct ConverseDecoder {
    done: bool,
    /// The calls told so far.
    calls: u32,
    /// The call that is being told, and whether a piece of its arguments was.
    call: Option<(u32, bool)>,
    /// The block of what was told last, if that is a thought without a seal.
    unsealed: Option<u64>,
    stop: Option<StopReason>,
    usage: Option<Usage>,
}

impl ConverseDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn start_block(&mut self, start: Raw<'_>, sink: Sink<'_>) {
        let Some(call) = start.member("toolUse") else { return };
        let text = |name| call.member(name).and_then(Raw::string).unwrap_or_default();
        let (id, name) = (text("toolUseId"), text("name"));
        let index = self.calls;
        self.calls += 1;
        self.call = Some((index, false));
        let (id, name) = (Text::plain(&id), Text::plain(&name));
        sink(StreamEvent::ToolCall { choice: 0, index, id, name, custom: false });
    }

    fn delta(&mut self, block: u64, delta: Raw<'_>, sink: Sink<'_>) {
        for (name, value) in delta.members() {
            let unsealed = self.unsealed.take();
            match (name.as_ref(), &mut self.call) {
                ("text", _) => Text::tell(value, |text| sink(StreamEvent::Text { choice: 0, text })),
                ("toolUse", Some((index, pieces))) => {
                    let Some(input) = value.member("input") else { continue };
                    Text::tell(input, |fragment| {
                        *pieces |= !fragment.is_empty();
                        sink(StreamEvent::ToolArguments { choice: 0, index: *index, fragment });
                    });
                }
                ("reasoningContent", _) => {
                    if value.member("text").is_some() {
                        if unsealed.is_some_and(|last| last != block) {
                            sink(StreamEvent::EndOfThought { choice: 0 });
                        }
                        self.unsealed = Some(block);
                    }
                    thought(value, sink);
                }
                _ => {}
            }
        }
    }

    fn end_block(&mut self, sink: Sink<'_>) {
        if let Some((index, false)) = self.call.take() {
            sink(StreamEvent::ToolArguments { choice: 0, index, fragment: Text::plain("{}") });
        }
    }

    fn end(&mut self, sink: Sink<'_>) {
        if let Some(reason) = self.stop.take() {
            sink(StreamEvent::Stop { choice: 0, reason });
            self.usage.into_iter().for_each(|usage| sink(StreamEvent::Usage(usage)));
            self.done = true;
        }
    }
}

/// Tells a piece of a thought, or its seal.
fn thought(value: Raw<'_>, sink: Sink<'_>) {
    for (name, value) in value.members() {
        match name.as_ref() {
            "text" => Text::tell(value, |text| sink(StreamEvent::Reasoning { choice: 0, text })),
            "signature" => {
                if let Some(sealed) = value.string().filter(|sealed| !sealed.is_empty()) {
                    sink(StreamEvent::Signature { choice: 0, signature: seal(sealed.into_owned()) });
                }
            }
            "redactedContent" => {
                if let Some(data) = value.string() {
                    sink(StreamEvent::RedactedReasoning { choice: 0, signature: seal(data.into_owned()) });
                }
            }
            _ => {}
        }
    }
}

impl StreamDecoder for ConverseDecoder {
    fn decode(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        let raw = Raw::parse(data).map_err(|syntax| not_json(syntax, data))?;
        let Some((name, value)) = raw.members().next().filter(|_| raw.kind() == Kind::Object) else {
            return Err(Error::new(ErrorKind::BadAnswer, "a message of the stream says nothing"));
        };
        match name.as_ref() {
            "contentBlockDelta" => {
                let block = value.member("contentBlockIndex").and_then(Raw::u64).unwrap_or_default();
                value.member("delta").into_iter().for_each(|delta| self.delta(block, delta, sink));
            }
            "contentBlockStart" => value.member("start").into_iter().for_each(|start| self.start_block(start, sink)),
            "contentBlockStop" => self.end_block(sink),
            "messageStart" => {
                sink(StreamEvent::Start { id: Text::plain(""), model: Text::plain(""), created: None });
            }
            "messageStop" => {
                self.end_block(sink);
                let reason = value.member("stopReason").and_then(Raw::string).unwrap_or_default();
                self.stop = Some(stop_reason(&reason, matched(value))?);
            }
            "metadata" => {
                self.usage = read_usage(value);
                self.end(sink);
            }
            "exception" => {
                let (name, said) = value.members().next().unzip();
                return Err(told(&name.unwrap_or_default(), said, None));
            }
            // What is not known yet.
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), Error> {
        // The answer was told to its end, if not what it used.
        self.end(sink);
        match self.done {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::StreamInterrupted, "the provider's stream broke off before its end")),
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
