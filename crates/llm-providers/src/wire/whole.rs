//! Whole answers from events and events from whole answers, where a provider answers in the other form.

use bytes::Bytes;
use llm_core::{
    Choice, CompletionResponse, Content, Dialect, Error, ErrorKind, Message, Part, Reasoning, Role, Signature,
    StopReason, StreamEvent, ToolCall,
};

use super::StreamDecoder;
use super::sse::Framer;

/// The answer that a stream of events, received whole, makes up.
///
/// # Errors
/// As the decoder's; `BadAnswer` when an event is longer than `limit` bytes.
pub fn collect(
    body: Bytes,
    limit: usize,
    mut decoder: Box<dyn StreamDecoder>,
    dialect: Dialect,
) -> Result<CompletionResponse, Error> {
    let (mut framer, mut collector) = (Framer::new(limit), Collector::new(dialect));
    framer.push(body);
    framer.push(Bytes::from_static(b"\n\n"));
    let too_long = |error: super::sse::TooLong| Error::new(ErrorKind::BadAnswer, error.to_string());
    while let Some(event) = framer.next_event().map_err(too_long)? {
        if let Some(data) = event.fields().data.filter(|data| !data.is_empty()) {
            decoder.decode(&data, &mut |event| collector.add(event.map(|text| text.into_string())))?;
        }
    }
    decoder.finish(&mut |event| collector.add(event.map(|text| text.into_string())))?;
    Ok(collector.into_response())
}

/// Puts the events of a stream together.
#[derive(Debug)]
pub struct Collector {
    response: CompletionResponse,
    /// The choices whose last part is over.
    sealed: Vec<u32>,
}

impl Collector {
    /// A collector of events that are read from `dialect`.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let response = CompletionResponse { dialect: Some(dialect), ..CompletionResponse::new("", "") };
        Self { response, sealed: Vec::new() }
    }

    /// Adds the next event.
    pub fn add(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Start { id, model, created } => {
                (self.response.id, self.response.model, self.response.created) = (id, model, created);
            }
            StreamEvent::Text { choice, text } => match self.open(choice) {
                Some(Content::Text(so_far)) => so_far.push_str(&text),
                _ => self.part(choice, Content::Text(text)),
            },
            StreamEvent::Refusal { choice, text } => match self.open(choice) {
                Some(Content::Refusal(so_far)) => so_far.push_str(&text),
                _ => self.part(choice, Content::Refusal(text)),
            },
            StreamEvent::Reasoning { choice, text } => match self.open(choice) {
                Some(Content::Reasoning(so_far)) if !so_far.redacted => so_far.text.push_str(&text),
                _ => self.part(choice, Content::Reasoning(Reasoning { text, redacted: false })),
            },
            StreamEvent::EndOfThought { choice } => self.sealed.push(choice),
            StreamEvent::RedactedReasoning { choice, signature } => {
                self.part(choice, Content::Reasoning(Reasoning { text: String::new(), redacted: true }));
                self.seal(choice, signature);
            }
            StreamEvent::ToolCall { choice, id, name, custom, .. } => {
                self.part(choice, Content::ToolCall(ToolCall { id, name, arguments: String::new(), custom }));
            }
            StreamEvent::ToolArguments { choice, index, fragment } => {
                let mut calls = self.parts(choice).iter_mut().filter_map(|part| match &mut part.content {
                    Content::ToolCall(call) => Some(call),
                    _ => None,
                });
                if let Some(call) = calls.nth(index as usize) {
                    call.arguments.push_str(&fragment);
                }
            }
            StreamEvent::Signature { choice, signature } => self.seal(choice, signature),
            StreamEvent::Citation { choice, citation } => {
                let text = self.parts(choice).iter_mut().rfind(|part| part.as_text().is_some());
                if let Some(part) = text {
                    part.citations.push(*citation);
                }
            }
            StreamEvent::Stop { choice, reason } => self.at(choice).stop = Some(reason),
            StreamEvent::Usage(usage) => self.response.usage = Some(usage),
            _ => {}
        }
    }

    /// The answer that the events made up.
    #[must_use]
    pub fn into_response(mut self) -> CompletionResponse {
        self.response.choices.sort_by_key(|choice| choice.index);
        self.response
    }

    /// The choice's last part, if it goes on.
    fn open(&mut self, choice: u32) -> Option<&mut Content> {
        if self.sealed.contains(&choice) {
            return None;
        }
        self.parts(choice).last_mut().map(|part| &mut part.content)
    }

    fn part(&mut self, choice: u32, content: Content) {
        self.sealed.retain(|sealed| *sealed != choice);
        self.parts(choice).push(content.into());
    }

    fn seal(&mut self, choice: u32, signature: Signature) {
        match self.parts(choice).last_mut() {
            Some(part) => part.signature = Some(signature),
            // A thought of which nothing is shown but its seal.
            None => {
                let content = Content::Reasoning(Reasoning::default());
                self.parts(choice).push(Part { signature: Some(signature), ..Part::new(content) });
            }
        }
        self.sealed.push(choice);
    }

    fn parts(&mut self, index: u32) -> &mut Vec<Part> {
        &mut self.at(index).message.parts
    }

    fn at(&mut self, index: u32) -> &mut Choice {
        let choices = &mut self.response.choices;
        let known = choices.iter().position(|choice| choice.index == index);
        let place = known.unwrap_or_else(|| {
            let message = Message::new(Role::Assistant, Vec::new());
            choices.push(Choice { index, message, stop: None, logprobs: None });
            choices.len() - 1
        });
        &mut choices[place]
    }
}

