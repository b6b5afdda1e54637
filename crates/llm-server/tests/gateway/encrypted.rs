//! TLS: both protocols, certificates that are renewed, and those that cannot be used.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use http_body_util::BodyExt;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::caller::{Caller, Pair, text, within};
use crate::process::{Gateway, PATIENCE, Upstream, chat_body, config};
use crate::wire::{Connection, post};

const STREAM: &str = ",\"stream\":true";

/// What is said of the certificate in `folder`.
fn server(folder: &Path, more: &str) -> String {
    let folder = folder.display();
    format!("[server]\ntls_cert = \"{folder}/cert.pem\"\ntls_key = \"{folder}/key.pem\"\n{more}")
}

/// A gateway whose certificate is a pair in a folder.
struct Encrypted {
    gateway: Gateway,
    pair: Pair,
    folder: tempfile::TempDir,
    upstream: Upstream,
}

impl Encrypted {
    fn start(more: &str) -> Self {
        let (upstream, pair, folder) = (Upstream::start(), Pair::new(), tempfile::tempdir().expect("a folder"));
        pair.write(folder.path());
        let gateway = Gateway::start(&config(upstream.0.addr, &server(folder.path(), more)), &[]);
        Self { gateway, pair, folder, upstream }
    }

    fn addr(&self) -> SocketAddr {
        self.gateway.addr()
    }
}

/// What comes back for `sent` over HTTP/1, encrypted for a server that shows `pair`, until it closes.
fn exchange(addr: SocketAddr, pair: &Pair, sent: &str) -> String {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(pair.trusted(&[b"http/1.1"]), name).expect("a session");
    let socket = TcpStream::connect(addr).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut stream = StreamOwned::new(session, socket);
    stream.write_all(sent.as_bytes()).expect("it reads");
    let mut read = String::new();
    if let Err(error) = stream.read_to_string(&mut read) {
        // A connection that is cut has no goodbye.
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    }
    read
}

/// Without what differs from one request to the next: times, and how many events were ready to go in one chunk.
fn undated(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let varies = |line: &&str| !line.starts_with("date:") && !line.starts_with("x-llmkit-overhead-us:");
    let head: Vec<_> = head.split("\r\n").filter(varies).collect();
    let is_data = |line: &&str| usize::from_str_radix(line, 16).is_err();
    let body: String = body.split("\r\n").filter(is_data).collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}

