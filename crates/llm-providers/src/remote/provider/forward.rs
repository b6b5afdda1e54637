//! Requests that are passed on as they are, and their answers.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{HeaderMap, HeaderName};
use llm_core::{Answer, Error, ErrorKind, Forward, Forwarded, Provider as _};
use tokio::time::Instant;

use super::super::answer::for_the_caller;
use super::super::clocks::{Clocks, timed_out};
use super::super::config::Timeouts;
use super::super::live::Pieces;
use super::{Asking, HttpProvider, X_REQUEST_ID};
use crate::transport::{HttpAnswer, HttpRequest, RequestBody};

/// Headers of an answer that its caller sees beside those of every answer.
const OF_CONTENT: [HeaderName; 2] = [header::CONTENT_DISPOSITION, header::CACHE_CONTROL];

impl HttpProvider {
    /// Passes `forward` on, its body as it comes. The answer's head may take until the total time has passed, its body
    /// may pause for as long as a stream.
    pub(super) async fn forward(
        &self,
        forward: &Forward,
        asking: &Asking<'_>,
        sent: &HeaderMap,
    ) -> Result<Answer, Error> {
        if !self.forwards() {
            let message = format!("the provider has no route {}: it does not speak OpenAI's format", forward.target);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let total = self.timeouts.total_timeout;
        let clocks = Clocks::new(Timeouts { first_token_timeout: total, ..self.timeouts }, Instant::now());
        let answered = self.answered(self.request(forward, asking, sent));
        let answer = match tokio::time::timeout_at(clocks.deadline(), answered).await {
            Ok(answer) => answer.map_err(|error| blamed(forward, error))?,
            Err(_) => return Err(blamed(forward, timed_out("to answer", "total_timeout", total))),
        };
        let HttpAnswer { status, headers, chunks } = answer;
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut kept = for_the_caller(&headers);
        kept.extend(OF_CONTENT.into_iter().filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))));
        let body = Box::pin(Pieces::new(chunks, clocks));
        Ok(Answer::Forwarded(Box::new(Forwarded { status, headers: kept, length, body })))
    }

    fn request(&self, forward: &Forward, asking: &Asking<'_>, sent: &HeaderMap) -> Box<HttpRequest> {
        let mut headers = sent.clone();
        if let Some(id) = asking.request_id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
            headers.insert(X_REQUEST_ID, id);
        }
        // The body is of the caller's type, or there is none.
        let mut common = HeaderMap::clone(&self.headers);
        common.remove(header::CONTENT_TYPE);
        let body = RequestBody::of_pieces(forward.body.start(asking.model), forward.body.rest().cloned());
        let target = self.endpoint.join(forward.target.as_str());
        Box::new(HttpRequest { method: forward.method.clone(), target, common: Arc::new(common), headers, body })
    }
}

/// What went wrong, or what the caller did to let it: a body that broke off, or did not come in time.
fn blamed(forward: &Forward, error: Error) -> Error {
    let Some(rest) = forward.body.rest() else { return error };
    if let Some(broken) = rest.broken() {
        return broken;
    }
    if error.kind() == ErrorKind::Timeout && rest.is_begun() && !rest.is_ended() {
        let message = "the request's body did not come before the provider's total_timeout";
        return Error::new(ErrorKind::Cancelled, message).with_code("request_timeout");
    }
    error
}
