//! What the simulated account keeps: files, uploads, batches and responses.

use std::collections::VecDeque;

use bytes::Bytes;
use llm_core::{Error, ErrorKind};
use serde_json::{Value, json};

use super::form::Field;
use crate::sim::simulator::CREATED;
use crate::wire::responses::previous_response;

/// The most objects that are kept, and the most bytes of files, the last aside; then the oldest go.
const MOST: usize = 1000;
const MOST_BYTES: usize = 64 << 20;

/// What is kept, oldest first.
#[derive(Debug, Default)]
pub(super) struct Objects {
    kept: VecDeque<Object>,
    bytes: usize,
    made: u64,
}

#[derive(Debug)]
struct Object {
    id: String,
    shown: Value,
    content: Bytes,
}

impl Objects {
    /// Answers what is asked of `path`, below the version. A file's content comes as it is.
    ///
    /// # Errors
    /// `NotFound` and `InvalidRequest`, as the API says them.
    pub(super) fn answer(&mut self, asked: &Asked<'_>) -> Result<Answer, Error> {
        let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
        match (asked.method, parts.as_slice()) {
            ("GET", [kind @ ("files" | "batches")]) => Ok(Answer::Json(self.list(kind))),
            ("GET", ["files" | "batches", id]) => Ok(Answer::Json(self.find(id)?.shown.clone())),
            ("GET", ["files", id, "content"]) => Ok(Answer::Content(self.find(id)?.content.clone())),
            ("GET", ["responses", id]) => Ok(Answer::Json(self.find(id)?.shown.clone())),
            ("GET", ["responses", id, "input_items"]) => {
                self.find(id)?;
                Ok(Answer::Json(json!({ "object": "list", "data": [], "has_more": false })))
            }
            ("POST", ["responses", id, "cancel"]) => Ok(Answer::Json(self.change(id, "cancelled")?.clone())),
            ("DELETE", [kind @ ("files" | "responses"), id]) => {
                let place = self.kept.iter().position(|object| object.id == *id).ok_or_else(|| missing(id))?;
                self.bytes -= self.kept.remove(place).map_or(0, |object| object.content.len());
                Ok(Answer::Json(json!({ "id": id, "object": kind.trim_end_matches('s'), "deleted": true })))
            }
            ("POST", ["files"]) => {
                let file = asked.field("file")?;
                let purpose = asked.text("purpose")?;
                let name = file.filename.as_deref().unwrap_or("file");
                Ok(Answer::Json(self.add_file(name, &purpose, file.value.clone())))
            }
            ("POST", ["uploads"]) => {
                let upload = asked.json()?;
                let shown = json!({
                    "object": "upload", "bytes": upload["bytes"], "created_at": CREATED, "filename": upload["filename"],
                    "purpose": upload["purpose"], "status": "pending", "expires_at": CREATED + 3600,
                });
                Ok(Answer::Json(self.add("upload_", shown, Bytes::new())))
            }
            ("POST", ["uploads", id, "parts"]) => {
                self.find(id)?;
                let data = asked.field("data")?.value.clone();
                let shown = json!({ "object": "upload.part", "created_at": CREATED, "upload_id": id });
                Ok(Answer::Json(self.add("part_", shown, data)))
            }
            ("POST", ["uploads", id, "complete"]) => {
                let (upload, order) = (self.find(id)?.shown.clone(), asked.json()?);
                let ids = order["part_ids"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let parts = ids.map(|id| self.find(id).map(|part| part.content.clone()));
                let content = parts.collect::<Result<Vec<_>, Error>>()?.concat();
                if upload["bytes"] != content.len() {
                    return Err(Error::new(ErrorKind::InvalidRequest, "the parts are not of the announced length"));
                }
                let word = |name: &str| upload[name].as_str().unwrap_or_default().to_owned();
                let file = self.add_file(&word("filename"), &word("purpose"), content.into());
                let shown = self.change(id, "completed")?;
                shown["file"] = file;
                Ok(Answer::Json(shown.clone()))
            }
            ("POST", ["uploads", id, "cancel"]) => Ok(Answer::Json(self.change(id, "cancelled")?.clone())),
            ("POST", ["batches"]) => {
                let batch = asked.json()?;
                self.find(batch["input_file_id"].as_str().unwrap_or_default())?;
                let shown = json!({
                    "object": "batch", "endpoint": batch["endpoint"], "input_file_id": batch["input_file_id"],
                    "completion_window": batch["completion_window"], "metadata": batch["metadata"],
                    "status": "validating", "created_at": CREATED, "errors": null, "output_file_id": null,
                    "request_counts": { "total": 0, "completed": 0, "failed": 0 },
                });
                Ok(Answer::Json(self.add("batch_", shown, Bytes::new())))
            }
            ("POST", ["batches", id, "cancel"]) => Ok(Answer::Json(self.change(id, "cancelling")?.clone())),
            _ => Err(Error::new(ErrorKind::NotFound, "there is nothing at this path").with_code("unknown_url")),
        }
    }

    /// Keeps a response, as it was answered.
    pub(super) fn keep_response(&mut self, answer: &[u8]) {
        if let Ok(shown) = serde_json::from_slice::<Value>(answer) {
            let id = shown["id"].as_str().unwrap_or_default().to_owned();
            self.push(Object { id, shown, content: Bytes::new() });
        }
    }

    /// The body of a request for a response without what only the account can understand: which one it goes on from.
    ///
    /// # Errors
    /// `InvalidRequest` when that is not known.
    pub(super) fn gone_on(&self, body: Bytes) -> Result<Bytes, Error> {
        let Some(previous) = previous_response(&body) else { return Ok(body) };
        if self.find(&previous).is_err() {
            let message = format!("Previous response with id '{previous}' not found.");
            let error = Error::new(ErrorKind::InvalidRequest, message).with_param("previous_response_id");
            return Err(error.with_code("previous_response_not_found"));
        }
        let mut asked: Value = serde_json::from_slice(&body)
            .map_err(|error| Error::new(ErrorKind::InvalidRequest, format!("the body is not JSON: {error}")))?;
        asked.as_object_mut().and_then(|asked| asked.remove("previous_response_id"));
        Ok(asked.to_string().into())
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn list(&self, kind: &str) -> Value {
        let object = if kind == "files" { "file" } else { "batch" };
        let data: Vec<_> =
            self.kept.iter().rev().filter(|it| it.shown["object"] == object).map(|it| &it.shown).collect();
        json!({ "object": "list", "data": data, "has_more": false })
    }

    fn find(&self, id: &str) -> Result<&Object, Error> {
        self.kept.iter().find(|object| object.id == id).ok_or_else(|| missing(id))
    }

    fn change(&mut self, id: &str, status: &str) -> Result<&mut Value, Error> {
        let object = self.kept.iter_mut().find(|object| object.id == id).ok_or_else(|| missing(id))?;
        object.shown["status"] = status.into();
        Ok(&mut object.shown)
    }

    fn add_file(&mut self, filename: &str, purpose: &str, content: Bytes) -> Value {
        let shown = json!({
            "object": "file", "bytes": content.len(), "created_at": CREATED, "filename": filename,
            "purpose": purpose, "status": "processed",
        });
        self.add("file-", shown, content)
    }

    fn add(&mut self, prefix: &str, mut shown: Value, content: Bytes) -> Value {
        self.made += 1;
        let id = format!("{prefix}sim{}", self.made);
        shown["id"] = id.as_str().into();
        self.push(Object { id, shown: shown.clone(), content });
        shown
    }

    fn push(&mut self, object: Object) {
        self.bytes += object.content.len();
        self.kept.push_back(object);
        while self.kept.len() > MOST || (self.bytes > MOST_BYTES && self.kept.len() > 1) {
            self.bytes -= self.kept.pop_front().map_or(0, |object| object.content.len());
        }
    }
}

fn missing(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no such object: {id}")).with_param("id")
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
    /// The fields of the body, where it is a form.
    pub(super) fields: &'a [Field],
}

impl Asked<'_> {
    fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(self.body)
            .map_err(|error| Error::new(ErrorKind::InvalidRequest, format!("the body is not JSON: {error}")))
    }

