//! Encryption of callers' connections: the certificate of the moment, and the handshake.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config;

pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Whether connections are encrypted, and how. Connections under way keep what they began with.
#[derive(Debug, Default)]
pub(crate) struct Tls(ArcSwapOption<Certificate>);

impl Tls {
    pub(crate) fn new(certificate: Option<Certificate>) -> Self {
        Self(ArcSwapOption::from_pointee(certificate))
    }

    /// The certificate that connections are shown; none when they are not encrypted.
    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.0.load_full()
    }

    /// From here on connections are shown `certificate`. Says in the log if it takes another's place.
    pub(crate) fn show(&self, certificate: Option<Certificate>) {
        let digest = certificate.as_ref().map(|certificate| certificate.digest);
        let old = self.0.swap(certificate.map(Arc::new));
        if old.zip(digest).is_some_and(|(old, digest)| old.digest != digest) {
            tracing::info!("certificate reloaded");
        }
    }

    pub(super) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.0.load().as_ref().map(|certificate| certificate.config.clone())
    }
}

/// A certificate with its key, and the files that they were read from.
#[derive(Debug)]
pub(crate) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    /// Of what was in them.
    digest: [u8; 32],
    config: Arc<ServerConfig>,
}

/// Why a certificate cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub(crate) struct CertificateError {
    /// The key of the configuration that names the file at fault.
    pub(crate) key: &'static str,
    pub(crate) what: String,
}

const CERT: &str = "server.tls_cert";
const KEY: &str = "server.tls_key";

impl CertificateError {
    fn of(key: &'static str, path: &Path, what: impl fmt::Display) -> Self {
        Self { key, what: format!("the file {} {what}", path.display()) }
    }
}

impl Certificate {
    /// The certificate that `server` names, if it names one.
    pub(crate) fn of(server: &config::Server) -> Result<Option<Self>, CertificateError> {
        let missing = |key, other| Err(CertificateError { key, what: format!("is needed beside {other}") });
        match (&server.tls_cert, &server.tls_key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Self::read(cert, key).map(Some),
            (Some(_), None) => missing(KEY, CERT),
            (None, Some(_)) => missing(CERT, KEY),
        }
    }

    /// The certificate that is in the same files by now, if it is another.
    pub(crate) fn renewed(&self) -> Result<Option<Self>, CertificateError> {
        let read = Self::read(&self.cert, &self.key)?;
        Ok((read.digest != self.digest).then_some(read))
    }

    fn read(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        let (chain, secret) = (file(CERT, cert)?, file(KEY, key)?);
        let digest = Sha256::new().chain_update(&chain).chain_update(&secret).finalize().into();
        let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|why| CertificateError::of(CERT, cert, Unread(why)))?;
        if chain.is_empty() {
            return Err(CertificateError::of(CERT, cert, "has no certificate in PEM form"));
        }
        let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|why| match why {
            PemError::NoItemsFound => CertificateError::of(KEY, key, "has no private key in PEM form"),
            why => CertificateError::of(KEY, key, Unread(why)),
        })?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|why| CertificateError { key: CERT, what: why.to_string() })?
            .with_no_client_auth();
        let mut config = config.with_single_cert(chain, secret).map_err(|why| match why {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::of(KEY, key, "is not the key of the certificate")
            }
            rustls::Error::InvalidCertificate(why) => {
                CertificateError::of(CERT, cert, format_args!("has a certificate that is not valid: {why}"))
            }
            why => CertificateError::of(KEY, key, format_args!("has a key that cannot be used: {why}")),
        })?;
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // Sessions are resumed from what their callers keep, not from memory of ours.
        config.ticketer = ring::Ticketer::new().map_err(|why| CertificateError { key: CERT, what: why.to_string() })?;
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), digest, config: Arc::new(config) })
    }
}

/// Reads the file at `path`, which `key` names.
fn file(key: &'static str, path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|why| CertificateError::of(key, path, format_args!("cannot be read: {why}")))
}

/// How a file in another form is told of, without a word of what is in it.
struct Unread(PemError);

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            PemError::MissingSectionEnd { .. } => "is not in PEM form: a section has no end",
            PemError::Base64Decode(_) => "is not in PEM form: a section is not in base64",
            _ => "is not in PEM form",
        })
    }
}

/// Goes through the handshake on `stream`.
pub(super) async fn accept(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Box<TlsStream<TcpStream>>> {
    let mut first = [0];
    // Letters begin a request that is not encrypted; whoever sent it is told.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        return Err(refuse_plain(stream).await);
    }
    TlsAcceptor::from(config).accept(stream).await.map(Box::new)
}

async fn refuse_plain(mut stream: TcpStream) -> io::Error {
    let told = async {
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
        stream.write_all(format!("{head} {}\r\n\r\n{PLAIN}", PLAIN.len()).as_bytes()).await?;
        stream.shutdown().await?;
        // To close on bytes that are not read would take the answer back.
        let (mut rest, mut reads) = ([0; 1024], 0);
        while reads < LINGERING_READS && stream.read(&mut rest).await? > 0 {
            reads += 1;
        }
        Ok::<_, io::Error>(())
    };
    told.await.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a request without encryption"))
}

const LINGERING_READS: usize = 64;

const PLAIN: &str = r#"{"error":{"message":"this port speaks https: the base URL begins with https://","type":"invalid_request_error","param":null,"code":"https_required"}}"#;
