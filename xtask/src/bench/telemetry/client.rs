//! Plain sockets: who asks, and who takes spans.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::Outcome;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// An answer in one piece.
    Whole,
    /// 50 chunks.
    Stream,
}

/// Under the profiler everything takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `requests` times on one connection, each time about something else: what is shared would be no work.
pub(super) fn drive(address: SocketAddr, ask: Ask, requests: u32) -> Outcome {
    let failed = |error: std::io::Error| format!("the gateway at {address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(failed)?);
    let filling = "x".repeat(900);
    for number in 0..requests {
        let members = if ask == Ask::Stream { ",\"stream\":true" } else { "" };
        let body = format!(
            "{{\"model\":\"fixed\",\"messages\":[{{\"role\":\"user\",\"content\":\"{number} {filling}\"}}]{members}}}"
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer bench\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).map_err(failed)?;
        let status = read(&mut answers).map_err(failed)?;
        if !status.contains(" 200 ") {
            return Err(format!("the gateway at {address} answers {status}"));
        }
    }
    Ok(())
}

/// Reads one message to its end; its first line.
fn read(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut first = String::new();
    from.read_line(&mut first)?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            Some(("transfer-encoding", "chunked")) => chunked = true,
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    if !chunked {
        from.read_exact(&mut vec![0; length])?;
        return Ok(first);
    }
    loop {
        let mut size = String::new();
        from.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        from.read_exact(&mut vec![0; size + 2])?;
        if size == 0 {
            return Ok(first);
        }
    }
}

/// Takes spans and forgets them, for as long as the chore lasts.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) addr: SocketAddr,
}

impl Collector {
    pub(super) fn start() -> Outcome<Self> {
        let failed = |error: std::io::Error| format!("the collector: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut from = BufReader::new(&stream);
                    while read(&mut from).is_ok_and(|first| first.starts_with("POST")) {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if (&stream).write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(Self { addr })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_to_their_ends() {
        let mut two: &[u8] =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 429 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nrest";
        assert!(read(&mut two).is_ok_and(|first| first.contains(" 200 ")));
        assert!(read(&mut two).is_ok_and(|first| first.contains(" 429 ")));
        assert_eq!(two, b"rest");
    }
}
