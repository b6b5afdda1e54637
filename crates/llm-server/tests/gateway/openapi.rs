//! `/openapi.json` beside the routes that there are.

use serde_json::{Value, json};

use crate::process::{Gateway, Upstream, config};
use crate::wire::{Answer, Connection};

fn ask(gateway: &Gateway, method: &str, path: &str, key: &str) -> Answer {
    let mut connection = Connection::open(gateway.addr());
    let key = format!("Bearer {key}");
    let headers: &[(&str, &str)] = if key == "Bearer " { &[] } else { &[("authorization", &key)] };
    connection.request(method, path, headers, b"");
    connection.answer().expect("an answer")
}

/// A path with names in its places.
fn filled(path: &str) -> String {
    let path = path.replace("/models/{id}", "/models/up/sim").replace("{part}", "app.js");
    path.replace("{model}", "up%2Fsim").replace("{id}", "of-a-name")
}

/// What of `value` is not as `schema` says, where.
fn complaints(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(&name[1..]).expect("a schema");
        return complaints(document, target, value, place);
    }
    if let Some(options) = schema["anyOf"].as_array() {
        let all = options.iter().map(|option| complaints(document, option, value, place));
        return all.min_by_key(Vec::len).unwrap_or_default();
    }
    let mut found = Vec::new();
    let types = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let is = |word: &Value| match word.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => true,
    };
    if !types.iter().any(is) {
        found.push(format!("{place} is {value} and not {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        found.push(format!("{place} is {value} and none of {}", schema["enum"]));
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.extend(required.filter(|name| value.get(name).is_none()).map(|name| format!("{place} has no {name}")));
    for (name, member) in value.as_object().into_iter().flatten() {
        let of_member = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        match of_member {
            Some(of_member) => found.extend(complaints(document, of_member, member, &format!("{place}/{name}"))),
            None if schema["properties"].is_object() => found.push(format!("{place}/{name} is not documented")),
            None => {}
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(complaints(document, &schema["items"], item, &format!("{place}/{number}")));
    }
    found
}

#[test]
fn every_documented_method_is_the_routes_and_needs_the_documented_scope() {
    let upstream = Upstream::start();
    let keys = "[server]\napi_keys = [\"plain\", { key = \"boss\", scopes = [\"admin\"] }]\n";
    let gateway = Gateway::start(&config(upstream.0.addr, keys), &[]);
    let document = ask(&gateway, "GET", "/openapi.json", "").json();
    assert_eq!(
        (&document["openapi"], &document["info"]["version"]),
        (&"3.1.0".into(), &env!("CARGO_PKG_VERSION").into())
    );
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut documented: Vec<_> = item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        documented.sort();
        // A method that no route has is answered with those that it has; the data plane has one.
        let other = ask(&gateway, "TRACE", &filled(path), "boss");
        assert_eq!(other.status, 405, "{path}: {}", other.text());
        if let Some(allowed) = other.header("allow") {
            let mut allowed: Vec<_> = allowed.split(',').filter(|method| *method != "HEAD").collect();
            allowed.sort_unstable();
            assert_eq!(allowed, documented, "{path}");
        }
        for method in documented {
            let operation = &item[method.to_lowercase()];
            let statuses = ["", "plain", "boss"].map(|key| ask(&gateway, &method, &filled(path), key).status);
            let refused = statuses.map(|status| [401, 403].contains(&status));
            let expected = match operation["security"][0]["bearer"][0].as_str() {
                Some("admin") => [true, true, false],
                Some("inference") => [true, false, true],
                _ => [false, false, false],
            };
            assert_eq!(refused, expected, "{method} {path}: {statuses:?}");
            for status in statuses {
                let known = operation["responses"].get(status.to_string());
                assert!(known.is_some(), "{method} {path}: the status {status} is not documented");
            }
        }
    }
}

#[test]
fn answers_have_the_documented_shape() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(&upstream, crate::dashboard::SETUP);
    let document = ask(&gateway, "GET", "/openapi.json", "").json();
    crate::dashboard::use_it(&gateway);
    assert_eq!(gateway.chat_with("fast", "why", &[("x-request-id", "of-a-name")]).status, 200);
    let mut checked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            if schema.is_null() || operation["tags"] == json!(["inference"]) && method == "post" {
                continue;
            }
            let answer = ask(&gateway, &method.to_uppercase(), &filled(path), "");
            assert_eq!(answer.status, 200, "{path}");
            let found = complaints(&document, schema, &answer.json(), path);
            assert_eq!(found, Vec::<String>::new());
            checked += 1;
        }
    }
    assert!(checked >= 11, "{checked}");
    let unknown = ask(&gateway, "GET", "/api/v1/explain/nobody", "");
    let schema = json!({ "$ref": "#/components/schemas/Error" });
    assert_eq!(complaints(&document, &schema, &unknown.json(), "error"), Vec::<String>::new());
}
