//! A collector: takes spans by OTLP over HTTP, and shows them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span};
use prost::Message;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::process::PATIENCE;

/// A collector on a free port.
pub(crate) struct Collector {
    pub(crate) addr: SocketAddr,
    shelf: Arc<Shelf>,
}

#[derive(Default)]
struct Shelf {
    taken: Mutex<Taken>,
    more: Condvar,
}

/// What has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) spans: Vec<Span>,
    /// What is said of the sender, such as `service.name`.
    pub(crate) resource: Vec<KeyValue>,
    /// The bodies, as they came.
    pub(crate) bytes: Vec<u8>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::over(connection)
    }

    /// One behind TLS, and the certificate to trust, as PEM.
    pub(crate) fn encrypted() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key))
            .expect("a configuration");
        let config = Arc::new(config);
        let serve = move |stream, shelf: &Shelf| {
            let tls = ServerConnection::new(config.clone()).expect("a connection");
            connection(StreamOwned::new(tls, stream), shelf);
        };
        let certificate = STANDARD.encode(made.cert.der());
        (Self::over(serve), format!("-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n"))
    }

    fn over(serve: impl Fn(TcpStream, &Shelf) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shelf = Arc::new(Shelf::default());
        let shared = shelf.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (serve, shelf) = (serve.clone(), shared.clone());
                std::thread::spawn(move || serve(stream, &shelf));
            }
        });
        Self { addr, shelf }
    }

    /// Its address as a configuration has it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What has come, once there are `enough`.
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&Taken) -> bool) -> Taken {
        let taken = self.shelf.taken.lock().expect("no panic");
        let (taken, late) =
            self.shelf.more.wait_timeout_while(taken, PATIENCE, |taken| !enough(taken)).expect("no panic");
        assert!(!late.timed_out(), "no {what} in {:#?}", taken.spans);
        taken.clone()
    }

    /// The spans of the next `count` traces to be whole: each has the span of its exchange over HTTP.
    pub(crate) fn traces(&self, count: usize) -> Vec<Trace> {
        let servers = |taken: &Taken| taken.spans.iter().filter(|span| kind(span) == span::SpanKind::Server).count();
        let taken = self.wait("traces", |taken| servers(taken) >= count);
        let mut traces: Vec<Trace> = Vec::new();
        for span in taken.spans {
            match traces.iter_mut().find(|trace| trace.0[0].trace_id == span.trace_id) {
                Some(trace) => trace.0.push(span),
                None => traces.push(Trace(vec![span])),
            }
        }
        traces.sort_by_key(|trace| trace.server().start_time_unix_nano);
        traces
    }

    /// The only trace.
    pub(crate) fn trace(&self) -> Trace {
        let mut traces = self.traces(1);
        assert_eq!(traces.len(), 1, "{traces:#?}");
        traces.remove(0)
    }
}

/// The spans of one trace.
#[derive(Clone, Debug)]
pub(crate) struct Trace(pub(crate) Vec<Span>);

impl Trace {
    fn only(&self, wanted: span::SpanKind) -> Vec<&Span> {
        let mut found: Vec<_> = self.0.iter().filter(|span| kind(span) == wanted).collect();
        found.sort_by_key(|span| span.start_time_unix_nano);
        found
    }

    fn one(&self, wanted: span::SpanKind) -> &Span {
        let found = self.only(wanted);
        assert_eq!(found.len(), 1, "{wanted:?} in {self:#?}");
        found[0]
    }

    /// The exchange over HTTP.
    pub(crate) fn server(&self) -> &Span {
        self.one(span::SpanKind::Server)
    }

    /// The request.
    pub(crate) fn logical(&self) -> &Span {
        self.one(span::SpanKind::Internal)
    }

    /// The attempts, the first first.
    pub(crate) fn attempts(&self) -> Vec<&Span> {
        self.only(span::SpanKind::Client)
    }
}

fn kind(span: &Span) -> span::SpanKind {
    span.kind()
}

/// The value of an attribute as text, numbers included.
pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let mut found = attributes.iter().filter(|attribute| attribute.key == name);
    let value = found.next()?.value.as_ref().map(text)?;
    assert!(found.next().is_none(), "{name} twice");
    Some(value)
}

fn text(value: &AnyValue) -> String {
    match value.value.as_ref().expect("a value") {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::BoolValue(yes) => yes.to_string(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        any_value::Value::ArrayValue(values) => values.values.iter().map(text).collect::<Vec<_>>().join(","),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Answers the requests of one connection.
fn connection(stream: impl Read + Write, shelf: &Shelf) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains("content-type: application/x-protobuf"), "{head}");
        let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("protobuf");
        let mut taken = shelf.taken.lock().expect("no panic");
        taken.bytes.extend(body);
        for sender in request.resource_spans {
            taken.resource = sender.resource.map(|resource| resource.attributes).unwrap_or_default();
            taken.spans.extend(sender.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        drop(taken);
        shelf.more.notify_all();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        let writer = reader.get_mut();
        if writer.write_all(answer).and_then(|()| writer.flush()).is_err() {
            return;
        }
    }
}
