//! How an answer is streamed, step by step, as its script has it.

use std::iter::Peekable;
use std::time::Duration;

use llm_core::StreamEvent;

use super::script::SimScript;
use crate::reply::Events;

/// What comes next of a stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing, for so long.
    Wait(Duration),
    /// This is said. The last event is told so.
    Say(StreamEvent, Last),
    /// Nothing, for ever.
    Stall,
    /// The connection is closed, in the middle of this event unless there is none.
    Cut(Option<StreamEvent>),
    /// An error is told, and ends the stream.
    Fail,
    /// The terminal marker; left out or cut in two when scripted.
    End(Marker),
}

/// Whether an event is the last of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Yes,
    No,
}

/// How a stream's terminal marker is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    Whole,
    Absent,
    CutInTwo,
}

/// The machine that turns an answer and its script into steps. After `Cut`, `Fail` or `End` there is none; after
/// `Stall` only the same.
#[derive(Debug)]
pub(crate) struct Show {
    events: Peekable<Events>,
    gap: Duration,
    cut_after: Option<u64>,
    cut_clean: bool,
    stall_after: Option<u64>,
    fail_after: Option<u64>,
    marker: Marker,
    /// Tokens said.
    said: u64,
    /// Whether the gap before the next token has passed.
    waited: bool,
    over: bool,
}

impl Show {
    pub(crate) fn new(events: Events, script: &SimScript) -> Self {
        let marker = match (script.truncate, script.no_done) {
            (Some(true), _) => Marker::CutInTwo,
            (_, Some(true)) => Marker::Absent,
            _ => Marker::Whole,
        };
        Self {
            events: events.peekable(),
            gap: script.gap.unwrap_or_default(),
            cut_after: script.cut_after.map(u64::from),
            cut_clean: script.cut_clean == Some(true),
            stall_after: script.stall_after.map(u64::from),
            fail_after: script.error_event.map(u64::from),
            marker,
            said: 0,
            // The wait before the first token is `ttft`.
            waited: true,
            over: false,
        }
    }
}

impl Iterator for Show {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.over {
            return None;
        }
        let Some(event) = self.events.peek() else {
            self.over = true;
            return Some(Step::End(self.marker));
        };
        let begun = !matches!(event, StreamEvent::Start { .. });
        let now = |after: Option<u64>| begun && after == Some(self.said);
        if now(self.stall_after) {
            return Some(Step::Stall);
        }
        if now(self.fail_after) {
            self.over = true;
            return Some(Step::Fail);
        }
        if now(self.cut_after) {
            self.over = true;
            return Some(Step::Cut(self.events.next().filter(|_| !self.cut_clean)));
        }
        let token = is_token(event);
        if token && !self.waited && !self.gap.is_zero() {
            self.waited = true;
            return Some(Step::Wait(self.gap));
        }
        let event = self.events.next()?;
        if token {
            self.said += 1;
            self.waited = false;
        }
        let last = self.marker == Marker::Whole && self.events.peek().is_none();
        Some(Step::Say(event, if last { Last::Yes } else { Last::No }))
    }
}

/// Whether an event counts as a token.
pub(crate) const fn is_token(event: &StreamEvent) -> bool {
    matches!(event, StreamEvent::Text { .. } | StreamEvent::ToolArguments { .. })
}

#[cfg(test)]
mod tests {
    use llm_core::{StopReason, Usage};

    use super::*;
    use crate::reply::{Reply, Said, Spoken};

    /// The steps in short: one letter each, a token by itself.
    fn steps(script: &str) -> String {
        let script = script.parse().unwrap();
        let reply = Reply {
            id: "id".into(),
            model: "m".into(),
            created: 1,
            choices: vec![Spoken { said: Said::Text("1 2 3".into()), stop: StopReason::Stop }],
            usage: Some(Usage::default()),
        };
        let letters = Show::new(reply.events(), &script).take(20).map(|step| match step {
            Step::Wait(_) => "w".into(),
            Step::Say(StreamEvent::Text { text, .. }, _) => text.trim().into(),
            Step::Say(StreamEvent::Start { .. }, _) => "[".into(),
            Step::Say(StreamEvent::Usage(_), Last::Yes) => "U".into(),
            Step::Say(StreamEvent::Usage(_), Last::No) => "u".into(),
            Step::Say(..) => "]".into(),
            Step::Stall => "s".into(),
            Step::Cut(Some(_)) => "c".into(),
            Step::Cut(None) => "C".into(),
            Step::Fail => "f".into(),
            Step::End(Marker::Whole) => "$".into(),
            Step::End(Marker::Absent) => "-".into(),
            Step::End(Marker::CutInTwo) => "/".into(),
        });
        letters.collect::<Vec<String>>().concat()
    }

    #[test]
    fn each_fault_comes_after_its_number_of_tokens() {
        assert_eq!(steps(""), "[123]U$");
        assert_eq!(steps("gap=1ms"), "[1w2w3]U$");
        assert_eq!(steps("cut_after=0"), "[c");
        assert_eq!(steps("cut_after=2"), "[12c");
        assert_eq!(steps("cut_after=3,cut_clean"), "[123C");
        assert_eq!(steps("cut_after=4"), "[123]U$");
        assert_eq!(steps("stall_after=1,gap=1ms"), format!("[1{}", "s".repeat(18)));
        assert_eq!(steps("error_event=2"), "[12f");
        assert_eq!(steps("no_done"), "[123]u-");
        assert_eq!(steps("truncate"), "[123]u/");
    }
}
