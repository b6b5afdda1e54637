//! What spans say of requests and answers: settings and counts, never what was asked or answered.

use std::fmt;

use llm_core::{
    AboutAnswer, CallBody, CompletionRequest, CompletionResponse, Dialect, Envelope, Piece, RequestSettings,
    StopReason, StreamEvent,
};

use crate::names;
use crate::span::Attributes;

/// Reads bodies that pass through, for spans. Without one, spans say of them what their envelopes say.
pub trait BodyReader: fmt::Debug + Send + Sync + 'static {
    /// The settings of a request.
    fn request(&self, envelope: &Envelope) -> RequestSettings;

    /// Adds to `about` what a whole answer, or the next events of a stream, say of the answer.
    fn answer(&self, dialect: Dialect, bytes: &[u8], about: &mut AboutAnswer);
}

/// What a span says of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AboutRequest {
    pub(crate) stream: bool,
    choices: Option<u32>,
    max_tokens: Option<u64>,
    settings: RequestSettings,
}

impl AboutRequest {
    pub(crate) fn of(body: &CallBody, reader: Option<&dyn BodyReader>) -> Self {
        match body {
            CallBody::Wire(envelope) => Self {
                stream: envelope.stream,
                choices: Some(envelope.choices),
                max_tokens: envelope.max_output,
                settings: reader.map(|reader| reader.request(envelope)).unwrap_or_default(),
            },
            CallBody::Completion(request) => Self::of_request(request, false),
            CallBody::Stream(request) => Self::of_request(request, true),
            CallBody::Embedding(_) | CallBody::Models | CallBody::Forward(_) => Self::default(),
        }
    }

    fn of_request(request: &CompletionRequest, stream: bool) -> Self {
        let settings = RequestSettings {
            temperature: request.temperature,
            top_p: request.top_p,
            frequency_penalty: request.frequency_penalty,
            presence_penalty: request.presence_penalty,
            seed: request.seed,
        };
        Self { stream, choices: request.n, max_tokens: request.max_tokens, settings }
    }

    pub(crate) fn write(&self, attributes: &mut Attributes) {
        let RequestSettings { temperature, top_p, frequency_penalty, presence_penalty, seed } = self.settings;
        attributes.know(names::REQUEST_STREAM, self.stream.then_some(true));
        attributes.know(names::REQUEST_CHOICE_COUNT, self.choices.filter(|count| *count != 1));
        attributes.know(names::REQUEST_MAX_TOKENS, self.max_tokens);
        attributes.know(names::REQUEST_TEMPERATURE, temperature);
        attributes.know(names::REQUEST_TOP_P, top_p);
        attributes.know(names::REQUEST_FREQUENCY_PENALTY, frequency_penalty);
        attributes.know(names::REQUEST_PRESENCE_PENALTY, presence_penalty);
        attributes.know(names::REQUEST_SEED, seed);
    }
}

/// Choices whose end is told at most.
const MOST_CHOICES: usize = 128;

/// Adds to `about` what `piece` says.
pub(crate) fn hear(about: &mut AboutAnswer, piece: Piece<'_>, dialect: Dialect, reader: Option<&dyn BodyReader>) {
    match (piece, reader) {
        (Piece::Bytes(bytes), Some(reader)) => reader.answer(dialect, bytes, about),
        (Piece::Bytes(_), None) => {}
        (Piece::Completion(response), _) => hear_whole(about, response),
        (Piece::Event(StreamEvent::Start { id, model, .. }), _) => {
            (about.id, about.model) = (Some(id.clone()), Some(model.clone()));
        }
        (Piece::Event(StreamEvent::Stop { reason, .. }), _) => about.finish_reasons.push(word(reason)),
        (Piece::Event(_), _) => {}
    }
    about.finish_reasons.truncate(MOST_CHOICES);
}

fn hear_whole(about: &mut AboutAnswer, response: &CompletionResponse) {
    (about.id, about.model) = (Some(response.id.clone()), Some(response.model.clone()));
    about.finish_reasons = response.choices.iter().filter_map(|choice| choice.stop.as_ref()).map(word).collect();
}

/// Says what an answer says of itself.
pub(crate) fn tell(about: AboutAnswer, attributes: &mut Attributes) {
    attributes.know(names::RESPONSE_ID, about.id);
    attributes.know(names::RESPONSE_MODEL, about.model);
    let reasons = about.finish_reasons;
    attributes.know(names::RESPONSE_FINISH_REASONS, (!reasons.is_empty()).then_some(reasons));
}

fn word(reason: &StopReason) -> String {
    match reason {
        StopReason::Stop => "stop",
        StopReason::Length => "length",
        StopReason::ToolCalls => "tool_calls",
        StopReason::ContentFilter => "content_filter",
        StopReason::Other(word) => word,
        _ => "other",
    }
    .to_owned()
}
