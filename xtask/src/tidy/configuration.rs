//! Every key of the configuration is documented, and every documented key is read.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Outcome;
use crate::markdown;

/// What the schema reads and the page does not document, and the other way round.
///
/// `schema` is the JSON Schema of the configuration file, `page` the Markdown that documents it: each section a heading
/// that names it in backticks (`[server]`, `[[models]]`), below it a table with a column `key`. A key inside a table or a list
/// of tables is written with a dot (`targets.provider`).
pub(crate) fn undocumented_or_unread(schema: &str, page: &str) -> Outcome<Vec<String>> {
    let schema: Value =
        serde_json::from_str(schema).map_err(|error| format!("the configuration's schema is not JSON: {error}"))?;
    let mut read = BTreeMap::new();
    walk(&schema, &schema, "", 0, &mut read);
    let documented = documented(page);
    let missing = read
        .iter()
        .filter(|(path, shape)| **shape == Shape::Leaf && !documented.contains(path))
        .map(|(path, _)| format!("docs/configuration.md lacks `{path}`"));
    let unread = documented
        .iter()
        .filter(|path| !read.contains_key(*path))
        .map(|path| format!("docs/configuration.md documents `{path}`, which nothing reads"));
    Ok(missing.chain(unread).collect())
}

/// Whether a property has properties of its own; such a one need not be documented beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Leaf,
    Table,
}

/// A schema that refers to itself ends here.
const DEEPEST: usize = 8;

/// Notes each property below `node`, by its path; returns whether there was one.
fn walk(root: &Value, node: &Value, path: &str, depth: usize, found: &mut BTreeMap<String, Shape>) -> bool {
    if depth > DEEPEST {
        return false;
    }
    let mut any = false;
    if let Some(target) = node["$ref"].as_str().and_then(|link| root.pointer(link.trim_start_matches('#'))) {
        any |= walk(root, target, path, depth + 1, found);
    }
    for part in ["anyOf", "oneOf", "allOf"].iter().flat_map(|key| node[*key].as_array().into_iter().flatten()) {
        any |= walk(root, part, path, depth, found);
    }
    if node["items"].is_object() {
        any |= walk(root, &node["items"], path, depth, found);
    }
    for (name, property) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let has_own = walk(root, property, &path, depth + 1, found);
        let shape = if has_own { Shape::Table } else { Shape::Leaf };
        // A key with two shapes (a string, or a table) is a table: its own keys are what is documented.
        let entry = found.entry(path).or_insert(shape);
        if shape == Shape::Table {
            *entry = shape;
        }
        any = true;
    }
    any
}

fn documented(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for table in markdown::tables(page) {
        let Some(column) = table.column("key") else { continue };
        let section = markdown::code_spans(&table.heading)
            .find_map(|span| span.strip_prefix('[').and_then(|span| span.strip_suffix(']')))
            .map(|span| span.trim_matches(['[', ']']));
        for key in column.flat_map(markdown::code_spans) {
            found.push(section.map_or_else(|| key.to_owned(), |section| format!("{section}.{key}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{
        "properties": {
            "server": { "$ref": "#/$defs/Server" },
            "models": { "type": "array", "items": { "$ref": "#/$defs/Model" } },
            "rate_limits": { "anyOf": [{ "$ref": "#/$defs/Limits" }, { "type": "null" }] }
        },
        "$defs": {
            "Server": { "properties": {
                "listen": { "type": "string" },
                "api_keys": { "items": { "anyOf": [{ "type": "string" }, { "properties": { "key": {} } }] } } } },
            "Model": { "properties": { "name": {}, "targets": { "items": { "properties": { "provider": {} } } } } },
            "Limits": { "properties": { "enabled": { "type": "boolean" } } }
        }
    }"##;

    const PAGE: &str = "\
## `[server]`
| key | default |
|---|---|
| `listen` | x |
| `api_keys` | none |
| `api_keys.key` | |

## `[[models]]`
| key | default |
|---|---|
| `name` | |
| `targets.provider` | |

## `[rate_limits]`
| key |
|---|
| `enabled` |
";

    #[test]
    fn a_page_that_documents_every_key_passes() {
        assert_eq!(undocumented_or_unread(SCHEMA, PAGE), Ok(vec![]));
    }

    #[test]
    fn a_key_that_is_read_but_not_documented_is_named() {
        let page = PAGE.replace("| `listen` | x |\n", "");
        assert_eq!(
            undocumented_or_unread(SCHEMA, &page),
            Ok(vec!["docs/configuration.md lacks `server.listen`".to_owned()])
        );
    }

    #[test]
    fn a_key_that_is_documented_but_not_read_is_named() {
        let page = PAGE.replace("`enabled`", "`enabled`, `window`");
        assert_eq!(
            undocumented_or_unread(SCHEMA, &page),
            Ok(vec!["docs/configuration.md documents `rate_limits.window`, which nothing reads".to_owned()])
        );
    }

    #[test]
    fn the_same_key_in_another_section_does_not_count() {
        let page = PAGE.replace("| `name` | |\n", "");
        assert_eq!(
            undocumented_or_unread(SCHEMA, &page),
            Ok(vec!["docs/configuration.md lacks `models.name`".to_owned()])
        );
    }
}
