//! Bodies that come in chunks.

use bytes::{Buf, BytesMut};

use super::head::Malformed;

/// The largest body.
pub(crate) const LARGEST: usize = 64 << 20;

/// The longest line between chunks.
const LONGEST_LINE: usize = 4096;

/// Takes a body out of its chunks.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// What has come.
    pub(crate) body: BytesMut,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    #[default]
    Size,
    Data(usize),
    AfterData,
    Trailer,
}

impl Chunks {
    /// Takes what is there of the body from the front of `buf`. Whether that was all of it.
    ///
    /// # Errors
    /// [`Malformed`], when these are no chunks or too many.
    pub(crate) fn take(&mut self, buf: &mut BytesMut) -> Result<bool, Malformed> {
        loop {
            match self.place {
                Place::Size => match httparse::parse_chunk_size(buf).map_err(|_| Malformed(400))? {
                    httparse::Status::Partial if buf.len() > LONGEST_LINE => return Err(Malformed(400)),
                    httparse::Status::Partial => return Ok(false),
                    httparse::Status::Complete((line, size)) => {
                        buf.advance(line);
                        let size = usize::try_from(size).unwrap_or(usize::MAX);
                        if size > LARGEST - self.body.len().min(LARGEST) {
                            return Err(Malformed(413));
                        }
                        self.place = if size == 0 { Place::Trailer } else { Place::Data(size) };
                    }
                },
                Place::Data(left) => {
                    let taken = buf.split_to(left.min(buf.len()));
                    self.body.extend_from_slice(&taken);
                    if taken.len() < left {
                        self.place = Place::Data(left - taken.len());
                        return Ok(false);
                    }
                    self.place = Place::AfterData;
                }
                Place::AfterData => {
                    if buf.len() < 2 {
                        return Ok(false);
                    }
                    if !buf.starts_with(b"\r\n") {
                        return Err(Malformed(400));
                    }
                    buf.advance(2);
                    self.place = Place::Size;
                }
                Place::Trailer => match memchr::memchr(b'\n', buf) {
                    None if buf.len() > LONGEST_LINE => return Err(Malformed(400)),
                    None => return Ok(false),
                    Some(end) => {
                        let line = buf.split_to(end + 1);
                        if line.trim_ascii().is_empty() {
                            return Ok(true);
                        }
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_body_comes_out_of_its_chunks_however_they_arrive(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..6),
            cuts in proptest::collection::vec(1..9_usize, 1..40),
        ) {
            let mut wire = Vec::new();
            for piece in &pieces {
                wire.extend(format!("{:X};note=1\r\n", piece.len()).bytes());
                wire.extend(piece);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\ntrailer: x\r\n\r\n");
            let end = wire.len();
            wire.extend(b"GET /next");

            let (mut chunks, mut buf, mut sent) = (Chunks::default(), BytesMut::new(), 0);
            let mut cuts = cuts.into_iter().cycle();
            while !chunks.take(&mut buf).unwrap() {
                let next = (sent + cuts.next().unwrap()).min(wire.len());
                prop_assert!(sent < wire.len());
                buf.extend_from_slice(&wire[sent..next]);
                sent = next;
            }
            prop_assert_eq!(&chunks.body[..], pieces.concat());
            prop_assert_eq!(&buf[..], &wire[end..sent]);
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let take = |wire: &str| Chunks::default().take(&mut BytesMut::from(wire));
        assert_eq!(take("zz\r\n"), Err(Malformed(400)));
        assert_eq!(take("1\r\naXX"), Err(Malformed(400)));
        assert_eq!(take("5000001\r\n"), Err(Malformed(413)));
        assert_eq!(take("1\r\na"), Ok(false));
    }
}