/// The events that say what `response` says.
#[must_use]
pub fn events(response: CompletionResponse) -> Vec<StreamEvent> {
    let CompletionResponse { id, model, created, choices, usage, .. } = response;
    let mut events = vec![StreamEvent::Start { id, model, created }];
    for Choice { index: choice, message, stop, logprobs } in choices {
        let mut calls = 0;
        // Whether the last part is a thought that nothing ends.
        let mut open = false;
        for Part { content, mut signature, citations, .. } in message.parts {
            let thought = matches!(&content, Content::Reasoning(thought) if !thought.redacted);
            events.extend((open && thought).then_some(StreamEvent::EndOfThought { choice }));
            let (told, unsealed) = (events.len(), thought && signature.is_none());
            match content {
                Content::Text(text) => events.push(StreamEvent::Text { choice, text }),
                Content::Refusal(text) => events.push(StreamEvent::Refusal { choice, text }),
                Content::Reasoning(Reasoning { redacted: true, .. }) => {
                    let seal = signature.take();
                    events.extend(seal.map(|signature| StreamEvent::RedactedReasoning { choice, signature }));
                }
                Content::Reasoning(Reasoning { text, .. }) => events.push(StreamEvent::Reasoning { choice, text }),
                Content::ToolCall(ToolCall { id, name, arguments, custom }) => {
                    events.push(StreamEvent::ToolCall { choice, index: calls, id, name, custom });
                    events.extend(signature.take().map(|signature| StreamEvent::Signature { choice, signature }));
                    events.push(StreamEvent::ToolArguments { choice, index: calls, fragment: arguments });
                    calls += 1;
                }
                _ => {}
            }
            let cited = citations.into_iter().map(Box::new);
            events.extend(cited.map(|citation| StreamEvent::Citation { choice, citation }));
            events.extend(signature.map(|signature| StreamEvent::Signature { choice, signature }));
            // What has no event comes between no thoughts.
            open = if events.len() > told { unsealed } else { open };
        }
        events.extend(logprobs.map(|logprobs| StreamEvent::Logprobs { choice, logprobs }));
        events.push(StreamEvent::Stop { choice, reason: stop.unwrap_or(StopReason::Stop) });
    }
    events.extend(usage.map(StreamEvent::Usage));
    events
}
