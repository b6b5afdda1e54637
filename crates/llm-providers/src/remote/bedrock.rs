//! Amazon Bedrock: where it is, who signs, and its streams as events.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::{self, HeaderValue};
use llm_core::{BoxFuture, Clock, Error, ErrorKind};
use secrecy::{ExposeSecret, SecretString};

use super::authorizer::Authorizer;
use super::config::ConfigError;
use crate::signature::{Signed, amz_date, sha256};
use crate::transport::{HttpAnswer, HttpRequest};
use crate::wire::bedrock::EventStream;

/// What requests to Amazon are signed with.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// Where the models are: `us-east-1`, ….
    pub region: String,
    /// The name of the secret.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: SecretString,
    /// What goes with secrets that are good for a while only.
    pub session_token: Option<SecretString>,
}

/// The base URL of the models in `region`.
pub(super) fn base_url(region: &str) -> Result<String, ConfigError> {
    let plain = !region.is_empty() && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain {
        return Err(ConfigError::Region);
    }
    // China is a world of its own.
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Ok(format!("https://bedrock-runtime.{region}.{domain}"))
}

/// Signs requests to one host.
pub(super) struct Signer {
    credentials: AwsCredentials,
    host: String,
    token: Option<HeaderValue>,
}

impl Signer {
    /// One that signs what is sent to `host`, which is spelled as in the header of this name.
    pub(super) fn new(credentials: AwsCredentials, host: &HeaderValue) -> Result<Self, ConfigError> {
        if !credentials.access_key_id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b',') {
            return Err(ConfigError::Key);
        }
        let token = credentials.session_token.as_ref().map(|token| HeaderValue::from_str(token.expose_secret()));
        let mut token = token.transpose().map_err(|_| ConfigError::Key)?;
        token.iter_mut().for_each(|token| token.set_sensitive(true));
        let host = host.to_str().map_err(|_| ConfigError::Key)?.to_owned();
        Ok(Self { credentials, host, token })
    }

    fn sign(&self, request: &mut HttpRequest, clock: &dyn Clock) -> Result<(), Error> {
        let Self { credentials, host, token } = self;
        let at = amz_date(clock.unix_time());
        let payload = sha256(request.body.segments());
        let text =
            |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let kind = request.headers.get(header::CONTENT_TYPE).or_else(|| request.common.get(header::CONTENT_TYPE));
        let (kind, sent_token) = (text(kind), text(token.as_ref()));
        let mut headers = vec![("content-type", kind.as_str()), ("host", host), (DATE, at.as_str())];
        if token.is_some() {
            headers.push((TOKEN, &sent_token));
        }
        let signed = Signed {
            method: request.method.as_str(),
            path: request.target.path(),
            headers: &headers,
            payload: &payload,
            at: &at,
            region: &credentials.region,
            service: "bedrock",
        };
        let secret = credentials.secret_access_key.expose_secret();
        let authorization = signed.authorization(&credentials.access_key_id, secret);
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| Error::new(ErrorKind::Internal, "a signature cannot be sent"))
        };
        let mut authorization = value(&authorization)?;
        authorization.set_sensitive(true);
        let at = value(&at)?;
        request.headers.insert(header::AUTHORIZATION, authorization);
        request.headers.insert(DATE, at);
        if let Some(token) = token {
            request.headers.insert(TOKEN, token.clone());
        }
        Ok(())
    }
}

const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";

impl Authorizer for Signer {
    fn authorize<'a>(&'a self, request: &'a mut HttpRequest, clock: &'a dyn Clock) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.sign(request, clock) })
    }
}

/// The answer with its stream, if it is one, as events that hold a message each, `limit` bytes at most.
pub(super) fn with_events(mut answer: HttpAnswer, limit: usize) -> HttpAnswer {
    let kind = answer.headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    if !kind.starts_with(b"application/vnd.amazon.eventstream") {
        return answer;
    }
    answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let mut messages = EventStream::new(limit);
    answer.chunks = Box::pin(answer.chunks.map(move |chunk| {
        messages.push(&chunk?);
        let mut events = BytesMut::new();
        while let Some(event) = messages.next_event()? {
            events.put_slice(b"data: ");
            events.put_slice(&event);
            events.put_slice(b"\n\n");
        }
        Ok::<Bytes, Error>(events.freeze())
    }));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_a_host_of_its_own() {
        assert_eq!(base_url("us-east-1").unwrap(), "https://bedrock-runtime.us-east-1.amazonaws.com");
        assert_eq!(base_url("cn-north-1").unwrap(), "https://bedrock-runtime.cn-north-1.amazonaws.com.cn");
        assert_eq!(base_url("evil.example/"), Err(ConfigError::Region));
    }
}
