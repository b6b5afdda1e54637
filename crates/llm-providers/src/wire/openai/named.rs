//! Bodies of routes that nothing here understands: which model they name.

use bytes::Bytes;
use llm_core::{Error, NamedModel};

use crate::wire::envelope::walk;
use crate::wire::json::Kind;
use crate::wire::read::duplicate;

/// The model that a JSON body names, and where; none where it names none. The body must be strict JSON, an object; what
/// else it says is the provider's to judge.
///
/// # Errors
/// `InvalidRequest`, naming the parameter, or the place where the body stops being JSON.
pub fn read_model(body: &Bytes) -> Result<Option<(Box<str>, NamedModel)>, Error> {
    let mut found = None;
    let mut seen = false;
    walk(
        body,
        |_| false,
        |name, value| {
            if name != "model" {
                return Ok(());
            }
            if std::mem::replace(&mut seen, true) {
                return Err(duplicate(name));
            }
            if value.kind() == Kind::Null {
                return Ok(());
            }
            let escaped = value.model()?;
            let at = value.span().range();
            let plain = || String::from_utf8_lossy(&body[at.start + 1..at.end - 1]).into();
            found = Some((escaped.unwrap_or_else(plain), NamedModel { at: at.clone(), quoted: true }));
            Ok(())
        },
    )?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_where_it_stands() {
        let body = Bytes::from_static(br#" {"a": {"model": "x"}, "model": "up\/m", "b": 1}"#);
        let (name, at) = read_model(&body).unwrap().unwrap();
        assert_eq!((&*name, &body[at.at]), ("up/m", &br#""up\/m""#[..]));
        for none in [&b"{}"[..], br#"{"model":null,"input":"x"}"#] {
            assert_eq!(read_model(&Bytes::from_static(none)).unwrap(), None);
        }
    }

    #[test]
    fn what_names_no_model_as_it_should_is_told() {
        for (body, param) in [
            (&br#"{"model":"a","model":"b"}"#[..], Some("model")),
            (br#"{"model":""}"#, Some("model")),
            (br#"{"model":1}"#, Some("model")),
            (b"[]", None),
            (b"{", None),
        ] {
            assert_eq!(read_model(&Bytes::from_static(body)).unwrap_err().param(), param);
        }
    }
}
