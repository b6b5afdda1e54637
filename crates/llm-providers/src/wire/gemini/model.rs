//! The list of models.

use bytes::Bytes;
use llm_core::{Error, ErrorKind, Model};

use crate::wire::json::{Kind, Raw, Writer};

/// What names of models begin with.
const FOLDER: &str = "models/";

pub(super) fn decode_models(body: &[u8]) -> Result<Vec<Model>, Error> {
    let list = Raw::parse(body).ok().and_then(|raw| raw.member("models")).filter(|list| list.kind() == Kind::Array);
    let list = list.ok_or_else(|| Error::new(ErrorKind::BadAnswer, "the provider's answer has no list of models"))?;
    Ok(list.items().filter_map(read_model).collect())
}

fn read_model(raw: Raw<'_>) -> Option<Model> {
    let name = raw.member("name").and_then(Raw::string)?;
    Some(Model { id: name.strip_prefix(FOLDER).unwrap_or(&name).to_owned(), created: 0, owned_by: "google".to_owned() })
}

pub(super) fn encode_models(models: &[Model]) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("models").array(|writer| models.iter().for_each(|model| write_model(writer, model)));
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
        writer.key("name").string(&format!("{FOLDER}{}", model.id));
        writer.key("displayName").string(&model.id);
        writer.key("supportedGenerationMethods").array(|writer| {
            ["generateContent", "streamGenerateContent", "countTokens"].iter().for_each(|method| writer.string(method));
        });
    });
}
