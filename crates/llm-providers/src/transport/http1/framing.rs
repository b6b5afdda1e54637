//! Which of the bytes that follow a head are its body (RFC 9112, sections 6 and 7).

use bytes::{BufMut, BytesMut};

/// How a body's end is known, and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// In chunks, each with its size before it.
    Chunked(Chunked),
    /// What comes until the connection is closed.
    UntilClose,
}

/// The place in a chunked body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    place: Place,
    /// Bytes of extensions and trailers so far, which say nothing that anybody asks for.
    idle: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a digit of a size, after so many of them.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind the digits; only white space may come before an extension or the line's end.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    /// At the beginning of a line behind the last chunk.
    Trailer,
    InTrailer,
    LastLineFeed,
    Over,
}

/// The bytes are no body of this framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Bytes of extensions and trailers that a body may have.
const MOST_IDLE: usize = 16 << 10;
/// Digits of a chunk's size.
const MOST_DIGITS: u8 = 15;

impl Framing {
    /// A body in chunks, before the first.
    #[must_use]
    pub const fn chunked() -> Self {
        Self::Chunked(Chunked { place: Place::Size { size: 0, digits: 0 }, idle: 0 })
    }

    /// Whether all of the body has come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked { place: Place::Over, .. }))
    }

    /// Appends what of `bytes` is the body's to `out`. Gives how many bytes were taken: all of them, unless the body
    /// ends before.
    ///
    /// # Errors
    /// [`Malformed`] where they are no body of this framing.
    pub fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<usize, Malformed> {
        match self {
            Self::Length(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.put_slice(&bytes[..taken]);
                *left -= taken as u64;
                Ok(taken)
            }
            Self::Chunked(chunked) => chunked.feed(bytes, out),
            Self::UntilClose => {
                out.put_slice(bytes);
                Ok(bytes.len())
            }
        }
    }
}

impl Chunked {
    fn feed(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<usize, Malformed> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            self.place = match self.place {
                Place::Over => break,
                Place::Data { left } => {
                    let rest = &bytes[at..];
                    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    out.put_slice(&rest[..taken]);
                    at += taken;
                    let left = left - taken as u64;
                    self.place = if left == 0 { Place::DataReturn } else { Place::Data { left } };
                    continue;
                }
                place => self.step(place, *byte)?,
            };
            at += 1;
        }
        Ok(at)
    }

    /// Where `byte` leads to from `place`, between the data.
    fn step(&mut self, place: Place, byte: u8) -> Result<Place, Malformed> {
        Ok(match (place, byte) {
            (Place::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < MOST_DIGITS => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                Place::Size { size: size << 4 | digit, digits: digits + 1 }
            }
            (Place::Size { size, digits: 1.. } | Place::Blank { size }, _) => match byte {
                b'\r' => Place::SizeLineFeed { size },
                b';' => Place::Extension { size },
                b' ' | b'\t' => self.idles(Place::Blank { size })?,
                _ => return Err(Malformed),
            },
            (Place::Extension { size }, b'\r') => Place::SizeLineFeed { size },
            (Place::Extension { size }, _) if byte != b'\n' => self.idles(Place::Extension { size })?,
            (Place::SizeLineFeed { size: 0 }, b'\n') => Place::Trailer,
            (Place::SizeLineFeed { size }, b'\n') => Place::Data { left: size },
            (Place::DataReturn, b'\r') => Place::DataLineFeed,
            (Place::DataLineFeed, b'\n') => Place::Size { size: 0, digits: 0 },
            (Place::Trailer, b'\r') => Place::LastLineFeed,
            (Place::Trailer, _) if byte != b'\n' => self.idles(Place::InTrailer)?,
            (Place::InTrailer, b'\n') => Place::Trailer,
            (Place::InTrailer, _) => self.idles(Place::InTrailer)?,
            (Place::LastLineFeed, b'\n') => Place::Over,
            _ => return Err(Malformed),
        })
    }

    fn idles(&mut self, place: Place) -> Result<Place, Malformed> {
        self.idle += 1;
        if self.idle > MOST_IDLE { Err(Malformed) } else { Ok(place) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of the body in `pieces`, and how many bytes were taken.
    fn read<'a>(
        mut framing: Framing,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, usize, bool), Malformed> {
        let (mut out, mut taken) = (BytesMut::new(), 0);
        for piece in pieces {
            taken += framing.feed(piece, &mut out)?;
        }
        Ok((out.to_vec(), taken, framing.is_over()))
    }

    fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), Malformed> {
        read(Framing::chunked(), [bytes])
    }

    #[test]
    fn what_follows_the_end_is_left() {
        assert_eq!(read(Framing::Length(3), [&b"abcd"[..]]), Ok((b"abc".to_vec(), 3, true)));
        assert_eq!(read(Framing::Length(0), [&b"a"[..]]), Ok((vec![], 0, true)));
        assert_eq!(chunked(b"2\r\nab\r\n0\r\n\r\nHTTP"), Ok((b"ab".to_vec(), 12, true)));
        assert_eq!(read(Framing::UntilClose, [&b"abcd"[..]]), Ok((b"abcd".to_vec(), 4, false)));
    }

    #[test]
    fn extensions_and_trailers_are_passed_over() {
        let bytes = b"2 ;name=\"x\"\r\nab\r\n00a;y\r\n0123456789\r\n0\r\ndigest: x\r\nb:\r\n\r\n";
        assert_eq!(chunked(bytes), Ok((b"ab0123456789".to_vec(), bytes.len(), true)));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1\nab",
            b"1 1\r\n",
            b"1;x\ny\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"0\r\n\n",
            b"0\r\n\rx",
            b"1000000000000000\r\n",
        ] {
            assert_eq!(chunked(bytes), Err(Malformed), "{}", bytes.escape_ascii());
        }
        let extension = [b"1;", &[b'x'; MOST_IDLE + 1][..]].concat();
        assert_eq!(chunked(&extension), Err(Malformed));
        assert_eq!(chunked(b"fffffffffffffff\r\nab"), Ok((b"ab".to_vec(), 19, false)));
    }

    fn encoded(chunks: &[Vec<u8>]) -> Vec<u8> {
        let chunk = |chunk: &Vec<u8>| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
        let mut bytes: Vec<u8> = chunks.iter().filter(|chunk| !chunk.is_empty()).flat_map(chunk).collect();
        bytes.extend(b"0\r\n\r\n");
        bytes
    }

    proptest! {
        #[test]
        fn chunks_are_joined_wherever_they_are_cut(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let bytes = encoded(&chunks);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([bytes.len()]);
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let pieces = starts.zip(ends).map(|(start, end)| &bytes[start..end]);
            prop_assert_eq!(read(Framing::chunked(), pieces), Ok((chunks.concat(), bytes.len(), true)));
        }

        #[test]
        fn of_any_bytes_no_more_are_taken_than_there_are(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'1')], 0..64),
        ) {
            if let Ok((body, taken, over)) = chunked(&bytes) {
                prop_assert!(body.len() <= taken && taken <= bytes.len() && (over || taken == bytes.len()));
            }
        }
    }
}