#[test]
fn http1_is_the_same_bytes_with_and_without_encryption() {
    let encrypted = Encrypted::start("");
    // The twin of its upstream gives the same answers, for its seed is the same.
    let upstream = Upstream::start();
    let open = Gateway::before(&upstream, "");
    for more in ["", STREAM] {
        let body = chat_body("up/sim?reply=one two", "x", more);
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-request-id: r\r\nconnection: close\r\n";
        let sent = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let mut plain = Connection::open(open.addr());
        plain.send(sent.as_bytes());
        let plain = undated(&plain.until_closed());
        assert!(plain.starts_with("HTTP/1.1 200 OK\r\n") && plain.contains("one"), "{plain}");
        assert_eq!(undated(&exchange(encrypted.addr(), &encrypted.pair, &sent)), plain);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_chosen_in_the_handshake() {
    let encrypted = Encrypted::start("");
    let mut caller = Caller::encrypted(encrypted.addr(), &encrypted.pair).await;
    let answer = caller.chat(&chat_body("up/sim?reply=one two", "x", STREAM)).await;
    assert_eq!(answer.status(), 200);
    assert!(text(answer).await.ends_with("data: [DONE]\n\n"));
    let mut leaving = caller.chat(&chat_body("up/sim?tokens=1000,gap=20ms", "x", STREAM)).await.into_body();
    within(leaving.frame()).await.unwrap().unwrap();
    drop(leaving);
    encrypted.upstream.stats("cancelled=1&active=0");
    // Who offers neither protocol is not spoken to.
    assert!(encrypted.pair.connect(encrypted.addr(), &[b"spdy/3"]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_from_then_on_and_connections_under_way_go_on() {
    let encrypted = Encrypted::start("");
    let addr = encrypted.addr();
    let mut caller = Caller::encrypted(addr, &encrypted.pair).await;
    let mut stream = caller.chat(&chat_body("up/sim?stall_after=2", "x", STREAM)).await.into_body();
    within(stream.frame()).await.unwrap().unwrap();
    let renewed = Pair::new();
    assert!(!renewed.is_shown(addr).await);
    renewed.write(encrypted.folder.path());
    encrypted.gateway.process.wait_for_line("certificate reloaded");
    assert!(renewed.is_shown(addr).await && !encrypted.pair.is_shown(addr).await);
    // The old connection is as good as it was: its stream is open, and it takes another.
    assert_eq!(encrypted.upstream.count("cancelled"), 0);
    let answer = caller.chat(&chat_body("up/sim", "y", "")).await;
    assert_eq!(answer.status(), 200);
    drop(stream);
    encrypted.upstream.stats("cancelled=1&active=0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_does_not_fit_keeps_the_old_one_until_it_does() {
    let encrypted = Encrypted::start("");
    let (addr, folder) = (encrypted.addr(), encrypted.folder.path());
    let renewed = Pair::new();
    fs::write(folder.join("cert.pem"), &renewed.cert).unwrap();
    let line = encrypted.gateway.process.wait_for_line("the certificate is kept");
    assert!(line.contains("server.tls_key") && line.contains("key.pem"), "{line}");
    assert!(encrypted.pair.is_shown(addr).await);
    fs::write(folder.join("cert.pem"), "nothing of the kind").unwrap();
    let line = encrypted.gateway.process.wait_for_line("the certificate is kept");
    assert!(line.contains("server.tls_cert") && line.contains("cert.pem"), "{line}");
    assert!(encrypted.pair.is_shown(addr).await);
    renewed.write(folder);
    encrypted.gateway.process.wait_for_line("certificate reloaded");
    assert!(renewed.is_shown(addr).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_configuration_does_not_hold_up_a_renewal() {
    let encrypted = Encrypted::start("");
    fs::write(encrypted.gateway.file(), "[server]\nlisten_on = 1\n").unwrap();
    encrypted.gateway.process.wait_for_line("listen_on");
    let renewed = Pair::new();
    renewed.write(encrypted.folder.path());
    encrypted.gateway.process.wait_for_line("certificate reloaded");
    assert!(renewed.is_shown(encrypted.addr()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_may_name_another_certificate_or_none() {
    let encrypted = Encrypted::start("");
    let addr = encrypted.addr();
    let (other, folder) = (Pair::new(), tempfile::tempdir().unwrap());
    other.write(folder.path());
    let upstream = encrypted.upstream.0.addr;
    // Together with a mistake elsewhere it is not taken up.
    let wrong = config(upstream, &server(folder.path(), "max_body_bytes = 0\n"));
    fs::write(encrypted.gateway.file(), wrong).unwrap();
    encrypted.gateway.process.wait_for_line("max_body_bytes");
    assert!(encrypted.pair.is_shown(addr).await);
    fs::write(encrypted.gateway.file(), config(upstream, &server(folder.path(), ""))).unwrap();
    encrypted.gateway.process.wait_for_line("configuration reloaded");
    assert!(other.is_shown(addr).await);
    // Its files are those that are watched from then on.
    let renewed = Pair::new();
    renewed.write(folder.path());
    encrypted.gateway.process.wait_for_line("certificate reloaded");
    encrypted.gateway.process.wait_for_line("configuration reloaded");
    assert!(renewed.is_shown(addr).await);
    fs::write(encrypted.gateway.file(), config(upstream, "")).unwrap();
    encrypted.gateway.process.wait_for_line("configuration reloaded");
    let body = chat_body("up/sim", "x", "");
    assert_eq!(post(addr, "/v1/chat/completions", &[], body.as_bytes()).status, 200);
}

#[test]
fn a_pair_that_cannot_be_used_at_the_start_is_an_error_that_names_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Pair::new(), Pair::new());
    let cases = [
        (None, Some(&one.key), "server.tls_cert"),
        (Some(&one.cert), None, "server.tls_key"),
        (Some(&one.cert), Some(&other.key), "server.tls_key"),
        (Some(&one.key), Some(&one.key), "server.tls_cert"),
        (Some(&one.cert), Some(&one.cert), "server.tls_key"),
    ];
    for (cert, key, named) in cases {
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            let path = folder.path().join(name);
            drop(fs::remove_file(&path));
            if let Some(text) = text {
                fs::write(path, text).unwrap();
            }
        }
        let file = folder.path().join("llmkit.toml");
        fs::write(&file, server(folder.path(), "")).unwrap();
        for command in ["check", "serve"] {
            let mut run = Command::new(env!("CARGO_BIN_EXE_llmkit"));
            run.arg(command).args((command == "serve").then_some("--config")).arg(&file);
            let ended = run.output().unwrap();
            let told = String::from_utf8(ended.stderr).unwrap();
            assert!(!ended.status.success() && told.contains(named), "{named}: {told}");
            assert!(!told.contains("PRIVATE"), "{told}");
        }
    }
}

#[test]
fn a_request_without_encryption_is_told_so() {
    let encrypted = Encrypted::start("");
    let answer = post(encrypted.addr(), "/v1/chat/completions", &[], chat_body("up/sim", "x", "").as_bytes());
    assert_eq!((answer.status, answer.error()["code"].as_str()), (400, Some("https_required")));
    assert_eq!(encrypted.upstream.count("requests"), 0);
}

#[test]
fn a_handshake_that_is_not_finished_in_time_is_cut_off() {
    let encrypted = Encrypted::start("header_timeout = \"200ms\"\n");
    // Nothing at all; the beginning of a handshake; a whole one of a client that asks nothing.
    for begin in [&b""[..], b"\x16\x03\x01\x02"] {
        let mut connection = Connection::open(encrypted.addr());
        connection.send(begin);
        assert!(connection.is_closed());
    }
    assert_eq!(exchange(encrypted.addr(), &encrypted.pair, ""), "");
}

#[test]
fn the_port_of_the_metrics_is_encrypted_too() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!("[observability]\nmetrics_port = {}\n", free.port());
    let encrypted = Encrypted::start(&more);
    let sent = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(exchange(free, &encrypted.pair, sent).contains("llmkit_"));
}
