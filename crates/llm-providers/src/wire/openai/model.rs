//! The list of models.

use std::borrow::Cow;

use bytes::Bytes;
use llm_core::{Error, Model};

use super::answer::{no_answer, not_json};
use crate::wire::json::{Kind, Raw, Writer};

/// Reads a list of models; what has no `id` is left out.
///
/// # Errors
/// `BadAnswer` when it is none; what its `error` member says when it has one instead of `data`.
pub fn decode_models(body: &[u8]) -> Result<Vec<Model>, Error> {
    let raw = Raw::parse(body).map_err(|syntax| not_json(syntax, body))?;
    let list = raw.member("data").filter(|list| list.kind() == Kind::Array).ok_or_else(|| no_answer(raw, "data"))?;
    Ok(list.items().filter_map(read_model).collect())
}

/// Writes a list of models.
#[must_use]
pub fn encode_models(models: &[Model]) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("object").string("list");
        writer.key("data").array(|writer| models.iter().for_each(|model| write_model(writer, model)));
    });
    writer.into_bytes()
}

/// Writes one model.
#[must_use]
pub fn encode_model(model: &Model) -> Bytes {
    let mut writer = Writer::default();
    write_model(&mut writer, model);
    writer.into_bytes()
}

fn read_model(raw: Raw<'_>) -> Option<Model> {
    let text = |name| raw.member(name).and_then(Raw::string).map(Cow::into_owned);
    Some(Model {
        id: text("id")?,
        created: raw.member("created").and_then(Raw::u64).unwrap_or(0),
        owned_by: text("owned_by").unwrap_or_default(),
    })
}

fn write_model(writer: &mut Writer, model: &Model) {
    writer.object(|writer| {
        writer.key("id").string(&model.id);
        writer.key("object").string("model");
        writer.key("created").integer(model.created);
        writer.key("owned_by").string(&model.owned_by);
    });
}
