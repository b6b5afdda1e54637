//! An answer that is known in full before its first word is said.

use llm_core::{Choice, CompletionResponse, Content, Message, Part, Role, StopReason, StreamEvent, ToolCall, Usage};

use crate::words::{first_bytes, first_word};

/// Bytes of JSON in one event of a stream.
const FRAGMENT: usize = 12;

/// What is answered to a completion request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) id: String,
    pub(crate) model: String,
    /// Unix seconds.
    pub(crate) created: u64,
    /// By index.
    pub(crate) choices: Vec<Spoken>,
    pub(crate) usage: Option<Usage>,
}

/// One choice of a [`Reply`].
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    pub(crate) said: Said,
    pub(crate) stop: StopReason,
}

/// What a choice consists of.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Text, streamed word by word.
    Text(String),
    /// JSON, streamed in fragments.
    Json(String),
    /// Tool calls, their arguments streamed in fragments.
    Calls(Vec<ToolCall>),
}

impl Said {
    /// The number of pieces in which it is streamed.
    pub(crate) fn pieces(&self) -> u64 {
        let count = |text, cut| cuts(text, cut).count() as u64;
        match self {
            Self::Text(text) => count(text, first_word),
            Self::Json(text) => count(text, fragment),
            Self::Calls(calls) => calls.iter().map(|call| count(&call.arguments, fragment)).sum(),
        }
    }

    /// The first `most` pieces. Calls stay whole.
    pub(crate) fn first(self, most: u64) -> Self {
        let cut_to = |mut text: String, cut| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            text.truncate(cuts(&text, cut).take(most).last().unwrap_or(0));
            text
        };
        match self {
            Self::Text(text) => Self::Text(cut_to(text, first_word)),
            Self::Json(text) => Self::Json(cut_to(text, fragment)),
            Self::Calls(calls) => Self::Calls(calls),
        }
    }
}

/// Where each piece of `text` ends.
fn cuts(text: &str, cut: fn(&str) -> &str) -> impl Iterator<Item = usize> {
    let mut end = 0;
    std::iter::from_fn(move || {
        end += (end < text.len()).then(|| cut(&text[end..]).len())?;
        Some(end)
    })
}

fn fragment(text: &str) -> &str {
    first_bytes(text, FRAGMENT)
}

impl Reply {
    /// The number of pieces in which all choices are streamed.
    pub(crate) fn tokens(&self) -> u64 {
        self.choices.iter().map(|choice| choice.said.pieces()).sum()
    }

    /// Lets choices that call tools end for that reason, as the neutral form has it whatever the bytes say.
    pub(crate) fn stop_for_calls(&mut self) {
        for choice in &mut self.choices {
            if let Said::Calls(_) = choice.said {
                choice.stop = StopReason::ToolCalls;
            }
        }
    }

    /// The answer as a whole.
    pub(crate) fn whole(self) -> CompletionResponse {
        let choices = (0..).zip(self.choices).map(|(index, spoken)| {
            let parts = match spoken.said {
                Said::Text(text) | Said::Json(text) => vec![Part::text(text)],
                Said::Calls(calls) => calls.into_iter().map(|call| Part::new(Content::ToolCall(call))).collect(),
            };
            let message = Message::new(Role::Assistant, parts);
            Choice { index, message, stop: Some(spoken.stop), logprobs: None }
        });
        CompletionResponse {
            created: Some(self.created),
            choices: choices.collect(),
            usage: self.usage,
            ..CompletionResponse::new(self.id, self.model)
        }
    }

    /// The answer piece by piece, the choices taking turns.
    pub(crate) fn events(self) -> Events {
        let start = StreamEvent::Start { id: self.id, model: self.model, created: Some(self.created) };
        let choices = self.choices.into_iter().map(Telling::new).collect();
        Events { start: Some(start), choices, turn: 0, stopped: 0, usage: self.usage }
    }
}

/// The events of a [`Reply`].
#[derive(Clone, Debug)]
pub(crate) struct Events {
    start: Option<StreamEvent>,
    choices: Vec<Telling>,
    /// The choice that speaks next.
    turn: usize,
    /// Choices whose end has been told.
    stopped: usize,
    usage: Option<Usage>,
}

