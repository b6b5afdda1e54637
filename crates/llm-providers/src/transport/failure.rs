//! What a request that got no answer, or not all of one, failed of.

use std::error::Error as StdError;
use std::io;

use llm_core::{Error, ErrorKind};

use super::socket::Heard;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether the connection was found closed before the first byte of an answer.
    pub(super) unanswered: bool,
}

impl Failure {
    /// What `error` means for a request, given what was `heard` since it was sent.
    pub(super) fn of(error: &hyper::Error, heard: &Heard) -> Self {
        if error.is_parse() {
            let error = Error::new(ErrorKind::BadAnswer, "the provider's answer is not HTTP, or its head is too long");
            return Self { error, unanswered: false };
        }
        Self { unanswered: is_closed(error), ..Self::closed(heard) }.unless(heard)
    }

    /// The connection closed.
    pub(super) fn closed(heard: &Heard) -> Self {
        let error = Error::new(ErrorKind::Connection, "the provider closed the connection before it answered");
        Self { error, unanswered: true }.unless(heard)
    }

    fn unless(mut self, heard: &Heard) -> Self {
        self.unanswered &= !heard.anything();
        self
    }
}

/// The body of an answer broke off.
pub(super) fn interrupted() -> Error {
    Error::new(ErrorKind::StreamInterrupted, "the provider's answer broke off before its end")
}

/// Whether the connection was closed, or is being closed and did not look at the request.
fn is_closed(error: &hyper::Error) -> bool {
    if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
        return true;
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away() || error.is_io() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::UnexpectedEof
            );
        }
        cause = error.source();
    }
    false
}
