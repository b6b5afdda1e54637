//! Where spans are sent to.

use std::borrow::Cow;
use std::time::Duration;

/// Where the collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// Its address, such as `http://localhost:4318`; spans go to `/v1/traces` below it, which may stand there.
    pub endpoint: String,
    /// The name of the service in traces. `OTEL_SERVICE_NAME` goes before it. Default `llmkit`.
    pub service_name: Cow<'static, str>,
    /// How long the collector may take for a batch. Default 10 s.
    pub timeout: Duration,
}

impl OtlpConfig {
    /// The collector at `endpoint`.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), service_name: "llmkit".into(), timeout: Duration::from_secs(10) }
    }

    /// The collector that the environment names: `OTEL_EXPORTER_OTLP_ENDPOINT`, else `JAEGER_ENDPOINT`.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let named = ENDPOINTS.iter().filter_map(|name| std::env::var(name).ok());
        named.into_iter().find(|endpoint| !endpoint.is_empty()).map(Self::new)
    }

    /// Whether the address is one.
    ///
    /// # Errors
    /// [`OtlpError::Endpoint`] says what is wrong with it.
    pub fn check(&self) -> Result<(), OtlpError> {
        self.url().map(drop)
    }

    /// Where spans are posted to.
    pub(crate) fn url(&self) -> Result<String, OtlpError> {
        let fault = |why: &str| OtlpError::Endpoint { endpoint: self.endpoint.clone(), why: why.to_owned() };
        let uri: http::Uri = self.endpoint.parse().map_err(|error: http::uri::InvalidUri| fault(&error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(fault("an address such as `http://localhost:4318` is expected"));
        }
        let base = self.endpoint.trim_end_matches('/');
        Ok(if base.ends_with(TRACES) { base.to_owned() } else { format!("{base}{TRACES}") })
    }
}

/// The variables that name a collector, the first that is set first.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "JAEGER_ENDPOINT"];

/// Where collectors take spans.
const TRACES: &str = "/v1/traces";

/// Why spans cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// The address is none.
    #[error("the collector's address `{endpoint}` cannot be used: {why}")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client cannot be made.
    #[error("traces cannot be sent: {0}")]
    Client(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_to_the_path_for_them() {
        let url = |endpoint: &str| OtlpConfig::new(endpoint).url().unwrap();
        assert_eq!(url("http://jaeger:4318"), "http://jaeger:4318/v1/traces");
        assert_eq!(url("http://jaeger:4318/"), "http://jaeger:4318/v1/traces");
        assert_eq!(url("https://otel.example/v1/traces"), "https://otel.example/v1/traces");
        assert_eq!(url("https://otel.example/tenant/otel"), "https://otel.example/tenant/otel/v1/traces");
        for endpoint in ["", "jaeger:4318", "grpc://jaeger:4317", "http://", "http:// x"] {
            assert!(matches!(OtlpConfig::new(endpoint).url(), Err(OtlpError::Endpoint { .. })), "{endpoint}");
        }
    }
}