impl Iterator for Events {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        if let Some(start) = self.start.take() {
            return Some(start);
        }
        let count = self.choices.len();
        for turn in (0..count).map(|offset| (self.turn + offset) % count) {
            if let Some(event) = self.choices[turn].next(turn as u32) {
                self.turn = (turn + 1) % count;
                return Some(event);
            }
        }
        if self.stopped < count {
            let choice = self.stopped;
            self.stopped += 1;
            return Some(StreamEvent::Stop { choice: choice as u32, reason: self.choices[choice].stop.clone() });
        }
        self.usage.take().map(StreamEvent::Usage)
    }
}

/// A choice and how far it has been told.
#[derive(Clone, Debug)]
struct Telling {
    said: Said,
    stop: StopReason,
    /// The tool call being told, and whether its name has been.
    call: usize,
    named: bool,
    /// Bytes told of the text, or of the call's arguments.
    told: usize,
}

impl Telling {
    fn new(spoken: Spoken) -> Self {
        Self { said: spoken.said, stop: spoken.stop, call: 0, named: false, told: 0 }
    }

    fn next(&mut self, choice: u32) -> Option<StreamEvent> {
        let (text, cut): (_, fn(&str) -> &str) = match &self.said {
            Said::Text(text) => (text, first_word),
            Said::Json(text) => (text, fragment),
            Said::Calls(_) => return self.next_of_calls(choice),
        };
        let piece = cut(&text[self.told..]);
        self.told += piece.len();
        (!piece.is_empty()).then(|| StreamEvent::Text { choice, text: piece.into() })
    }

    fn next_of_calls(&mut self, choice: u32) -> Option<StreamEvent> {
        let Said::Calls(calls) = &self.said else { return None };
        loop {
            let call = calls.get(self.call)?;
            let index = self.call as u32;
            if !self.named {
                self.named = true;
                return Some(StreamEvent::ToolCall {
                    choice,
                    index,
                    id: call.id.clone(),
                    name: call.name.clone(),
                    custom: call.custom,
                });
            }
            let piece = fragment(&call.arguments[self.told..]);
            if !piece.is_empty() {
                self.told += piece.len();
                return Some(StreamEvent::ToolArguments { choice, index, fragment: piece.into() });
            }
            (self.call, self.named, self.told) = (self.call + 1, false, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(choices: Vec<Said>) -> Reply {
        let choices = choices.into_iter().map(|said| Spoken { said, stop: StopReason::Stop }).collect();
        Reply { id: "id".into(), model: "m".into(), created: 1, choices, usage: Some(Usage::default()) }
    }

    #[test]
    fn choices_take_turns_and_end_together() {
        let events: Vec<_> = reply(vec![Said::Text("a b c".into()), Said::Text("d".into())]).events().collect();
        let text = |choice, text: &str| StreamEvent::Text { choice, text: text.into() };
        let stop = |choice| StreamEvent::Stop { choice, reason: StopReason::Stop };
        assert_eq!(
            events[1..],
            [
                text(0, "a"),
                text(1, "d"),
                text(0, " b"),
                text(0, " c"),
                stop(0),
                stop(1),
                StreamEvent::Usage(Usage::default())
            ]
        );
    }

    #[test]
    fn calls_are_told_one_after_the_other() {
        let call = |name: &str, arguments: &str| ToolCall::function(format!("call_{name}"), name, arguments);
        let said = Said::Calls(vec![call("f", r#"{"city":"Paris"}"#), call("g", "{}")]);
        assert_eq!(said.pieces(), 3);
        let mut told = vec![String::new(), String::new()];
        let mut names = Vec::new();
        for event in reply(vec![said]).events() {
            match event {
                StreamEvent::ToolCall { index, name, .. } => names.push((index, name)),
                StreamEvent::ToolArguments { index, fragment, .. } => told[index as usize].push_str(&fragment),
                _ => {}
            }
        }
        assert_eq!(names, [(0, "f".into()), (1, "g".into())]);
        assert_eq!(told, [r#"{"city":"Paris"}"#, "{}"]);
    }

    #[test]
    fn an_empty_text_has_no_piece() {
        assert_eq!(Said::Text(String::new()).pieces(), 0);
        assert_eq!(reply(vec![Said::Text(String::new())]).events().count(), 3);
    }
}
