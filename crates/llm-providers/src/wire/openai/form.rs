//! Forms (`multipart/form-data`) that pass through: which model they name, found piece by piece as they come.

use bytes::{Buf, BytesMut};
use llm_core::{Error, ErrorKind, NamedModel};
use memchr::memmem::Finder;

use crate::wire::read::{duplicate, wrong_value};

/// The longest boundary that is taken, in bytes; the format allows 70.
const LONGEST_BOUNDARY: usize = 200;
/// The longest head of a part.
const LONGEST_HEAD: usize = 16 << 10;
/// The longest line of a boundary, and the longest name of a model.
const LONGEST_LINE: usize = 1 << 10;

/// Reads a form as far as needed to route it. Of what was stepped over nothing is kept.
#[derive(Debug)]
pub struct FormReader {
    /// What separates parts, with the line's end before it.
    delimiter: Finder<'static>,
    /// What is not stepped over yet.
    pending: BytesMut,
    /// How many bytes were stepped over, the line's end included that is imagined before the form.
    at: usize,
    place: Place,
    found: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In what is before the parts, or in a part.
    Content,
    /// Behind a delimiter.
    Boundary,
    Head,
    /// In the part that names the model.
    Model,
    /// Behind the last part.
    End,
}

impl FormReader {
    /// A reader of a form with this content type.
    ///
    /// # Errors
    /// `InvalidRequest` where it says no boundary.
    pub fn of(content_type: &str) -> Result<Self, Error> {
        let boundary = parameter(content_type, "boundary").filter(|it| (1..=LONGEST_BOUNDARY).contains(&it.len()));
        let boundary = boundary.ok_or_else(|| broken("its content type names no boundary"))?;
        let delimiter = Finder::new(format!("\r\n--{boundary}").as_bytes()).into_owned();
        Ok(Self { delimiter, pending: BytesMut::from("\r\n"), at: 0, place: Place::Content, found: false })
    }

