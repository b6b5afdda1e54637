//! The list of models.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use llm_core::{Error, ErrorKind, Model};

use crate::wire::date;
use crate::wire::json::{Kind, Raw, Writer};

pub(super) fn decode_models(body: &[u8]) -> Result<Vec<Model>, Error> {
    let list = Raw::parse(body).ok().and_then(|raw| raw.member("data")).filter(|list| list.kind() == Kind::Array);
    let list = list.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the provider's answer has no list of models"))?;
    Ok(list.items().filter_map(read_model).collect())
}

fn read_model(raw: Raw<'_>) -> Option<Model> {
    let text = |name| raw.member(name).and_then(Raw::string).map(Cow::into_owned);
    let created = text("created_at").and_then(|date| date::read(&date)).map_or(0, |since| since.as_secs());
    Some(Model { id: text("id")?, created, owned_by: "anthropic".to_owned() })
}

pub(super) fn encode_models(models: &[Model]) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("data").array(|writer| models.iter().for_each(|model| write_model(writer, model)));
        writer.key("has_more").raw(b"false");
        writer.key("first_id").optional_string(models.first().map(|model| model.id.as_str()));
        writer.key("last_id").optional_string(models.last().map(|model| model.id.as_str()));
    });
    writer.into_bytes()
}

pub(super) fn encode_model(model: &Model) -> Bytes {
    let mut writer = Writer::default();
    write_model(&mut writer, model);
    writer.into_bytes()
}

fn write_model(writer: &mut Writer, model: &Model) {
    writer.object(|writer| {
        writer.key("type").string("model");
        writer.key("id").string(&model.id);
        writer.key("display_name").string(&model.id);
        writer.key("created_at").string(&date::rfc3339(Duration::from_secs(model.created)));
    });
}
