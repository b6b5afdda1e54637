//! JSON Schema from Google's subset of OpenAPI's schemas.

use llm_core::Json;

use super::member::{count, member, members};
use crate::wire::json::{Kind, Raw, Writer};

/// The JSON Schema that says what `raw` says: types in lower case, `nullable` as a type, no order of properties.
pub(super) fn from_openapi(raw: Raw<'_>) -> Json {
    let mut writer = Writer::default();
    write(&mut writer, raw);
    let text = String::from_utf8(writer.into_bytes().to_vec()).expect("it is made of JSON texts");
    Json::parse(text).expect("it is made of JSON texts")
}

fn write(writer: &mut Writer, raw: Raw<'_>) {
    if raw.kind() != Kind::Object {
        return writer.text(raw.text());
    }
    let nullable = member(raw, "nullable").and_then(Raw::bool) == Some(true);
    let typed = member(raw, "type").is_some();
    writer.object(|writer| {
        for (key, value) in members(raw) {
            match key.as_ref() {
                "nullable" | "propertyOrdering" => {}
                "default" | "example" => writer.key(&key).text(value.text()),
                _ if value.is_null() => {}
                "type" => write_type(writer, value, nullable),
                "properties" | "defs" | "$defs" => {
                    let key = if key == "properties" { "properties" } else { "$defs" };
                    writer.key(key).object(|writer| {
                        value.members().for_each(|(name, schema)| write(writer.key(&name), schema));
                    });
                }
                "ref" => writer.key("$ref").text(value.text()),
                "items" | "additionalProperties" => write(writer.key(&key), value),
                "anyOf" | "oneOf" | "allOf" | "prefixItems" => writer.key(&key).array(|writer| {
                    value.items().for_each(|schema| write(writer, schema));
                    if nullable && !typed && key == "anyOf" {
                        writer.object(|writer| writer.key("type").string("null"));
                    }
                }),
                "enum" if nullable => writer.key("enum").array(|writer| {
                    value.items().for_each(|item| writer.text(item.text()));
                    writer.null();
                }),
                // Google writes 64 bits as a string.
                "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                    match count(value) {
                        Some(count) => writer.key(&key).integer(count),
                        None => writer.key(&key).text(value.text()),
                    }
                }
                _ => writer.key(&key).text(value.text()),
            }
        }
    });
}

fn write_type(writer: &mut Writer, raw: Raw<'_>, nullable: bool) {
    let mut types: Vec<String> = match raw.kind() {
        Kind::Array => raw.items().filter_map(Raw::string).map(|name| name.to_ascii_lowercase()).collect(),
        _ => raw.string().map(|name| name.to_ascii_lowercase()).into_iter().collect(),
    };
    types.retain(|name| name != "type_unspecified");
    if nullable && !types.is_empty() && !types.iter().any(|name| name == "null") {
        types.push("null".to_owned());
    }
    match types.as_slice() {
        [] => {}
        [only] => writer.key("type").string(only),
        types => writer.key("type").array(|writer| types.iter().for_each(|name| writer.string(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_openapi_schema_becomes_a_json_schema() {
        for (given, expected) in [
            (r#"{"type":"STRING","nullable":true,"enum":["a"]}"#, r#"{"type":["string","null"],"enum":["a",null]}"#),
            (
                r#"{"type":"OBJECT","properties":{"type":{"type":"INTEGER","minimum":1.0},"any_of":{"type":"ARRAY","min_items":"2","items":{"type":"NUMBER"}}},"propertyOrdering":["type"],"required":["type"]}"#,
                r#"{"type":"object","properties":{"type":{"type":"integer","minimum":1.0},"any_of":{"type":"array","minItems":2,"items":{"type":"number"}}},"required":["type"]}"#,
            ),
            (r#"{"any_of":[{"type":"STRING"}],"nullable":true}"#, r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#),
            (r#"{"type":"TYPE_UNSPECIFIED","example":null}"#, r#"{"example":null}"#),
            ("true", "true"),
        ] {
            assert_eq!(from_openapi(Raw::parse(given.as_bytes()).unwrap()).as_str(), expected);
        }
    }
}
