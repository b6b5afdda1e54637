//! The smallest JSON value that a schema accepts.

use serde_json::{Map, Value, json};

/// How deep a value may be nested; a schema that demands more, or itself, gets null below.
const DEEPEST: usize = 32;

/// The longest array, string or list of members that is made.
const LONGEST: u64 = 1000;

/// A value that `schema` accepts: required members only, the fewest items, the first of several choices.
///
/// Knows `type`, `enum`, `const`, `properties`, `required`, `minProperties`, `items`, `prefixItems`, `minItems`,
/// `uniqueItems`, lengths, `format`, bounds, `multipleOf`, `anyOf`, `oneOf`, `allOf` and `$ref` within the schema.
/// `pattern`, `not` and conditions are not looked at.
pub(crate) fn instance(schema: &Value) -> Value {
    Maker { root: schema }.make(schema, 0)
}

struct Maker<'a> {
    root: &'a Value,
}

impl Maker<'_> {
    fn make(&self, schema: &Value, depth: usize) -> Value {
        let Some(schema) = schema.as_object().filter(|_| depth < DEEPEST) else { return Value::Null };
        if let Some(value) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
            return value.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.make(target, depth + 1));
        }
        for choices in ["anyOf", "oneOf"] {
            if let Some(first) = schema.get(choices).and_then(|choices| choices.get(0)) {
                return self.make(&merged(schema, choices, std::slice::from_ref(first)), depth + 1);
            }
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            let all: Vec<_> = all.iter().map(|part| self.resolved(part)).collect();
            return self.make(&merged(schema, "allOf", &all), depth + 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "string" => Value::String(string(schema)),
            "integer" => number(schema, true),
            "number" => number(schema, false),
            "boolean" => Value::Bool(true),
            _ => Value::Null,
        }
    }

    fn object(&self, schema: &Map<String, Value>, depth: usize) -> Value {
        let no_properties = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&no_properties);
        let other = schema.get("additionalProperties").filter(|other| other.is_object());
        let any = json!({"type": "string"});
        let mut object = Map::new();
        let add = |object: &mut Map<String, Value>, name: &str| {
            let of = properties.get(name).or(other).unwrap_or(&any);
            object.insert(name.into(), self.make(of, depth + 1));
        };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            add(&mut object, name);
        }
        let least = bound(schema, "minProperties") as usize;
        let invented: Vec<_> = (0..least).map(|number| format!("member{number}")).collect();
        for name in properties.keys().chain(&invented) {
            if object.len() < least && !object.contains_key(name) {
                add(&mut object, name);
            }
        }
        Value::Object(object)
    }

    fn array(&self, schema: &Map<String, Value>, depth: usize) -> Value {
        let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let any = json!({"type": "string"});
        let items = schema.get("items").filter(|items| items.is_object()).unwrap_or(&any);
        let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let items = (0..bound(schema, "minItems") as usize).map(|at| {
            let of = first.get(at).unwrap_or(items);
            let item = self.make(of, depth + 1);
            if unique { different(item, of, at) } else { item }
        });
        Value::Array(items.collect())
    }

    /// `schema`, or what it refers to.
    fn resolved(&self, schema: &Value) -> Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        target.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema).clone()
    }
}

/// `schema` without its member `choices`, and with what `parts` demand.
fn merged(schema: &Map<String, Value>, choices: &str, parts: &[Value]) -> Value {
    let mut all = schema.clone();
    all.remove(choices);
    for part in parts.iter().filter_map(Value::as_object) {
        for (key, value) in part {
            match (all.get_mut(key), value) {
                (Some(Value::Object(properties)), Value::Object(more)) if key == "properties" => {
                    properties.extend(more.clone());
                }
                (Some(Value::Array(required)), Value::Array(more)) if key == "required" => {
                    required.extend(more.clone());
                }
                _ => drop(all.insert(key.clone(), value.clone())),
            }
        }
    }
    Value::Object(all)
}

/// The schema's first type, or the one that its other members speak of.
fn kind(schema: &Map<String, Value>) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if ["properties", "required", "minProperties"].iter().any(|key| schema.contains_key(*key)) => "object",
        _ if ["items", "prefixItems", "minItems"].iter().any(|key| schema.contains_key(*key)) => "array",
        _ if ["minimum", "maximum", "multipleOf"].iter().any(|key| schema.contains_key(*key)) => "number",
        _ => "string",
    }
}

