//! `/metrics` for an application that serves no HTTP of its own: one thread, one scrape at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::telemetry::Telemetry;

/// Serves a [`Telemetry`]'s series at `/metrics`, until it is dropped.
#[derive(Debug)]
pub struct MetricsListener {
    addr: SocketAddr,
    stopped: Arc<AtomicBool>,
}

/// How long a scraper may take to ask, and to read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of a request's head that are read at most.
const MOST_HEAD: u64 = 16 * 1024;

impl MetricsListener {
    /// Listens on `addr`; port 0 takes a free one. Whoever reaches the address can read the series: they hold names of
    /// providers and models, and what was spent.
    ///
    /// # Errors
    /// When the address cannot be listened on, or there can be no thread.
    pub fn bind(addr: impl ToSocketAddrs, telemetry: Arc<Telemetry>) -> io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        let listening = Self { addr: listener.local_addr()?, stopped: Arc::default() };
        let stopped = listening.stopped.clone();
        std::thread::Builder::new().name("llmkit-metrics".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                // Acquire: the store that it sees was made before the connection that woke it.
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // A scraper that breaks off misses its answer and nothing else.
                drop(stream.and_then(|stream| answer(&stream, &telemetry)));
            }
        })?;
        Ok(listening)
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for MetricsListener {
    fn drop(&mut self) {
        // Release: pairs with the thread's load.
        self.stopped.store(true, Ordering::Release);
        // The thread waits for a connection: this is one. Where it fails, the next one ends the thread.
        drop(TcpStream::connect_timeout(&self.addr, PATIENCE));
    }
}

fn answer(stream: &TcpStream, telemetry: &Telemetry) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.take(MOST_HEAD)).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    let mut accept = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        accept = match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("accept") => Some(value.trim().to_owned()),
            _ => accept,
        };
    }
    let mut words = asked.split(' ');
    let path = words.next().filter(|method| *method == "GET").and(words.next()).unwrap_or_default();
    let (status, (kind, text)) = match path.split('?').next() {
        Some("/metrics") => ("200 OK", telemetry.render(accept.as_deref())),
        _ => ("404 Not Found", ("text/plain; charset=utf-8", "only GET /metrics is here\n".to_owned())),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n", text.len());
    let mut stream = stream;
    stream.write_all(format!("{head}connection: close\r\n\r\n{text}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    #[test]
    fn the_series_are_served_until_the_listener_is_dropped() {
        let listener = MetricsListener::bind("127.0.0.1:0", Arc::new(Telemetry::new())).unwrap();
        let addr = listener.local_addr();
        let classic = ask(addr, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
        assert!(classic.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4"), "{classic}");
        assert!(classic.contains("llmkit_build_info"));
        let open = ask(addr, "GET /metrics?x=1 HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n");
        assert!(open.ends_with("# EOF\n"), "{open}");
        for request in ["GET / HTTP/1.1\r\n\r\n", "POST /metrics HTTP/1.1\r\n\r\n", "\r\n\r\n"] {
            assert!(ask(addr, request).starts_with("HTTP/1.1 404"), "{request}");
        }
        drop(listener);
        // The thread lets go of the port once it has seen that.
        while TcpStream::connect(addr).is_ok() {
            std::thread::yield_now();
        }
    }
}
