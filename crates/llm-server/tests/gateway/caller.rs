//! Callers that encrypt, and callers that speak HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt as _};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::process::PATIENCE;

/// A certificate for `localhost` that signs itself, and its key.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let der = made.cert.der().clone();
        Self { cert: pem("CERTIFICATE", &der), key: pem("PRIVATE KEY", &made.signing_key.serialize_der()), der }
    }

    /// Puts both into `folder`, each in one step.
    pub(crate) fn write(&self, folder: &Path) {
        for (name, text) in [("key.pem", &self.key), ("cert.pem", &self.cert)] {
            let aside = folder.join("aside");
            std::fs::write(&aside, text).expect("a file");
            std::fs::rename(aside, folder.join(name)).expect("a file");
        }
    }

    /// The settings of a client that trusts it, and offers `protocols`.
    pub(crate) fn trusted(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// Goes through a handshake with `addr`; fails unless it shows this certificate.
    pub(crate) async fn connect(&self, addr: SocketAddr, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(self.trusted(protocols));
        within(connector.connect(name, reach(addr).await)).await
    }

    /// Whether `addr` shows this certificate.
    pub(crate) async fn is_shown(&self, addr: SocketAddr) -> bool {
        self.connect(addr, &[b"h2"]).await.is_ok()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("text")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A socket that does not wait for more before it sends.
async fn reach(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).await.expect("it listens");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Waits, but not for ever.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it came in time")
}

pub(crate) type Outgoing = BoxBody<Bytes, std::io::Error>;

/// A connection over HTTP/2.
#[derive(Clone)]
pub(crate) struct Caller {
    requests: SendRequest<Outgoing>,
    addr: SocketAddr,
}

impl Caller {
    /// To a server that is known to speak HTTP/2 without encryption.
    pub(crate) async fn plain(addr: SocketAddr) -> Self {
        Self::over(reach(addr).await, addr).await
    }

    /// To a server that shows `pair` and chooses HTTP/2.
    pub(crate) async fn encrypted(addr: SocketAddr, pair: &Pair) -> Self {
        let stream = pair.connect(addr, &[b"h2", b"http/1.1"]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream, addr).await
    }

    pub(crate) async fn over<T>(stream: T, addr: SocketAddr) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.initial_stream_window_size(64 << 10).initial_connection_window_size(1 << 20);
        let (requests, connection) = within(http.handshake(TokioIo::new(stream))).await.expect("a connection");
        tokio::spawn(connection);
        Self { requests, addr }
    }

    pub(crate) async fn send(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Outgoing,
    ) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::post(format!("http://{}{path}", self.addr));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        within(self.requests.ready()).await?;
        within(self.requests.send_request(request)).await
    }

    /// Asks for a completion; the head of the answer.
    pub(crate) async fn chat(&mut self, body: &str) -> Response<Incoming> {
        self.send("/v1/chat/completions", &[], whole(body)).await.expect("an answer")
    }
}

/// A body whose length is known.
pub(crate) fn whole(body: &str) -> Outgoing {
    Full::new(Bytes::copy_from_slice(body.as_bytes())).map_err(|never| match never {}).boxed()
}

/// A body whose length is not known.
pub(crate) fn in_pieces(pieces: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Outgoing {
    BodyExt::boxed(StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))))
}

/// The rest of an answer.
pub(crate) async fn text(answer: Response<Incoming>) -> String {
    let body = within(answer.into_body().collect()).await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}