fn bound(schema: &Map<String, Value>, key: &str) -> u64 {
    schema.get(key).and_then(Value::as_u64).unwrap_or(0).min(LONGEST)
}

fn string(schema: &Map<String, Value>) -> String {
    let formatted = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2024-01-01T00:00:00Z",
        Some("date") => "2024-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "PT1S",
        Some("email") => "sim@example.com",
        Some("hostname") => "example.com",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uri") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => {
            let mut text = String::from("sim");
            let least = bound(schema, "minLength") as usize;
            text.extend(std::iter::repeat_n('x', least.saturating_sub(text.len())));
            let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(LONGEST).min(LONGEST);
            text.truncate(most as usize);
            return text;
        }
    };
    formatted.into()
}

/// The smallest number that is allowed and not negative, else the largest.
fn number(schema: &Map<String, Value>, whole: bool) -> Value {
    let of = |key: &str| schema.get(key).and_then(Value::as_f64);
    let step = of("multipleOf").filter(|step| *step > 0.0).unwrap_or(1.0);
    let step = if whole && step.fract() != 0.0 { 1.0 } else { step };
    let at_least = of("minimum").map_or(f64::NEG_INFINITY, |least| (least / step).ceil() * step);
    let above = of("exclusiveMinimum").map_or(f64::NEG_INFINITY, |least| ((least / step).floor() + 1.0) * step);
    let at_most = of("maximum").map_or(f64::INFINITY, |most| (most / step).floor() * step);
    let below = of("exclusiveMaximum").map_or(f64::INFINITY, |most| ((most / step).ceil() - 1.0) * step);
    let least = at_least.max(above);
    let mut value = 0.0_f64.max(least).min(at_most.min(below));
    if value < least && !whole && !schema.contains_key("multipleOf") {
        // Between two whole numbers.
        let low = of("minimum").or(of("exclusiveMinimum")).unwrap_or(0.0);
        let high = of("maximum").or(of("exclusiveMaximum")).unwrap_or(low);
        value = low + (high - low) / 2.0;
    }
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// `value`, changed so that no other place in its array has it. Booleans and objects stay as they are.
fn different(value: Value, schema: &Value, at: usize) -> Value {
    match value {
        _ if schema.get("enum").is_some() => schema["enum"].get(at).cloned().unwrap_or(value),
        Value::String(text) => Value::String(if at == 0 { text } else { format!("{text}{at}") }),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json!(number + at as i64),
            None => json!(number.as_f64().unwrap_or(0.0) + at as f64),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `schema` accepts `value`: a checker that knows the same keywords, written apart from the maker.
    fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
        let all = |key: &str, test: &dyn Fn(&Value) -> bool| schema.get(key).is_none_or(test);
        let f = |key: &str, test: &dyn Fn(f64, f64) -> bool| {
            all(key, &|bound| value.as_f64().is_none_or(|value| test(value, bound.as_f64().unwrap())))
        };
        let length = |key: &str, size: Option<usize>, test: &dyn Fn(u64, u64) -> bool| {
            all(key, &|bound| size.is_none_or(|size| test(size as u64, bound.as_u64().unwrap())))
        };
        let chars = value.as_str().map(|text| text.chars().count());
        let items = value.as_array().map(Vec::len);
        let members = value.as_object().map(Map::len);
        let is = |kind: &str| match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.as_f64().is_some_and(|value| value.fract() == 0.0),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("unknown type {other}"),
        };
        all("type", &|kind| match kind {
            Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
            kind => is(kind.as_str().unwrap()),
        }) && all("const", &|only| only == value)
            && all("enum", &|values| values.as_array().unwrap().contains(value))
            && all("$ref", &|target| accepts(root, root.pointer(&target.as_str().unwrap()[1..]).unwrap(), value))
            && all("anyOf", &|any| any.as_array().unwrap().iter().any(|schema| accepts(root, schema, value)))
            && all("oneOf", &|one| {
                one.as_array().unwrap().iter().filter(|schema| accepts(root, schema, value)).count() == 1
            })
            && all("allOf", &|all| all.as_array().unwrap().iter().all(|schema| accepts(root, schema, value)))
            && all("required", &|names| {
                names
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| value.as_object().is_none_or(|object| object.contains_key(name.as_str().unwrap())))
            })
            && all("properties", &|properties| {
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .all(|(name, member)| properties.get(name).is_none_or(|schema| accepts(root, schema, member)))
            })
            && all("additionalProperties", &|other| {
                value.as_object().into_iter().flatten().all(|(name, member)| {
                    schema.get("properties").is_some_and(|properties| properties.get(name).is_some())
                        || match other {
                            Value::Bool(allowed) => *allowed,
                            other => accepts(root, other, member),
                        }
                })
            })
            && all("items", &|items| {
                let first = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                value.as_array().into_iter().flatten().skip(first).all(|item| accepts(root, items, item))
            })
            && all("prefixItems", &|first| {
                let pairs = value.as_array().into_iter().flatten().zip(first.as_array().unwrap());
                pairs.into_iter().all(|(item, schema)| accepts(root, schema, item))
            })
            && all("uniqueItems", &|_| {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))
            })
            && length("minLength", chars, &|size, least| size >= least)
            && length("maxLength", chars, &|size, most| size <= most)
            && length("minItems", items, &|size, least| size >= least)
            && length("maxItems", items, &|size, most| size <= most)
            && length("minProperties", members, &|size, least| size >= least)
            && f("minimum", &|value, least| value >= least)
            && f("exclusiveMinimum", &|value, least| value > least)
            && f("maximum", &|value, most| value <= most)
            && f("exclusiveMaximum", &|value, most| value < most)
            && f("multipleOf", &|value, step| (value / step).fract() == 0.0)
    }

    #[test]
    fn every_schema_accepts_its_instance() {
        let schemas = [
            json!({"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}}, "required": ["city", "unit"], "additionalProperties": false}),
            json!({"type": "object"}),
            json!({}),
            json!({"type": "array", "items": {"type": "integer"}}),
            json!({"type": "array", "items": {"type": "integer", "minimum": 3}, "minItems": 4, "uniqueItems": true}),
            json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": true}),
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "items": {"type": "null"}, "minItems": 3}),
            json!({"type": "string", "minLength": 10, "maxLength": 10}),
            json!({"type": "string", "maxLength": 1}),
            json!({"type": "string", "maxLength": 0}),
            json!({"type": "number", "exclusiveMinimum": 0.25, "maximum": 0.75}),
            json!({"type": "number", "minimum": 0.1, "maximum": 0.2}),
            json!({"type": "number", "minimum": -7.5, "maximum": -2.5}),
            json!({"type": "integer", "exclusiveMinimum": 4, "multipleOf": 5}),
            json!({"type": "integer", "exclusiveMaximum": -3}),
            json!({"type": "integer", "minimum": -5, "maximum": 5}),
            json!({"type": ["string", "null"]}),
            json!({"type": ["null", "string"]}),
            json!({"const": {"a": [1, null]}}),
            json!({"anyOf": [{"type": "boolean"}, {"type": "string"}]}),
            json!({"oneOf": [{"type": "object", "properties": {"kind": {"const": "a"}}, "required": ["kind"]}, {"type": "string"}]}),
            json!({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]}),
            json!({"$defs": {"step": {"type": "object", "properties": {"say": {"type": "string"}}, "required": ["say"]}},
                   "type": "object", "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1}}, "required": ["steps"]}),
            json!({"$defs": {"node": {"type": "object", "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}}, "required": ["next"]}}, "$ref": "#/$defs/node"}),
            json!({"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}}),
            json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a", "b"], "minProperties": 3}),
            json!({"type": "object", "properties": {"deep": {"type": "object", "properties": {"er": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}}}}}, "required": ["er"]}}, "required": ["deep"]}),
        ];
        for schema in schemas {
            let value = instance(&schema);
            assert!(accepts(&schema, &schema, &value), "{schema} does not accept {value}");
        }
    }

    #[test]
    fn a_schema_that_demands_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]});
        assert!(instance(&schema).is_object());
        assert_eq!(instance(&json!({"$ref": "#"})), Value::Null);
    }
}
