//! Heads and bodies of HTTP/1.1: nothing panics; a body is the same wherever it is cut, and what was sent in chunks comes
//! back, with what follows it untouched.
#![no_main]

use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use llm_providers::http1::{Framing, LAST_CHUNK, Malformed, header_map, length};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    head: &'a [u8],
    bytes: &'a [u8],
    /// So many bytes come at once, in turn.
    pieces: Vec<u8>,
    length: u16,
}

fuzz_target!(|input: Input<'_>| {
    read_head(input.head);
    for framing in [Framing::chunked(), Framing::Length(input.length.into()), Framing::UntilClose] {
        let whole = read_body(framing.clone(), &[input.bytes]);
        assert_eq!(read_body(framing, &cut(input.bytes, &input.pieces)), whole);
    }
    let mut sent = Vec::new();
    for piece in cut(input.head, &input.pieces) {
        sent.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        sent.extend_from_slice(piece);
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(LAST_CHUNK);
    let length = sent.len();
    sent.extend_from_slice(input.bytes);
    let body = read_body(Framing::chunked(), &cut(&sent, &input.pieces));
    assert_eq!(body, Body { data: BytesMut::from(input.head), taken: length, end: Ok(true) });
});

/// Every field is there, with its value.
fn read_head(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let Ok(httparse::Status::Complete((_, parsed))) = httparse::parse_headers(bytes, &mut fields) else { return };
    let Some(headers) = header_map(&Bytes::copy_from_slice(bytes), bytes, parsed) else { return };
    assert_eq!(headers.len(), parsed.len());
    for field in parsed {
        assert!(headers.get_all(field.name).iter().any(|value| value.as_bytes() == field.value));
    }
    let _ = length(&headers);
}

#[derive(Debug, PartialEq)]
struct Body {
    data: BytesMut,
    taken: usize,
    /// Whether it is over.
    end: Result<bool, Malformed>,
}

fn read_body(mut framing: Framing, pieces: &[&[u8]]) -> Body {
    let mut body = Body { data: BytesMut::new(), taken: 0, end: Ok(false) };
    for piece in pieces {
        match framing.feed(piece, &mut body.data) {
            Ok(taken) => body.taken += taken,
            // What came before in the same piece has been told of in part only.
            Err(malformed) => return Body { taken: 0, end: Err(malformed), ..body },
        }
    }
    body.end = Ok(framing.is_over());
    body
}

/// `bytes` in pieces of these sizes, again and again; at once where there are none.
fn cut<'a>(bytes: &'a [u8], pieces: &[u8]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut cut = Vec::new();
    for size in pieces.iter().cycle().take(bytes.len()) {
        let (piece, behind) = rest.split_at(rest.len().min(usize::from(*size).max(1)));
        if piece.is_empty() {
            break;
        }
        cut.push(piece);
        rest = behind;
    }
    if !rest.is_empty() {
        cut.push(rest);
    }
    cut
}
