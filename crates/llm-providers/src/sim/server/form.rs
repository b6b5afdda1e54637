//! Forms, read whole.

use bytes::Bytes;
use memchr::memmem;

use crate::wire::openai::parameter;

/// A field of a form.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Of a file.
    pub(super) filename: Option<String>,
    pub(super) value: Bytes,
}

/// The fields of `body`; none where it is no form.
pub(super) fn fields(content_type: &str, body: &Bytes) -> Option<Vec<Field>> {
    let delimiter = format!("\r\n--{}", parameter(content_type, "boundary")?);
    let mut at = body.strip_prefix(&delimiter.as_bytes()[2..]).map(|_| delimiter.len() - 2)?;
    let mut fields = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Some(fields);
        }
        let head_end = memmem::find(rest, b"\r\n\r\n")? + 4;
        let mut ends = memmem::find_iter(&rest[head_end..], delimiter.as_bytes()).map(|at| head_end + at);
        // A longer line that begins like a boundary is content.
        let is_end =
            |end: &usize| [&b"\r\n"[..], b"--"].iter().any(|after| rest[end + delimiter.len()..].starts_with(after));
        let end = ends.find(is_end)?;
        let head = std::str::from_utf8(&rest[..head_end]).ok()?;
        let is_disposition = |line: &&str| line.to_ascii_lowercase().starts_with("content-disposition:");
        let disposition = head.split("\r\n").find(is_disposition)?;
        fields.push(Field {
            name: parameter(disposition, "name")?.to_owned(),
            filename: parameter(disposition, "filename").map(str::to_owned),
            value: body.slice(at + head_end..at + end),
        });
        at += end + delimiter.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_files_come_out_as_they_went_in() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\r\n2\r\n--x\r\ncontent-disposition: form-data; \
                    name=\"file\"; filename=\"f.txt\"\r\ncontent-type: text/plain\r\n\r\n\r\n--x--\r\n";
        let fields = fields("multipart/form-data; boundary=x", &Bytes::from_static(body.as_bytes())).unwrap();
        let fields: Vec<_> = fields.iter().map(|it| (&*it.name, it.filename.as_deref(), &it.value[..])).collect();
        assert_eq!(fields, [("a", None, &b"1\r\n\r\n2"[..]), ("file", Some("f.txt"), &b""[..])]);
    }
}
