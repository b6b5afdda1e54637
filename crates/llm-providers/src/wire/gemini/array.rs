//! Streams that come as one JSON array in pieces, which is what Google sends without `alt=sse`.

use bytes::{BufMut, Bytes, BytesMut};

/// Turns the bytes of a JSON array, in whatever pieces they come, into the same stream as server-sent events, for a
/// [`Translator`](crate::wire::Translator): each item becomes the data of one.
#[derive(Debug, Default)]
pub struct ArrayEvents {
    /// How many objects and arrays are open within the item.
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// Whether the array itself has begun.
    begun: bool,
}

impl ArrayEvents {
    /// The beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The events that `piece` makes up or goes on with. What is no array of objects becomes events too, so that their
    /// reader sees what is wrong with them.
    pub fn push(&mut self, piece: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(piece.len() + 16);
        for &byte in piece {
            if self.depth == 0 {
                self.between(byte, &mut out);
            } else {
                self.within(byte, &mut out);
            }
        }
        out.freeze()
    }

    fn between(&mut self, byte: u8, out: &mut BytesMut) {
        match byte {
            b'[' if !self.begun => self.begun = true,
            b'{' => {
                self.begun = true;
                self.depth = 1;
                out.put_slice(b"data: {");
            }
            b',' | b']' | b' ' | b'\t' | b'\r' | b'\n' => {}
            // The bytes of a byte order mark.
            0xEF | 0xBB | 0xBF if !self.begun => {}
            other => {
                out.put_slice(b"data: ");
                out.put_u8(other);
                out.put_slice(b"\n\n");
            }
        }
    }

    fn within(&mut self, byte: u8, out: &mut BytesMut) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            // Line ends between tokens would end the event's data. Within strings they are no JSON, and may.
            b'\r' | b'\n' => return out.put_u8(b' '),
            _ => {}
        }
        out.put_u8(byte);
        if self.depth == 0 {
            out.put_slice(b"\n\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRAY: &str = "[{\n  \"a\": \"]}\\\"{\",\n  \"b\": [1, {}]\r\n}\n,\n{\"c\":2}]\n";

    #[test]
    fn the_items_of_an_array_become_events_wherever_it_is_cut() {
        let expected = "data: {   \"a\": \"]}\\\"{\",   \"b\": [1, {}]  }\n\ndata: {\"c\":2}\n\n";
        for cut in 0..=ARRAY.len() {
            let mut events = ArrayEvents::new();
            let parts = [events.push(&ARRAY.as_bytes()[..cut]), events.push(&ARRAY.as_bytes()[cut..])];
            assert_eq!(parts.concat(), expected.as_bytes(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_array_is_seen_by_the_reader() {
        assert_eq!(ArrayEvents::new().push(b"<"), &b"data: <\n\n"[..]);
        assert_eq!(ArrayEvents::new().push(b"{\"error\":{}}"), &b"data: {\"error\":{}}\n\n"[..]);
        assert!(ArrayEvents::new().push(b"[]").is_empty());
    }
}
