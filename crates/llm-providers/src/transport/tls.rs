//! Encryption: rustls with ring, and the machine's own roots.

use std::sync::{Arc, OnceLock};

use llm_core::{Error, ErrorKind};
use rustls::CertificateError;
use rustls::client::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::Verifier;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use super::socket::Socket;

/// What is offered in the handshake.
const HTTP2_TOO: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP1_ONLY: &[&[u8]] = &[b"http/1.1"];

/// Makes encrypted sockets of plain ones.
#[derive(Debug, Default)]
pub(super) struct Tls {
    given: Option<Arc<ClientConfig>>,
    /// For providers and for proxies: made when first needed.
    connectors: [OnceCell<Connector>; 2],
}

#[derive(Clone)]
struct Connector(TlsConnector);

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Provider,
    Proxy,
}

impl Tls {
    /// As `given` says, but for the protocols that are offered; else with the machine's roots.
    pub(super) fn new(given: Option<Arc<ClientConfig>>) -> Self {
        Self { given, connectors: Default::default() }
    }

    /// Encrypts `socket`, whose other end must show a certificate for `host`.
    pub(super) async fn wrap(&self, socket: Socket, host: &str, peer: Peer) -> Result<Socket, Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::new(ErrorKind::Connection, "the provider's host name cannot be in a certificate"))?;
        let connector =
            self.connectors[usize::from(peer == Peer::Proxy)].get_or_try_init(|| self.connector(peer)).await?;
        let stream = connector.0.connect(name, socket).await.map_err(|error| handshake_error(&error))?;
        Ok(Socket::Tls(Box::new(stream)))
    }

    async fn connector(&self, peer: Peer) -> Result<Connector, Error> {
        let shared = match &self.given {
            Some(config) => config.clone(),
            None => machine_config().await?,
        };
        let offered = if peer == Peer::Provider { HTTP2_TOO } else { HTTP1_ONLY };
        let mut config = ClientConfig::clone(&shared);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        Ok(Connector(TlsConnector::from(Arc::new(config))))
    }
}

/// Whether the other end chose HTTP/2.
pub(super) fn is_http2(socket: &Socket) -> bool {
    match socket {
        Socket::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        Socket::Plain(_) => false,
    }
}

/// The configuration with the machine's roots, which are read from files once for the process.
async fn machine_config() -> Result<Arc<ClientConfig>, Error> {
    static SHARED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = SHARED.get() {
        return Ok(config.clone());
    }
    let read = tokio::task::spawn_blocking(|| {
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new(provider.clone())?;
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok::<_, rustls::Error>(config.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
    });
    match read.await {
        Ok(Ok(config)) => Ok(SHARED.get_or_init(|| Arc::new(config.with_no_client_auth())).clone()),
        _ => Err(Error::new(ErrorKind::Connection, "the machine's root certificates cannot be read")),
    }
}

/// Names the fault without the names that are in the certificate.
fn handshake_error(error: &std::io::Error) -> Error {
    let fault = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let why = match fault {
        Some(rustls::Error::InvalidCertificate(fault)) => match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name"
            }
            CertificateError::UnknownIssuer => "its certificate's issuer is unknown",
            CertificateError::Revoked => "its certificate was revoked",
            _ => "its certificate is not valid",
        },
        Some(rustls::Error::AlertReceived(_)) => "it refused the handshake",
        Some(_) => "it does not speak TLS as expected",
        None => "it closed the connection during the handshake",
    };
    Error::new(ErrorKind::Connection, format!("no encrypted connection to the provider: {why}"))
}
