//! Messages as Vertex AI takes them: the path names the model, the body says by which version it is to be read.

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::json::{Raw, Writer};

const VERSION: &[u8] = br#""anthropic_version":"vertex-2023-10-16""#;

/// `body` with the version in the place of the model's name; the rest of its bytes stay as they are. A body that says the
/// version itself only loses the name.
pub(crate) fn without_model(body: &Bytes) -> Bytes {
    let Some(raw) = Raw::parse(body).ok() else { return body.clone() };
    if raw.member("anthropic_version").is_some() {
        let mut writer = Writer::default();
        writer.object(|writer| {
            for (name, value) in raw.members().filter(|(name, _)| name != "model") {
                writer.key(&name).text(value.text());
            }
        });
        return writer.into_bytes();
    }
    let Some(model) = raw.member("model") else { return body.clone() };
    let start = model.text().as_ptr() as usize - body.as_ptr() as usize;
    // The key, however it is spelled: there is no quote within, and nothing but white space and a colon behind.
    let quote = |before: usize| body[..before].iter().rposition(|byte| *byte == b'"');
    let Some(key) = quote(start).and_then(quote) else { return body.clone() };
    joined(&[&body[..key], VERSION, &body[start + model.text().len()..]])
}

/// `body` with the version, for a question whose path names no model.
pub(crate) fn with_version(body: &Bytes) -> Bytes {
    match Raw::parse(body) {
        Ok(raw) if raw.member("anthropic_version").is_none() && raw.members().next().is_some() => {
            let open = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
            joined(&[&body[..open], VERSION, b",", &body[open..]])
        }
        _ => body.clone(),
    }
}

fn joined(pieces: &[&[u8]]) -> Bytes {
    let mut joined = BytesMut::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| joined.put_slice(piece));
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_name_makes_room_for_the_version() {
        for (body, sent) in [
            (r#"{"model":"m","a":1.0}"#, r#"{"anthropic_version":"vertex-2023-10-16","a":1.0}"#),
            (r#"{ "a": 1.0, "mod\u0065l" : "m" }"#, r#"{ "a": 1.0, "anthropic_version":"vertex-2023-10-16" }"#),
            (r#"{"model":"m","anthropic_version":"v", "a":1.0}"#, r#"{"anthropic_version":"v","a":1.0}"#),
        ] {
            assert_eq!(without_model(&Bytes::from(body)), sent, "{body}");
        }
        let counted = with_version(&Bytes::from(r#" { "model":"m"}"#));
        assert_eq!(counted, r#" {"anthropic_version":"vertex-2023-10-16", "model":"m"}"#);
    }
}
