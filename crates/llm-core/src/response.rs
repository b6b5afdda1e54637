//! Completions in neutral form: whole, or event by event.

use std::time::Duration;

use crate::{Json, Message, Part, Reasoning, ToolCall, Usage};

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
}

impl CompletionResponse {
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
        parts.iter().filter_map(|part| match part {
            Part::Reasoning(reasoning) => Some(reasoning),
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
    /// It was done, or wrote a stop text.
    Stop,
    /// It reached the cap or the end of its window.
    Length,
    /// It wants tools called.
    ToolCalls,
    /// It, or a filter, refused.
    ContentFilter,
    /// A reason of the provider's own.
    Other(String),
}

/// A step of an answer in the making.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The answer begins. Comes once, first.
    Start {
        /// The provider's name for the answer.
        id: String,
        /// The model that answers.
        model: String,
        /// Unix seconds.
        created: Option<u64>,
    },
    /// More text.
    Text {
        /// Which answer.
        choice: u32,
        /// The piece.
        text: String,
    },
    /// More words of a refusal.
    Refusal {
        /// Which answer.
        choice: u32,
        /// The piece.
        text: String,
    },
    /// More thoughts.
    Reasoning {
        /// Which answer.
        choice: u32,
        /// The piece.
        text: String,
        /// The seal, once known.
        signature: Option<String>,
    },
    /// A tool call begins.
    ToolCall {
        /// Which answer.
        choice: u32,
        /// Which call of the answer.
        index: u32,
        /// The call's id.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of a tool call's arguments; a piece may cut an escape in two.
    ToolArguments {
        /// Which answer.
        choice: u32,
        /// Which call of the answer.
        index: u32,
        /// The piece.
        fragment: String,
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
