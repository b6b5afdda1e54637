//! Questions for the number of tokens as Vertex AI takes them: of contents, not of a whole request.

use bytes::Bytes;

use super::member::{member, members};
use crate::wire::json::{Kind, Raw, Writer};

/// What `body`, a question of `generateContentRequest`, asks of its contents; another question is as it was.
pub(crate) fn bare_count(body: &Bytes) -> Bytes {
    let whole = Raw::parse(body).ok().and_then(|raw| member(raw, "generateContentRequest"));
    let Some(whole) = whole.filter(|whole| whole.kind() == Kind::Object) else { return body.clone() };
    let mut writer = Writer::default();
    writer.object(|writer| {
        // The path names the model.
        for (name, value) in members(whole).filter(|(name, _)| name != "model") {
            writer.key(&name).text(value.text());
        }
    });
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_request_is_taken_out_of_its_wrapping() {
        for (body, bare) in [
            (r#"{"contents": [1.0]}"#, r#"{"contents": [1.0]}"#),
            (
                r#"{"generateContentRequest": {"model": "models/m", "contents": [ 1.0 ], "tools": []}}"#,
                r#"{"contents":[ 1.0 ],"tools":[]}"#,
            ),
            (r#"{"generate_content_request": {"contents": []}}"#, r#"{"contents":[]}"#),
        ] {
            assert_eq!(bare_count(&Bytes::from(body)), bare);
        }
    }
}
