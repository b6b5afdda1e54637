//! What a request that got no answer, or not all of one, failed of.

use std::error::Error as StdError;
use std::io;

use llm_core::{Error, ErrorKind};

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// Whether the connection was found closed before the first byte of an answer.
    pub(super) unanswered: bool,
}

impl Failure {
    /// What `error` means for a request over HTTP/2.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_parse() { Self::not_http() } else { Self { unanswered: is_closed(error), ..Self::closed(false) } }
    }

    /// What `error` of its socket means for a request, given whether anything was `heard` since it was sent.
    pub(super) fn of_io(error: &io::Error, heard: bool) -> Self {
        Self { unanswered: !heard && is_end(error), ..Self::closed(heard) }
    }

    /// The connection closed.
    pub(super) fn closed(heard: bool) -> Self {
        let error = Error::new(ErrorKind::Connection, "the provider closed the connection before it answered");
        Self { error, unanswered: !heard }
    }

    /// The request's body broke off.
    pub(super) fn broken_off() -> Self {
        let error = Error::new(ErrorKind::Connection, "the request's body broke off before its end");
        Self { error, unanswered: false }
    }

    /// The answer is none.
    pub(super) fn not_http() -> Self {
        let error = Error::new(ErrorKind::BadAnswer, "the provider's answer is not HTTP, or its head is too long");
        Self { error, unanswered: false }
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
            return is_end(error);
        }
        cause = error.source();
    }
    false
}

/// Whether the other side has closed the connection.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}
