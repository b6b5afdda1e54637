//! Where a provider is and how long it may take.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use secrecy::SecretString;

use super::api::Api;
use crate::transport::{AddressError, ConnectOptions, Endpoint, ProxyConfig, ProxyError};
use crate::wire::Capabilities;

/// How long a provider may take. Each clock has a key of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// From sending to a stream's first content. Default 120 s.
    pub first_token_timeout: Duration,
    /// From one content of a stream to the next. Default 60 s.
    pub token_gap_timeout: Duration,
    /// Whether comments, which keep a silent stream's connection alive, count as content for the clocks. Default
    /// false.
    pub comments_reset_timeouts: bool,
    /// From sending to the answer's end. Default 600 s.
    pub total_timeout: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_token_timeout: Duration::from_secs(120),
            token_gap_timeout: Duration::from_secs(60),
            comments_reset_timeouts: false,
            total_timeout: Duration::from_secs(600),
        }
    }
}

/// A provider that is reached over HTTP.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Which API the server has. Default OpenAI's.
    pub api: Api,
    /// The base that the API's routes follow, as the vendor's own SDK takes it. Default: the vendor's.
    pub base_url: Option<String>,
    /// The key; none for servers that want none.
    pub api_key: Option<SecretString>,
    /// What its models take.
    pub capabilities: Capabilities,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// The largest answer, and the largest event of a stream, in bytes. Default 32 MiB.
    pub max_answer_bytes: usize,
    /// The proxies. Default: what the environment says.
    pub proxy: Option<ProxyConfig>,
    /// TLS settings in place of the system's, such as further roots.
    pub tls: Option<Arc<ClientConfig>>,
}

impl HttpConfig {
    /// A server with `api`, its vendor's own unless another base URL is set.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self {
            api,
            base_url: None,
            api_key: None,
            capabilities: Capabilities::default(),
            timeouts: Timeouts::default(),
            max_answer_bytes: 32 << 20,
            proxy: None,
            tls: None,
        }
    }

    /// Google's models at Vertex AI: those that `project` has at `location`, such as `europe-west4` or `global`. `host`,
    /// a base URL without a version, is in the place of Google's own. The `api_key` to set is a service account's key
    /// file, its text.
    ///
    /// # Errors
    /// [`ConfigError`] when `project` or `location` cannot be such.
    #[cfg(feature = "vertex")]
    pub fn vertex_ai(host: Option<&str>, project: &str, location: &str) -> Result<Self, ConfigError> {
        let base_url = Some(super::vertex::base_url(host, project, location)?);
        // Gemini's member with its values is an error there: a header is in its place.
        let capabilities = Capabilities { service_tier: false, ..Capabilities::default() };
        Ok(Self { base_url, capabilities, ..Self::new(Api::VertexAi) })
    }

    /// Amazon Bedrock in `region`, such as `us-east-1`.
    ///
    /// # Errors
    /// [`ConfigError::Region`] when `region` cannot be one.
    #[cfg(feature = "bedrock")]
    pub fn bedrock(region: &str) -> Result<Self, ConfigError> {
        let base_url = Some(super::bedrock::base_url(region)?);
        Ok(Self { base_url, ..Self::new(Api::Bedrock) })
    }

    /// How its connections are made.
    pub(super) fn connect_options(&self) -> ConnectOptions {
        let timeout = self.timeouts.connect_timeout;
        ConnectOptions { timeout, proxy: self.proxy.clone(), tls: self.tls.clone() }
    }

    pub(super) fn base_url(&self) -> &str {
        self.base_url.as_deref().unwrap_or(self.api.base_url())
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self::new(Api::OpenAi)
    }
}

/// Why a provider cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is no base URL.
    #[error("base_url: {0}")]
    Address(#[from] AddressError),
    /// A proxy's address is none.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The key holds characters that no header may hold.
    #[error("api_key: the key holds characters that cannot be sent")]
    Key,
    /// The text is no service account's key file.
    #[cfg(feature = "vertex")]
    #[error("the service account's key file cannot be used: {0}")]
    ServiceAccount(&'static str),
    /// The project is none.
    #[cfg(feature = "vertex")]
    #[error("project: it must be a project's name or number")]
    Project,
    /// The location is none.
    #[cfg(feature = "vertex")]
    #[error("location: it must be `global` or a region's name")]
    Location,
    /// The region is none.
    #[cfg(feature = "bedrock")]
    #[error("region: it must be a region's name")]
    Region,
}

/// Whether `url` is a base URL that routes can follow.
///
/// # Errors
/// What is wrong with it.
pub fn check_base_url(url: &str) -> Result<(), AddressError> {
    Endpoint::parse(url).map(drop)
}
