//! Chunks of a streamed completion, to neutral events.

use llm_core::{Error, ErrorKind, StreamEvent, Usage};

use super::probability;
use super::response::stop_reason;
use crate::wire::json::{Kind, Raw};
use crate::wire::openai::{error_within, not_json, read_usage};
use crate::wire::{Sink, StreamDecoder, Text};

/// Turns the data of a stream's events into neutral events.
#[derive(Debug, Default)]
pub struct TextDecoder {
    started: bool,
    done: bool,
    /// The choices that were seen, and whether each has ended.
    choices: Vec<(u32, bool)>,
    /// Later totals replace earlier ones: told when the stream ends.
    usage: Option<Usage>,
}

impl TextDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn choice(&mut self, raw: Raw<'_>, sink: Sink<'_>) {
        let index = raw.member("index").and_then(Raw::u64).and_then(|index| u32::try_from(index).ok());
        let choice = index.unwrap_or(0);
        if let Some(text) = raw.member("text") {
            Text::tell(text, |text| sink(StreamEvent::Text { choice, text }));
        }
        if let Some(logprobs) = raw.member("logprobs").and_then(probability::read) {
            sink(StreamEvent::Logprobs { choice, logprobs });
        }
        let place = self.choices.iter().position(|(known, _)| *known == choice).unwrap_or_else(|| {
            self.choices.push((choice, false));
            self.choices.len() - 1
        });
        let reason = raw.member("finish_reason").and_then(Raw::string).filter(|reason| !reason.is_empty());
        if let Some(reason) = reason
            && !std::mem::replace(&mut self.choices[place].1, true)
        {
            sink(StreamEvent::Stop { choice, reason: stop_reason(&reason) });
        }
    }

    fn end(&mut self, sink: Sink<'_>) {
        self.done = true;
        self.usage.into_iter().for_each(|usage| sink(StreamEvent::Usage(usage)));
    }
}

impl StreamDecoder for TextDecoder {
    fn decode(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        if data.starts_with(b"[DONE]") {
            self.end(sink);
            return Ok(());
        }
        let chunk = Raw::parse(data).map_err(|syntax| not_json(syntax, data))?;
        if chunk.kind() != Kind::Object {
            return Err(Error::new(ErrorKind::BadAnswer, "an event of the stream is no chunk"));
        }
        if let Some(error) = error_within(chunk) {
            return Err(error);
        }
        let mut choices = chunk.member("choices").into_iter().flat_map(Raw::items).peekable();
        if choices.peek().is_some() && !std::mem::replace(&mut self.started, true) {
            let text = |name| chunk.member(name).and_then(Raw::string).unwrap_or_default();
            let (id, model) = (text("id"), text("model"));
            let created = chunk.member("created").and_then(Raw::u64);
            sink(StreamEvent::Start { id: Text::plain(&id), model: Text::plain(&model), created });
        }
        for choice in choices {
            self.choice(choice, sink);
        }
        self.usage = chunk.member("usage").and_then(read_usage).or(self.usage);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), Error> {
        if !self.done {
            if self.choices.is_empty() || self.choices.iter().any(|(_, ended)| !ended) {
                let broken = "the provider's stream broke off before its end";
                return Err(Error::new(ErrorKind::StreamInterrupted, broken));
            }
            self.end(sink);
        }
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
