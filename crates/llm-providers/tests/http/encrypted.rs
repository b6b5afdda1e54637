//! TLS: HTTP/2 where the other side chooses it, HTTP/1.1 otherwise, and certificates that must fit.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{Response, Version};
use llm_core::{ErrorKind, WireBody};
use llm_providers::{HttpConfig, HttpProvider};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::upstream::{FIRST, STREAM, WHOLE, body, call, config, json, wire, within};

/// A certificate for `name` that signs itself.
fn certificate(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.der().clone(), PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap())
}

struct Listening {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    provider: HttpProvider,
}

/// A listener whose certificate is for `name` and that offers `protocols`, and a provider that trusts it.
async fn listen(name: &str, protocols: &[&[u8]]) -> Listening {
    let (certificate, key) = certificate(name);
    let provider = Arc::new(ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config =
        HttpConfig { tls: Some(Arc::new(client)), ..config(&format!("https://localhost:{}/v1", address.port())) };
    Listening {
        listener,
        acceptor: TlsAcceptor::from(Arc::new(server)),
        provider: HttpProvider::try_new("up", config).unwrap(),
    }
}

impl Listening {
    async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> std::io::Result<TlsStream<TcpStream>> {
        acceptor.accept(listener.accept().await?.0).await
    }
}

/// What an HTTP/2 upstream saw.
#[derive(Debug, PartialEq, Eq)]
enum Saw {
    Connection,
    /// Connections are counted from 0.
    Request {
        on: usize,
        path: String,
        authority: String,
    },
    Reset,
}

/// Serves HTTP/2: whole answers, or the first chunk of a stream and then nothing until it is reset. A connection
/// takes `most` requests and then says goodbye.
fn serve_http2(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    most: usize,
    stream: bool,
) -> mpsc::UnboundedReceiver<Saw> {
    let (tell, saw) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for on in 0.. {
            let socket = Listening::accept(&listener, &acceptor).await.unwrap();
            tell.send(Saw::Connection).unwrap();
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                let mut taken = 0;
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.version(), Version::HTTP_2);
                    let uri = request.uri();
                    let authority = uri.authority().unwrap().to_string();
                    tell.send(Saw::Request { on, path: uri.path().to_owned(), authority }).unwrap();
                    taken += 1;
                    if taken == most {
                        connection.graceful_shutdown();
                    }
                    let kind = if stream { "text/event-stream" } else { "application/json" };
                    let head = Response::builder().header("content-type", kind).body(()).unwrap();
                    let mut send = respond.send_response(head, false).unwrap();
                    if stream {
                        send.send_data(Bytes::from_static(FIRST.as_bytes()), false).unwrap();
                        let tell = tell.clone();
                        tokio::spawn(async move {
                            std::future::poll_fn(|cx| send.poll_reset(cx)).await.unwrap();
                            tell.send(Saw::Reset).unwrap();
                        });
                    } else {
                        send.send_data(Bytes::from_static(WHOLE.as_bytes()), true).unwrap();
                    }
                }
            });
        }
    });
    saw
}

async fn next(saw: &mut mpsc::UnboundedReceiver<Saw>) -> Saw {
    within(saw.recv()).await.unwrap()
}

#[tokio::test]
async fn http2_shares_a_connection() {
    let Listening { listener, acceptor, provider } = listen("localhost", &[b"h2", b"http/1.1"]).await;
    let port = listener.local_addr().unwrap().port();
    let mut saw = serve_http2(listener, acceptor, usize::MAX, false);
    let all = join_all((0..16).map(|_| body(&provider))).await;
    assert!(all.iter().all(|answer| answer.as_ref().is_ok_and(|body| body == WHOLE)));
    assert_eq!(next(&mut saw).await, Saw::Connection);
    for _ in 0..16 {
        let (path, authority) = ("/v1/chat/completions".into(), format!("localhost:{port}"));
        let expected = Saw::Request { on: 0, path, authority };
        assert_eq!(next(&mut saw).await, expected);
    }
}

