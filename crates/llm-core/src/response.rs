//! Completions in neutral form: whole, or event by event.

use std::time::Duration;

use crate::{Citation, Content, Dialect, Json, Message, Reasoning, Signature, ToolCall, Usage};

/// A model's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct CompletionResponse {
    /// The provider's name for the answer.
    pub id: String,
    /// The model that the provider says has answered.
    pub model: String,
    /// Unix seconds; absent where the dialect has none.
    pub created: Option<u64>,
    /// The answers, by index.
    pub choices: Vec<Choice>,
    /// What it used; absent when the provider did not say.
    pub usage: Option<Usage>,
    /// From sending to the answer's end; absent where nobody measured it.
    pub latency: Option<Duration>,
    /// Members without a neutral form, by their name in the dialect, in order.
    pub extra: Vec<(String, Json)>,
    /// What the answer was read from, and what its `extra` is written in; absent if it was made here.
    pub dialect: Option<Dialect>,
}

impl CompletionResponse {
    /// An answer without choices.
    pub fn new(id: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            created: None,
            choices: Vec::new(),
            usage: None,
            latency: None,
            extra: Vec::new(),
            dialect: None,
        }
    }

    /// The first choice's text.
    #[must_use]
    pub fn text_content(&self) -> String {
        self.choices.first().map(|choice| choice.message.text()).unwrap_or_default()
    }

    /// The first choice's tool calls.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.choices.first().into_iter().flat_map(|choice| choice.message.tool_calls())
    }

    /// The first choice's thoughts.
    pub fn reasoning(&self) -> impl Iterator<Item = &Reasoning> {
        let parts = self.choices.first().map_or(&[][..], |choice| &choice.message.parts);
        parts.iter().filter_map(|part| match &part.content {
            Content::Reasoning(reasoning) => Some(reasoning),
            _ => None,
        })
    }
}

/// One of the answers to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its place.
    pub index: u32,
    /// What was said.
    pub message: Message,
    /// Why it ended.
    pub stop: Option<StopReason>,
    /// Log probabilities, in the dialect's JSON.
    pub logprobs: Option<Json>,
}

/// Why a model stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// It was done, or wrote a stop text that its provider does not name.
    Stop,
    /// It wrote this stop text.
    StopSequence(String),
    /// It reached the cap.
    Length,
    /// It reached the end of its window.
    ContextWindow,
    /// It wants tools called.
    ToolCalls,
    /// It, or a filter, refused.
    ContentFilter,
    /// It pauses in a long turn, and goes on when it is given back what it said.
    Pause,
    /// A reason of the provider's own.
    Other(String),
}

/// A step of an answer in the making, with texts of type `S`: codecs borrow them from what they read.
///
/// Parts come one after the other in each choice: what is told next continues the part of its kind, unless another part,
/// a [`Signature`](Self::Signature) or an [`EndOfThought`](Self::EndOfThought) came between.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StreamEvent<S = String> {
    /// The answer begins. Comes once, first.
    Start {
        /// The provider's name for the answer.
        id: S,
        /// The model that answers.
        model: S,
        /// Unix seconds.
        created: Option<u64>,
    },
    /// More text.
    Text {
        /// Which answer.
        choice: u32,
        /// The piece.
        text: S,
    },
    /// More words of a refusal.
    Refusal {
        /// Which answer.
        choice: u32,
        /// The piece.
        text: S,
    },
    /// More thoughts.
    Reasoning {
        /// Which answer.
        choice: u32,
        /// The piece.
        text: S,
    },
    /// The thought that was told last is over and has no seal; another thought follows.
    EndOfThought {
        /// Which answer.
        choice: u32,
    },
    /// Thoughts that the provider holds back, whole: their seal.
    RedactedReasoning {
        /// Which answer.
        choice: u32,
        /// The seal.
        signature: Signature,
    },
    /// A tool call begins.
    ToolCall {
        /// Which answer.
        choice: u32,
        /// Which call of the answer.
        index: u32,
        /// The call's id.
        id: S,
        /// The tool.
        name: S,
        /// Whether the tool takes free text, not JSON.
        custom: bool,
    },
    /// More of a tool call's arguments; a piece may cut an escape in two.
    ToolArguments {
        /// Which answer.
        choice: u32,
        /// Which call of the answer.
        index: u32,
        /// The piece.
        fragment: S,
    },
    /// The seal of the part that was told last. A thought or a text is over then; a call's comes before its arguments.
    Signature {
        /// Which answer.
        choice: u32,
        /// The seal.
        signature: Signature,
    },
    /// What the text told last is based on.
    Citation {
        /// Which answer.
        choice: u32,
        /// The source.
        citation: Box<Citation>,
    },
    /// Log probabilities of what was told last, in OpenAI's JSON.
    Logprobs {
        /// Which answer.
        choice: u32,
        /// As in a chunk's `logprobs`.
        logprobs: Json,
    },
    /// An answer ends. Comes once for each.
    Stop {
        /// Which answer.
        choice: u32,
        /// Why.
        reason: StopReason,
    },
    /// What it used. Comes at most once, last.
    Usage(Usage),
}

impl<S> StreamEvent<S> {
    /// Whether the event carries content: text, thoughts, a tool call.
    #[must_use]
    pub const fn is_content(&self) -> bool {
        match self {
            Self::Text { .. }
            | Self::Refusal { .. }
            | Self::Reasoning { .. }
            | Self::RedactedReasoning { .. }
            | Self::ToolCall { .. }
            | Self::ToolArguments { .. } => true,
            Self::Start { .. }
            | Self::EndOfThought { .. }
            | Self::Signature { .. }
            | Self::Citation { .. }
            | Self::Logprobs { .. }
            | Self::Stop { .. }
            | Self::Usage(_) => false,
        }
    }

    /// The event with its texts turned into something else by `turn`.
    pub fn map<'a, T>(&'a self, turn: impl Fn(&'a S) -> T) -> StreamEvent<T> {
        match self {
            Self::Start { id, model, created } => {
                StreamEvent::Start { id: turn(id), model: turn(model), created: *created }
            }
            Self::Text { choice, text } => StreamEvent::Text { choice: *choice, text: turn(text) },
            Self::Refusal { choice, text } => StreamEvent::Refusal { choice: *choice, text: turn(text) },
            Self::Reasoning { choice, text } => StreamEvent::Reasoning { choice: *choice, text: turn(text) },
            Self::EndOfThought { choice } => StreamEvent::EndOfThought { choice: *choice },
            Self::RedactedReasoning { choice, signature } => {
                StreamEvent::RedactedReasoning { choice: *choice, signature: signature.clone() }
            }
            Self::ToolCall { choice, index, id, name, custom } => StreamEvent::ToolCall {
                choice: *choice,
                index: *index,
                id: turn(id),
                name: turn(name),
                custom: *custom,
            },
            Self::ToolArguments { choice, index, fragment } => {
                StreamEvent::ToolArguments { choice: *choice, index: *index, fragment: turn(fragment) }
            }
            Self::Signature { choice, signature } => {
                StreamEvent::Signature { choice: *choice, signature: signature.clone() }
            }
            Self::Citation { choice, citation } => {
                StreamEvent::Citation { choice: *choice, citation: citation.clone() }
            }
            Self::Logprobs { choice, logprobs } => {
                StreamEvent::Logprobs { choice: *choice, logprobs: logprobs.clone() }
            }
            Self::Stop { choice, reason } => StreamEvent::Stop { choice: *choice, reason: reason.clone() },
            Self::Usage(usage) => StreamEvent::Usage(*usage),
        }
    }
}
