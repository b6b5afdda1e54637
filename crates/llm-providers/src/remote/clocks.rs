//! The clocks of a stream under way: to its first content, between contents, and to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use llm_core::{Error, ErrorKind};
use tokio::time::{Instant, Sleep};

use super::config::Timeouts;

/// One timer for all clocks. It fires at the deadline or earlier and then looks again, so that content that moves
/// the deadline away does not touch it.
pub(crate) struct Clocks {
    timeouts: Timeouts,
    end: Instant,
    deadline: Instant,
    begun: bool,
    timer: Pin<Box<Sleep>>,
}

impl Clocks {
    /// Clocks of a call that was sent at `sent`.
    pub(crate) fn new(timeouts: Timeouts, sent: Instant) -> Self {
        let end = sent + timeouts.total_timeout;
        let deadline = end.min(sent + timeouts.first_token_timeout);
        Self { timeouts, end, deadline, begun: false, timer: Box::pin(tokio::time::sleep_until(deadline)) }
    }

    /// By when the answer's head must be there.
    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Content has come.
    pub(crate) fn content(&mut self) {
        self.begun = true;
        self.deadline = self.end.min(Instant::now() + self.timeouts.token_gap_timeout);
        if self.deadline < self.timer.deadline() {
            self.timer.as_mut().reset(self.deadline);
        }
    }

    /// Something has come that is no content.
    pub(crate) fn comment(&mut self) {
        if self.timeouts.comments_reset_timeouts {
            let wait = if self.begun { self.timeouts.token_gap_timeout } else { self.timeouts.first_token_timeout };
            self.deadline = self.end.min(Instant::now() + wait);
        }
    }

    /// Ready when a clock has run out.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= self.deadline {
                return Poll::Ready(self.expired());
            }
            self.timer.as_mut().reset(self.deadline);
        }
    }

    /// The error of the clock that runs out first.
    pub(crate) fn expired(&self) -> Error {
        let Timeouts { first_token_timeout, token_gap_timeout, total_timeout, .. } = self.timeouts;
        let (what, key, span) = match (self.deadline >= self.end, self.begun) {
            (true, _) => ("to finish", "total_timeout", total_timeout),
            (false, false) => ("to begin", "first_token_timeout", first_token_timeout),
            (false, true) => ("between two tokens", "token_gap_timeout", token_gap_timeout),
        };
        timed_out(what, key, span)
    }
}

pub(crate) fn timed_out(what: &str, key: &str, span: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("the provider took longer {what} than {key} ({span:?})"))
}
