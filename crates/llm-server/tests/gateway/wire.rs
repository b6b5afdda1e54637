//! HTTP by hand: what is sent is exactly what a test says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::process::PATIENCE;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended where it said it would.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn count_of_headers(&self) -> usize {
        self.headers.len()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The error object, whose four keys must be there.
    pub(crate) fn error(&self) -> serde_json::Value {
        let error = self.json()["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "no {key} in {}", self.text());
        }
        error
    }

    /// The data of the events of a stream.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = self.text();
        text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// A connection to a server.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time");
        stream.set_nodelay(true).expect("an option");
        Self { stream, read: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it reads");
    }

    /// Sends as much as is taken; whether all of it was.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(&[head.as_bytes(), body].concat());
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend_from_slice(&piece[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return Some(self.read.drain(..at + end.len()).collect());
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            if !self.more() {
                return None;
            }
        }
        Some(self.read.drain(..count).collect())
    }

    /// The head of the next answer; none when the connection was closed instead.
    pub(crate) fn head(&mut self) -> Option<Answer> {
        let head = String::from_utf8(self.until(b"\r\n\r\n")?).expect("text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Answer { status: status.parse().expect("a number"), headers, body: Vec::new(), whole: false })
    }

    /// The next piece of a chunked body; none at its end, or where it breaks off.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.until(b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&size).expect("text").trim(), 16).expect("a size");
        let data = self.exactly(size + 2)?;
        Some(data[..size].to_vec())
    }

    /// The next answer; none when the connection was closed instead.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let answer = self.head()?;
        Some(self.rest(answer))
    }

    /// The answer whose head has come, with its body.
    pub(crate) fn rest(&mut self, mut answer: Answer) -> Answer {
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                match self.chunk() {
                    Some(data) if data.is_empty() => {
                        answer.whole = true;
                        break;
                    }
                    Some(data) => answer.body.extend(data),
                    None => break,
                }
            }
        } else {
            let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a number"));
            if let Some(body) = self.exactly(length) {
                (answer.body, answer.whole) = (body, true);
            }
        }
        answer
    }

    /// The pieces of a chunked body that are left, joined.
    pub(crate) fn chunks_left(&mut self) -> String {
        let mut rest = Vec::new();
        while let Some(piece) = self.chunk().filter(|piece| !piece.is_empty()) {
            rest.extend(piece);
        }
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Whether the other side has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more()
    }

    /// All that comes until the other side closes.
    pub(crate) fn until_closed(&mut self) -> String {
        while self.more() {}
        String::from_utf8(std::mem::take(&mut self.read)).expect("text")
    }

    pub(crate) fn shutdown(self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

pub(crate) fn get(addr: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut connection = Connection::open(addr);
    connection.request("GET", path, headers, b"");
    connection.answer().expect("an answer")
}

pub(crate) fn post(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut connection = Connection::open(addr);
    connection.request("POST", path, headers, body);
    connection.answer().expect("an answer")
}
