//! Chunks of a streamed answer, to neutral events.

use std::borrow::Cow;

use llm_core::{Dialect, Error, ErrorKind, Signature, StopReason, StreamEvent, Usage};

use super::member::{count, member, members};
use super::part::call_id;
use super::probability;
use super::response::{blocked, call_prefix, citations, read_object, stop_reason};
use super::usage::read_usage;
use crate::wire::json::Raw;
use crate::wire::{Sink, StreamDecoder, Text};

/// Turns the data of a stream's events into neutral events. Nothing marks a stream's end but the end of its bytes: what
/// ends with it, the reasons and the usage, is told then.
#[derive(Debug, Default)]
pub struct PartDecoder {
    started: bool,
    done: bool,
    id: String,
    /// The calls told so far, of all candidates.
    calls: u32,
    candidates: Vec<Candidate>,
    /// Later totals replace earlier ones.
    usage: Option<Usage>,
}

/// What was told of a candidate.
#[derive(Debug)]
struct Candidate {
    index: u32,
    last: Last,
    calls: u32,
    reason: Option<String>,
    filtered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Text,
    Thought,
    Call,
}

impl PartDecoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn chunk(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        let raw = read_object(data)?;
        let (mut candidates, mut id, mut model, mut feedback) = (None, None, None, false);
        for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "candidates" => candidates = Some(value),
                "usageMetadata" => self.usage = read_usage(value).or(self.usage),
                "modelVersion" => model = value.string(),
                "responseId" => id = value.string(),
                "promptFeedback" => feedback = true,
                _ => {}
            }
        }
        let why = if feedback { blocked(raw) } else { None };
        if !self.started && (candidates.is_some() || id.is_some() || why.is_some()) {
            self.started = true;
            self.id = id.unwrap_or_default().into_owned();
            let model = model.unwrap_or_default();
            sink(StreamEvent::Start { id: Text::plain(&self.id), model: Text::plain(&model), created: None });
        }
        if let Some(why) = why {
            let place = self.candidate(0);
            let candidate = &mut self.candidates[place];
            if !candidate.filtered {
                candidate.filtered = true;
                sink(StreamEvent::Refusal { choice: 0, text: Text::plain(&why) });
            }
        }
        for (place, candidate) in candidates.into_iter().flat_map(Raw::items).enumerate() {
            self.read(candidate, u32::try_from(place).unwrap_or(u32::MAX), sink)?;
        }
        Ok(())
    }

    fn read(&mut self, raw: Raw<'_>, place: u32, sink: Sink<'_>) -> Result<(), Error> {
        let (mut choice, mut content, mut reason, mut why, mut logprobs) = (place, None, None, None, None);
        let mut links = Vec::new();
        for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "index" => choice = count(value).and_then(|index| u32::try_from(index).ok()).unwrap_or(place),
                "content" => content = Some(value),
                "finishReason" => reason = value.string().filter(|reason| !reason.is_empty()),
                "finishMessage" => why = value.string(),
                "logprobsResult" => logprobs = probability::read(value),
                "citationMetadata" | "groundingMetadata" => links.extend(citations(value)),
                _ => {}
            }
        }
        let place = self.candidate(choice);
        for part in content.and_then(|content| member(content, "parts")).into_iter().flat_map(Raw::items) {
            self.part(place, part, sink)?;
        }
        // Where the text is that a link belongs to is counted from the answer's beginning, in bytes that have gone by.
        for (citation, _) in links {
            sink(StreamEvent::Citation { choice, citation: Box::new(citation) });
        }
        if let Some(logprobs) = logprobs {
            sink(StreamEvent::Logprobs { choice, logprobs });
        }
        if let Some(reason) = reason {
            // Failures are told at once. Others may still be followed by parts: some models give a reason in each chunk.
            stop_reason(&reason, false, true, why.as_deref())?;
            self.candidates[place].reason = Some(reason.into_owned());
        }
        Ok(())
    }

    fn part(&mut self, place: usize, raw: Raw<'_>, sink: Sink<'_>) -> Result<(), Error> {
        let (mut text, mut thought, mut call, mut seal) = (None, false, None, None);
        for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "text" => text = Some(value),
                "thought" => thought = value.bool() == Some(true),
                "functionCall" => call = Some(value),
                "thoughtSignature" => seal = value.string(),
                _ => {}
            }
        }
        let choice = self.candidates[place].index;
        let seal = seal.map(|value| Signature { dialect: Dialect::Gemini, value: value.into_owned() });
        if let Some(call) = call {
            return self.call(place, call, seal, sink);
        }
        let kind = if thought { Last::Thought } else { Last::Text };
        let last = &mut self.candidates[place].last;
        if let Some(text) = text {
            Text::tell(text, |text| {
                *last = kind;
                sink(said(kind, choice, text));
            });
        }
        if let Some(signature) = seal {
            // A part of nothing but its seal is told too, so that the seal has a place.
            if *last != kind {
                *last = kind;
                sink(said(kind, choice, Text::plain("")));
            }
            sink(StreamEvent::Signature { choice, signature });
        }
        Ok(())
    }

    /// Tells a call, which comes whole.
    fn call(&mut self, place: usize, raw: Raw<'_>, seal: Option<Signature>, sink: Sink<'_>) -> Result<(), Error> {
        let (mut id, mut name, mut args) = (None, None, Cow::Borrowed("{}"));
        for (key, value) in members(raw).filter(|(_, value)| !value.is_null()) {
            match key.as_ref() {
                "id" => id = value.string().filter(|id| !id.is_empty()),
                "name" => name = value.string(),
                "args" => args = Cow::Borrowed(value.text()),
                "partialArgs" => return Err(in_pieces()),
                "willContinue" if value.bool() == Some(true) => return Err(in_pieces()),
                _ => {}
            }
        }
        let id = id.unwrap_or_else(|| call_id(&call_prefix(&self.id), self.calls).into());
        self.calls += 1;
        let candidate = &mut self.candidates[place];
        let (choice, index) = (candidate.index, candidate.calls);
        candidate.calls += 1;
        candidate.last = Last::Call;
        let (id, name) = (Text::plain(&id), name.unwrap_or_default());
        sink(StreamEvent::ToolCall { choice, index, id, name: Text::plain(&name), custom: false });
        if let Some(signature) = seal {
            sink(StreamEvent::Signature { choice, signature });
        }
        sink(StreamEvent::ToolArguments { choice, index, fragment: Text::plain(&args) });
        Ok(())
    }

    /// The place of the candidate `index`.
    fn candidate(&mut self, index: u32) -> usize {
        let known = self.candidates.iter().position(|candidate| candidate.index == index);
        known.unwrap_or_else(|| {
            self.candidates.push(Candidate { index, last: Last::Nothing, calls: 0, reason: None, filtered: false });
            self.candidates.len() - 1
        })
    }
}

