//! `/openapi.json`: the gateway's own routes, for those who make clients and forms of such a document.
//!
//! The document is a file; the shape of [`Overview`] is the type's, and joins it when the process starts.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::overview::Overview;
use crate::process::Process;

pub(crate) fn routes() -> Router<Arc<Process>> {
    Router::new().route("/openapi.json", get(show))
}

async fn show() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());
    ([(CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}

/// The document, complete.
fn document() -> Value {
    let mut document: Value = serde_json::from_str(include_str!("openapi/document.json")).expect("a test reads it");
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let place = |settings: &mut SchemaSettings| settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaSettings::draft2020_12().with(place).into_generator();
    generator.subschema_for::<Overview>();
    let schemas = document["components"]["schemas"].as_object_mut().expect("a test reads it");
    schemas.extend(generator.take_definitions(true));
    document
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::app::App;
    use crate::config::Source;
    use crate::http::operations;
    use crate::http::tls::Tls;
    use crate::telemetry::Telemetry;

    fn documented() -> BTreeSet<String> {
        document()["paths"].as_object().unwrap().keys().cloned().collect()
    }

    /// A path as the document writes it.
    fn written(path: &str) -> String {
        match path.strip_prefix("/dashboard/") {
            Some(_) => "/dashboard/{part}".to_owned(),
            None => path.replace("{*", "{"),
        }
    }

    /// The paths of the router, as its own description names them.
    fn routed() -> BTreeSet<String> {
        let loaded = Source::default().load().unwrap();
        let telemetry = Telemetry::start(&loaded).unwrap();
        let app = App::new(&loaded, telemetry.observer(), None).unwrap();
        let process = Arc::new(Process::new(app, Tls::new(None), telemetry, None));
        let described = format!("{:?}", operations::routes(process));
        described.split('"').filter(|word| word.starts_with('/') && !word.contains("__private")).map(written).collect()
    }

    /// The paths that stand as text in a file of this folder; those of the data plane are matched by hand.
    fn spelled() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let sources = files.filter(|file| file.extension().is_some_and(|ending| ending == "rs"));
        let texts = sources.map(|file| std::fs::read_to_string(file).unwrap());
        let code = texts.map(|text| text.split("mod tests {").next().unwrap_or_default().to_owned());
        let words = |text: String| text.split('"').map(str::to_owned).collect::<Vec<_>>();
        code.flat_map(words)
            .filter(|word| (word.starts_with("/v1") || word.starts_with("/api/")) && !word.ends_with('/'))
            .map(|it| written(&it))
            .collect()
    }

    #[test]
    fn every_route_is_documented_and_nothing_else_is() {
        let (documented, routed, spelled) = (documented(), routed(), spelled());
        assert!(routed.contains("/v1/models/{id}") && spelled.contains("/v1/chat/completions"));
        let known: BTreeSet<_> = routed.union(&spelled).cloned().collect();
        assert_eq!(known, documented);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        fn collect<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| collect(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        collect(&document, &mut found);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let known: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
        assert_eq!(found, known.iter().map(String::as_str).collect());
    }

    #[test]
    fn no_schema_of_the_file_hides_behind_one_of_a_type() {
        let file: Value = serde_json::from_str(include_str!("openapi/document.json")).unwrap();
        let (whole, mut types) = (document(), 0);
        for (name, schema) in whole["components"]["schemas"].as_object().unwrap() {
            match file["components"]["schemas"].get(name) {
                Some(written) => assert_eq!(written, schema, "{name}"),
                None => types += 1,
            }
        }
        assert_eq!(types, 12);
    }
}
