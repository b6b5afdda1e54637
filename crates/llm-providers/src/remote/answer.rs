//! What a provider's answer is: its headers for the caller, its body collected, its errors read.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use llm_core::{BoxStream, Error, ErrorKind};

/// An error's body is read up to here.
const MAX_ERROR_BYTES: usize = 256 * 1024;

/// The headers that a caller may see, the provider's request id under the name it has there.
pub(crate) fn for_the_caller(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let text = name.as_str();
        if *name == header::CONTENT_TYPE
            || *name == header::RETRY_AFTER
            || text == "retry-after-ms"
            || text.starts_with("x-ratelimit-")
            || text.starts_with("anthropic-ratelimit-")
            || text.starts_with("openai-") && text != "openai-organization" && text != "openai-project"
        {
            kept.append(name.clone(), value.clone());
        }
    }
    if let Some(id) = upstream_request_id(headers) {
        kept.insert(X_UPSTREAM_REQUEST_ID, id.clone());
    }
    kept
}

/// The provider's name for the request.
pub(crate) fn upstream_request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    const NAMES: [HeaderName; 3] = [
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static("request-id"),
        HeaderName::from_static("x-amzn-requestid"),
    ];
    NAMES.iter().find_map(|name| headers.get(name))
}

pub(crate) const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-upstream-request-id");

/// Whether the body is a stream of events, whatever parameters its type has.
pub(crate) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"text/event-stream")
}

/// The whole body, `max` bytes at most. A body that came in one piece is not copied.
pub(crate) async fn whole(mut body: BoxStream<Result<Bytes, Error>>, max: usize) -> Result<Bytes, Error> {
    let mut left = max;
    let mut next = async || {
        let piece = body.next().await.transpose().map_err(cut)?;
        left = left.checked_sub(piece.as_ref().map_or(0, Bytes::len)).ok_or_else(|| {
            Error::new(ErrorKind::BadAnswer, format!("the provider's answer is larger than {max} bytes"))
        })?;
        Ok(piece)
    };
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    let Some(second) = next().await? else { return Ok(first) };
    let mut joined = BytesMut::with_capacity(2 * (first.len() + second.len()));
    joined.extend_from_slice(&first);
    joined.extend_from_slice(&second);
    while let Some(piece) = next().await? {
        joined.extend_from_slice(&piece);
    }
    Ok(joined.freeze())
}

/// An answer that broke off before anything of it was passed on is as good as none.
fn cut(error: Error) -> Error {
    match error.kind() {
        ErrorKind::StreamInterrupted => Error::new(ErrorKind::Connection, error.message().to_owned()),
        _ => error,
    }
}

/// The beginning of the body of an answer that is an error.
pub(crate) async fn error_body(mut body: BoxStream<Result<Bytes, Error>>) -> Bytes {
    let mut read = BytesMut::new();
    // A body that breaks off does not hide the status.
    while let Some(Ok(piece)) = body.next().await {
        read.extend_from_slice(&piece);
        if read.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    read.freeze()
}