const fn said(kind: Last, choice: u32, text: Text<'_>) -> StreamEvent<Text<'_>> {
    match kind {
        Last::Thought => StreamEvent::Reasoning { choice, text },
        _ => StreamEvent::Text { choice, text },
    }
}

/// Only a request of this dialect's own can ask for it.
fn in_pieces() -> Error {
    Error::new(ErrorKind::BadAnswer, "the provider sends a tool call's arguments in pieces, which nobody asked for")
}

impl Candidate {
    /// Why it ended, if it did.
    fn stop(&self) -> Option<StopReason> {
        if self.filtered {
            return Some(StopReason::ContentFilter);
        }
        stop_reason(self.reason.as_deref()?, self.calls > 0, self.last != Last::Nothing, None).ok()
    }
}

impl StreamDecoder for PartDecoder {
    fn decode(&mut self, data: &[u8], sink: Sink<'_>) -> Result<(), Error> {
        if self.done { Ok(()) } else { self.chunk(data, sink) }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self, sink: Sink<'_>) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        if self.candidates.is_empty() || self.candidates.iter().any(|candidate| candidate.stop().is_none()) {
            return Err(Error::new(ErrorKind::StreamInterrupted, "the provider's stream broke off before its end"));
        }
        self.done = true;
        for candidate in &self.candidates {
            if let Some(reason) = candidate.stop() {
                sink(StreamEvent::Stop { choice: candidate.index, reason });
            }
        }
        self.usage.into_iter().for_each(|usage| sink(StreamEvent::Usage(usage)));
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
