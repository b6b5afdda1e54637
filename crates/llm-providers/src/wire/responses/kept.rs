//! Responses that the provider keeps: which one a request goes on from, and whether its own answer is kept.

use memchr::memmem;

use crate::wire::json::Raw;

/// The response that a request goes on from (`previous_response_id`). `body` is one that
/// [`read_responses`](super::read_responses) has accepted.
#[must_use]
pub fn previous_response(body: &[u8]) -> Option<String> {
    let id = member(body, "previous_response_id")?.string()?.into_owned();
    (!id.is_empty()).then_some(id)
}

/// Whether the answer to a request is kept by its provider, so that others can go on from it.
#[must_use]
pub fn is_stored(body: &[u8]) -> bool {
    member(body, "store").is_none_or(|store| store.text() != "false")
}

/// The member `name`, looked for only where it may be.
fn member<'a>(body: &'a [u8], name: &str) -> Option<Raw<'a>> {
    let may_be = memmem::find(body, name.as_bytes()).is_some() || memmem::find(body, b"\\u00").is_some();
    if may_be { Raw::parse(body).ok()?.member(name) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_and_what_is_kept_is_found_however_it_is_spelled() {
        for (body, previous, stored) in [
            (r#"{"model":"m","previous_response_id":"resp_1"}"#, Some("resp_1"), true),
            (r#"{"previous\u005fresponse_id":"resp_1","store":false}"#, Some("resp_1"), false),
            (r#"{"previous_response_id":null,"store":true}"#, None, true),
            (r#"{"input":"previous_response_id","x":{"store":false}}"#, None, true),
        ] {
            assert_eq!((previous_response(body.as_bytes()).as_deref(), is_stored(body.as_bytes())), (previous, stored));
        }
    }
}