#[tokio::test]
async fn a_connection_carries_a_hundred_streams_at_once_and_the_next_goes_elsewhere() {
    let Listening { listener, acceptor, provider } = listen("localhost", &[b"h2"]).await;
    let mut saw = serve_http2(listener, acceptor, usize::MAX, true);
    let open = || async { wire(&provider, call(STREAM)).await.unwrap() };
    // Behind the first answer it is known that the upstream itself has no bound.
    let mut held = vec![open().await];
    held.extend(join_all((1..200).map(|_| open())).await);
    let mut streams = Vec::new();
    let mut count = |seen| {
        if let Saw::Request { on, .. } = seen {
            streams.resize(streams.len().max(on + 1), 0);
            streams[on] += 1;
        }
        streams.clone()
    };
    while count(next(&mut saw).await).iter().sum::<usize>() < 200 {}
    assert_eq!(streams, [100, 100]);
    // A place that is free again is taken before another connection is made.
    drop(held.pop());
    assert_eq!(next(&mut saw).await, Saw::Reset);
    held.push(open().await);
    assert!(matches!(next(&mut saw).await, Saw::Request { on: 0 | 1, .. }));
    held.push(open().await);
    assert_eq!(next(&mut saw).await, Saw::Connection);
    assert!(matches!(next(&mut saw).await, Saw::Request { on: 2, .. }));
}

#[tokio::test]
async fn a_connection_that_says_goodbye_is_replaced() {
    let Listening { listener, acceptor, provider } = listen("localhost", &[b"h2"]).await;
    let mut saw = serve_http2(listener, acceptor, 2, false);
    for _ in 0..4 {
        assert_eq!(body(&provider).await.unwrap(), WHOLE);
    }
    let mut connections = 0;
    let mut requests = 0;
    while let Ok(seen) = saw.try_recv() {
        connections += usize::from(seen == Saw::Connection);
        requests += usize::from(matches!(seen, Saw::Request { .. }));
    }
    assert_eq!((connections, requests), (2, 4));
}

#[tokio::test]
async fn to_drop_a_stream_resets_it_and_keeps_the_connection() {
    let Listening { listener, acceptor, provider } = listen("localhost", &[b"h2"]).await;
    let mut saw = serve_http2(listener, acceptor, usize::MAX, true);
    assert_eq!(
        {
            let mut seen = Vec::new();
            for _ in 0..2 {
                let WireBody::Frames(mut frames) = wire(&provider, call(STREAM)).await.unwrap().body else {
                    panic!("a stream")
                };
                assert_eq!(within(frames.next()).await.unwrap().unwrap().bytes, FIRST);
                drop(frames);
                while seen.last() != Some(&Saw::Reset) || seen.is_empty() {
                    seen.push(next(&mut saw).await);
                }
                seen.retain(|saw| *saw == Saw::Connection);
            }
            seen.len()
        },
        1
    );
}

#[tokio::test]
async fn http1_is_spoken_where_http2_is_not_chosen() {
    let Listening { listener, acceptor, provider } = listen("localhost", &[b"http/1.1"]).await;
    let server = tokio::spawn(async move {
        // Both requests come on one connection.
        let mut socket = Listening::accept(&listener, &acceptor).await.unwrap();
        for _ in 0..2 {
            let mut asked = Vec::new();
            while !asked.ends_with(b"}]}") {
                socket.read_buf(&mut asked).await.unwrap();
            }
            assert!(asked.starts_with(b"POST /v1/chat/completions HTTP/1.1\r\n"));
            socket.write_all(&json(WHOLE)).await.unwrap();
        }
    });
    for _ in 0..2 {
        assert_eq!(body(&provider).await.unwrap(), WHOLE);
    }
    server.await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let Listening { listener, acceptor, provider } = listen("elsewhere", &[b"h2"]).await;
    let server = tokio::spawn(async move { Listening::accept(&listener, &acceptor).await.map(drop) });
    let error = body(&provider).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(error.message().contains("certificate"), "{}", error.message());
    assert!(server.await.unwrap().is_err());
}
