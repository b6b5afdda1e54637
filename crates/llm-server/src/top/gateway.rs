//! The gateway that is watched, as far as it answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use llm_core::{Error, ErrorKind};
use llm_providers::{ConnectOptions, HttpRequest, HttpTransport, RequestBody, Transport};
use secrecy::{ExposeSecret, SecretString};

use crate::http::overview::Overview;

/// A gateway.
pub(super) struct Gateway {
    transport: HttpTransport,
    target: PathAndQuery,
    headers: Arc<HeaderMap>,
}

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Silent {
    /// Nobody answers.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// The gateway wants to know who asks.
    #[error("the gateway wants a key with the scope `admin`: give it with --api-key env:NAME")]
    Keyless,
    /// The key is not one of the gateway's.
    #[error("the gateway does not know this key")]
    Unknown,
    /// The key is for other things.
    #[error("the key lacks the scope `admin`")]
    Forbidden,
    /// What answers is no gateway, or one of another version.
    #[error("what answers is not a gateway of this version ({0})")]
    Strange(String),
}

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const MOST: usize = 16 << 20;

impl Gateway {
    pub(super) fn new(url: &str, key: Option<&SecretString>) -> Result<Self, Box<dyn std::error::Error>> {
        let options = ConnectOptions { timeout: PATIENCE, ..ConnectOptions::default() };
        let transport = HttpTransport::try_new(url, options).map_err(|error| format!("--url: {error}"))?;
        let below = url.parse::<Uri>().map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()));
            let mut value = value.map_err(|_| "--api-key: the key holds characters that cannot be sent")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Self { transport, target: format!("{below}/api/v1/overview").parse()?, headers: Arc::new(headers) })
    }

    /// How it stands.
    pub(super) async fn overview(&self) -> Result<Overview, Silent> {
        let late = || Silent::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, self.ask()).await.unwrap_or_else(|_| Err(late()))
    }

    async fn ask(&self) -> Result<Overview, Silent> {
        let request = HttpRequest {
            method: Method::GET,
            target: self.target.clone(),
            common: self.headers.clone(),
            headers: HeaderMap::new(),
            body: RequestBody::default(),
        };
        let mut answer = self.transport.send(Box::new(request)).await.map_err(gone)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED if self.headers.is_empty() => return Err(Silent::Keyless),
            StatusCode::UNAUTHORIZED => return Err(Silent::Unknown),
            StatusCode::FORBIDDEN => return Err(Silent::Forbidden),
            other => return Err(Silent::Strange(format!("status {}", other.as_u16()))),
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunks.try_next().await.map_err(gone)? {
            if body.len() + chunk.len() > MOST {
                return Err(Silent::Strange("its answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| Silent::Strange(error.to_string()))
    }
}

/// Why nothing came. The transport speaks of whom it asks as a provider.
fn gone(error: Error) -> Silent {
    let words = error.message().replace("provider", "gateway");
    match error.kind() {
        ErrorKind::BadAnswer => Silent::Strange(words),
        _ => Silent::Unreachable(words),
    }
}