    /// Whether the last part has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.place == Place::End
    }

    /// Takes the next piece. The model, once its part is whole, and where its name stands in the form.
    ///
    /// # Errors
    /// `InvalidRequest` when this is no form, or names two models.
    pub fn feed(&mut self, piece: &[u8]) -> Result<Option<(Box<str>, NamedModel)>, Error> {
        self.pending.extend_from_slice(piece);
        let mut named = None;
        while self.step(&mut named)? {}
        Ok(named)
    }

    /// Steps over the next thing; false where more must come first.
    fn step(&mut self, named: &mut Option<(Box<str>, NamedModel)>) -> Result<bool, Error> {
        match self.place {
            Place::Content => {
                let delimiter = self.delimiter.needle().len();
                let Some(end) = self.delimiter.find(&self.pending) else {
                    self.skip(self.pending.len().saturating_sub(delimiter - 1));
                    return Ok(false);
                };
                self.skip(end + delimiter);
                self.place = Place::Boundary;
            }
            Place::Boundary => {
                if self.pending.starts_with(b"--") {
                    self.place = Place::End;
                    return Ok(true);
                }
                let blank = self.pending.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                match &self.pending[blank..] {
                    [] | [b'\r'] => return self.waits_for(LONGEST_LINE, "the line of a boundary is too long"),
                    [b'-'] if blank == 0 => return Ok(false),
                    [b'\r', b'\n', ..] => {
                        self.skip(blank + 2);
                        self.place = Place::Head;
                    }
                    // A longer line that begins like a boundary is content.
                    _ => self.place = Place::Content,
                }
            }
            Place::Head => {
                let (head, length) = if self.pending.starts_with(b"\r\n") {
                    (&self.pending[..0], 2)
                } else if let Some(end) = memchr::memmem::find(&self.pending, b"\r\n\r\n") {
                    (&self.pending[..end], end + 4)
                } else {
                    return self.waits_for(LONGEST_HEAD, "the head of a part is too long");
                };
                self.place = if names_model(head) { Place::Model } else { Place::Content };
                self.skip(length);
            }
            Place::Model => {
                let Some(end) = self.delimiter.find(&self.pending) else {
                    return self.waits_for(LONGEST_LINE, "the name of the model is too long");
                };
                if std::mem::replace(&mut self.found, true) {
                    return Err(duplicate("model"));
                }
                let name =
                    std::str::from_utf8(&self.pending[..end]).map_err(|_| broken("the model's name is no text"))?;
                if name.is_empty() {
                    return Err(wrong_value("model", "it must not be empty"));
                }
                let start = self.at - 2;
                *named = Some((name.into(), NamedModel { at: start..start + end, quoted: false }));
                self.skip(end);
                self.place = Place::Content;
            }
            Place::End => {
                self.skip(self.pending.len());
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn skip(&mut self, count: usize) {
        self.at += count;
        self.pending.advance(count);
    }

    fn waits_for(&self, most: usize, why: &str) -> Result<bool, Error> {
        if self.pending.len() > most + self.delimiter.needle().len() { Err(broken(why)) } else { Ok(false) }
    }
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("the body is not a form: {why}"))
}

/// Whether a part with this head is the field `model`.
fn names_model(head: &[u8]) -> bool {
    let head = String::from_utf8_lossy(head);
    let fields = head.split("\r\n").filter_map(|line| line.split_once(':'));
    let disposition = fields.filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"));
    disposition.map(|(_, value)| value).any(|value| parameter(value, "name").is_some_and(|name| name == "model"))
}

/// The value of a header's parameter, without its quotes.
pub(crate) fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, behind) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => match after.find(';') {
                Some(end) => (after[..end].trim(), &after[end..]),
                None => (after.trim(), ""),
            },
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = behind.trim_start().trim_start_matches(';');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"ab\"";

    fn form(parts: &[(&str, &str)]) -> String {
        let part =
            |(head, value): &(&str, &str)| format!("--ab\r\ncontent-disposition: form-data; {head}\r\n\r\n{value}\r\n");
        parts.iter().map(part).collect::<String>() + "--ab--\r\n"
    }

    /// What a reader finds in `form` that comes in two pieces.
    fn read(form: &str, cut: usize) -> Result<Option<(Box<str>, NamedModel)>, Error> {
        let mut reader = FormReader::of(TYPE)?;
        let first = reader.feed(&form.as_bytes()[..cut])?;
        let second = reader.feed(&form.as_bytes()[cut..])?;
        assert!(reader.is_over());
        Ok(first.or(second))
    }

    #[test]
    fn the_model_is_found_wherever_it_stands_and_however_the_form_is_cut() {
        let file = ("name=\"file\"; filename=\"name=model; a\"", "\r\n--abc\r\n--a\r\nname=\"model\"");
        for parts in [&[("name=\"model\"", "fast"), file][..], &[file, ("name=language", "en"), ("name=model", "fast")]]
        {
            let form = form(parts);
            for cut in 0..form.len() {
                let (name, at) = read(&form, cut).unwrap().unwrap();
                assert_eq!((&*name, &form[at.at]), ("fast", "fast"), "cut at {cut}");
            }
        }
        assert_eq!(read(&form(&[file]), 10).unwrap(), None);
    }

    #[test]
    fn two_models_none_and_what_is_no_form_are_refused() {
        let twice = form(&[("name=model", "a"), ("name=file", "x"), ("name=\"model\"", "b")]);
        assert_eq!(read(&twice, 9).unwrap_err().param(), Some("model"));
        assert_eq!(read(&form(&[("name=model", "")]), 3).unwrap_err().param(), Some("model"));
        let long = "x".repeat(LONGEST_HEAD * 2);
        for body in [
            format!("--ab\r\n{long}"),
            format!("--ab{}", " ".repeat(LONGEST_LINE * 2)),
            format!("--ab\r\ncontent-disposition: form-data; name=model\r\n\r\n{long}"),
        ] {
            assert!(FormReader::of(TYPE).unwrap().feed(body.as_bytes()).is_err());
        }
        assert!(FormReader::of("multipart/form-data").is_err());
    }

    #[test]
    fn nothing_is_kept_of_a_long_file() {
        let mut reader = FormReader::of(TYPE).unwrap();
        reader.feed(b"--ab\r\ncontent-disposition: form-data; name=file\r\n\r\n").unwrap();
        for _ in 0..1000 {
            reader.feed(&[b'x'; 1000]).unwrap();
            assert!(reader.pending.len() < 10);
        }
    }
}