    fn field(&self, name: &str) -> Result<&Field, Error> {
        let missing = || Error::new(ErrorKind::InvalidRequest, format!("`{name}` is missing")).with_param(name);
        self.fields.iter().find(|field| field.name == name).ok_or_else(missing)
    }

    fn text(&self, name: &str) -> Result<String, Error> {
        self.field(name).map(|field| String::from_utf8_lossy(&field.value).into_owned())
    }
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Answer {
    Json(Value),
    Content(Bytes),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(objects: &mut Objects, length: usize) -> Result<Answer, Error> {
        let field = |name: &str, value: Bytes| Field { name: name.into(), filename: None, value };
        let fields = [field("file", vec![0; length].into()), field("purpose", Bytes::from_static(b"batch"))];
        objects.answer(&Asked { method: "POST", path: "/files", body: b"", fields: &fields })
    }

    #[test]
    fn the_oldest_go_where_too_much_is_kept() {
        let mut objects = Objects::default();
        for _ in 0..MOST + 5 {
            file(&mut objects, 1).unwrap();
        }
        assert_eq!(objects.kept.len(), MOST);
        file(&mut objects, MOST_BYTES + 1).unwrap();
        assert_eq!((objects.kept.len(), objects.bytes), (1, MOST_BYTES + 1));
    }
}
