//! A request that is passed on as it is, and its answer: what they say is between the caller and the provider.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};

use crate::sync::{Arc, Mutex};
use crate::{BoxStream, Error};

/// A request of a route that nothing here understands but for the model that it may name.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The method.
    pub method: Method,
    /// Where it is asked: below the API's version, beginning with a slash, with its query.
    pub target: PathAndQuery,
    /// What the route is about, in one word from a closed set. It stands for the model where none is named.
    pub family: &'static str,
    /// The model that the caller named.
    pub model: Option<Box<str>>,
    /// The body.
    pub body: ForwardBody,
    /// The response that it is about, if it is about one that the provider keeps.
    pub response: Option<StoredResponse>,
    /// Whether it is about what the provider keeps for the account that asks: another account's key would not find it.
    pub stored: bool,
    /// Whether asking twice is as good as asking once.
    pub repeatable: bool,
    /// Whether it may cost something that nobody can say beforehand.
    pub charged: bool,
}

impl Forward {
    /// Whether it can be asked again after `error`: its body is all there still, and the first time did nothing that
    /// must not be done twice.
    #[must_use]
    pub fn may_repeat(&self, error: &Error) -> bool {
        self.body.is_intact() && (self.repeatable || error.is_unsent())
    }
}

/// A response that a provider keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// Its id.
    pub id: Box<str>,
    /// Whether only those may ask for it who are known to have made it.
    pub own: bool,
}

/// The body of a [`Forward`]: what has come of it, and what is still to come. Clones share the latter.
#[derive(Clone, Debug, Default)]
pub struct ForwardBody {
    start: Vec<Bytes>,
    model: Option<NamedModel>,
    rest: Option<Upload>,
}

/// Where a model's name stands in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedModel {
    /// Its bytes, in JSON with the quotes.
    pub at: Range<usize>,
    /// Whether it is a JSON string, else plain text.
    pub quoted: bool,
}

impl ForwardBody {
    /// A body that begins with `start`, in pieces, and goes on with `rest`. The place of the model's name is in `start`.
    #[must_use]
    pub fn new(start: Vec<Bytes>, model: Option<NamedModel>, rest: Option<Upload>) -> Self {
        Self { start, model, rest }
    }

    /// What has come of it, with `model` in place of the model's name where it has one. Nothing else is copied.
    #[must_use]
    pub fn start(&self, model: &str) -> Vec<Bytes> {
        let Some(NamedModel { at, quoted }) = &self.model else { return self.start.clone() };
        let name = if *quoted { serde_json::Value::from(model).to_string() } else { model.to_owned() };
        let (mut name, mut spliced, mut from) = (Some(Bytes::from(name)), Vec::with_capacity(self.start.len() + 2), 0);
        for piece in &self.start {
            let to = from + piece.len();
            let (before, after) = (at.start.clamp(from, to) - from, at.end.clamp(from, to) - from);
            spliced.push(piece.slice(..before));
            if to >= at.end {
                spliced.extend(name.take());
            }
            spliced.push(piece.slice(after..));
            from = to;
        }
        spliced.retain(|piece| !piece.is_empty());
        spliced
    }

    /// What is still to come.
    #[must_use]
    pub const fn rest(&self) -> Option<&Upload> {
        self.rest.as_ref()
    }

    /// Whether all of it can still be sent.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| !rest.is_begun())
    }
}

/// The part of a caller's body that is still to come. It can be taken once; clones share it.
#[derive(Clone)]
pub struct Upload {
    state: Arc<Mutex<State>>,
    length: Option<u64>,
}

struct State {
    body: Option<BoxStream<Result<Bytes, Error>>>,
    begun: bool,
    ended: bool,
    broken: Option<Error>,
}

impl Upload {
    /// What comes by `body`, `length` bytes of it where that is known.
    #[must_use]
    pub fn new(body: BoxStream<Result<Bytes, Error>>, length: Option<u64>) -> Self {
        let state = State { body: Some(body), begun: false, ended: false, broken: None };
        Self { state: Arc::new(Mutex::new(state)), length }
    }

    /// How many bytes are to come in all, where that is known.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Takes what is to come; none where somebody else has it.
    #[must_use]
    pub fn take(&self) -> Option<BoxStream<Result<Bytes, Error>>> {
        let mut state = self.state.lock();
        state.begun = true;
        state.body.take()
    }

    /// Gives back what is left after a part of it was read.
    pub fn give_back(&self, body: BoxStream<Result<Bytes, Error>>) {
        self.state.lock().body = Some(body);
    }

    /// Notes that the last of it has come.
    pub fn end(&self) {
        self.state.lock().ended = true;
    }

    /// Notes what keeps the rest from coming.
    pub fn fail(&self, error: Error) {
        self.state.lock().broken = Some(error);
    }

    /// Whether a part of it was taken.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.state.lock().begun
    }

    /// Whether the last of it has come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// What keeps the rest from coming.
    #[must_use]
    pub fn broken(&self) -> Option<Error> {
        self.state.lock().broken.clone()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("length", &self.length).finish_non_exhaustive()
    }
}

/// The answer to a [`Forward`], as its provider sent it. Its status was a success: all others are an [`Error`].
pub struct Forwarded {
    /// The status.
    pub status: StatusCode,
    /// The provider's headers that its caller may see.
    pub headers: HeaderMap,
    /// The length of the body, where it was announced.
    pub length: Option<u64>,
    /// The body, as it comes in. An answer that breaks off ends with an error.
    pub body: BoxStream<Result<Bytes, Error>>,
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarded").field("status", &self.status).field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn the_models_name_is_replaced_however_the_body_is_cut() {
        let whole = br#"{"input":"x","model":"fast","n":1}"#;
        let at = 21..27;
        assert_eq!(&whole[at.clone()], br#""fast""#);
        for first in 0..whole.len() {
            for second in first..whole.len() {
                let cut = [&whole[..first], &whole[first..second], &whole[second..]];
                let start = cut.map(Bytes::from_static).to_vec();
                let body = ForwardBody::new(start, Some(NamedModel { at: at.clone(), quoted: true }), None);
                assert_eq!(body.start("a\"b").concat(), br#"{"input":"x","model":"a\"b","n":1}"#, "{first} {second}");
            }
        }
        let start = vec![Bytes::from_static(b"a=fast;")];
        let body = ForwardBody::new(start, Some(NamedModel { at: 2..6, quoted: false }), None);
        assert_eq!(body.start("slow").concat(), b"a=slow;");
    }

    #[test]
    fn what_was_begun_cannot_be_asked_again_and_what_does_something_twice_must_not() {
        let unsent = Error::new(ErrorKind::Connection, "refused").unsent();
        let failed = Error::new(ErrorKind::Upstream, "failed");
        let rest = Upload::new(Box::pin(NoMore), Some(0));
        let forward = |repeatable, rest| Forward {
            method: Method::POST,
            target: PathAndQuery::from_static("/files"),
            family: "files",
            model: None,
            body: ForwardBody::new(Vec::new(), None, rest),
            response: None,
            stored: true,
            repeatable,
            charged: false,
        };
        assert!(forward(true, None).may_repeat(&failed) && !forward(false, None).may_repeat(&failed));
        let coming = forward(false, Some(rest.clone()));
        assert!(coming.may_repeat(&unsent));
        let _taken = rest.take();
        assert!(!coming.may_repeat(&unsent));
    }

    struct NoMore;

    impl futures_core::Stream for NoMore {
        type Item = Result<Bytes, Error>;

        fn poll_next(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(None)
        }
    }
}
