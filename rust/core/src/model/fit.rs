//! Changes a JSON schema to what a provider's strict mode takes, without changing what it means.
//!
//! Strict modes know a part of JSON Schema and refuse the rest. What they do not know is told to the model in the
//! description; a field that may be left out may be null instead; an object must not be open.

use serde_json::{Map, Value, json};

/// Which part of JSON Schema a strict mode knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's structured outputs: every field must be required. Bounds of numbers and lists are known, those of texts
    /// are not. Source: OpenAI's guide "Structured model outputs", "Supported schemas".
    OpenAi,
    /// Anthropic's structured outputs: fields may be optional; no bounds, no recursion. Source: Anthropic's guide
    /// "Structured outputs", "JSON Schema limitations".
    Anthropic,
}

/// Formats of texts that OpenAI knows.
const OPENAI_FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];
/// Formats of texts that Anthropic knows besides.
const ANTHROPIC_FORMATS: [&str; 1] = ["uri"];

/// Deeper than this is nobody's schema.
const DEPTH: usize = 64;

/// The schema as this strict mode takes it; `None` if it cannot say the same there: an open object (a dictionary), a
/// list of fixed places, a conditional.
pub fn fit(schema: &Value, dialect: Dialect) -> Option<Value> {
    if dialect == Dialect::Anthropic && is_recursive(schema, schema, &mut vec!["#"]) {
        return None;
    }
    fitted(schema, dialect, DEPTH)
}

/// Whether a reference leads back to where it stands; `within` are the references that lead here.
fn is_recursive<'a>(schema: &'a Value, root: &'a Value, within: &mut Vec<&'a str>) -> bool {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        if within.contains(&target) || within.len() > DEPTH {
            return true;
        }
        let Some(found) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { return false };
        within.push(target);
        let recursive = is_recursive(found, root, within);
        within.pop();
        return recursive;
    }
    match schema {
        // Definitions count where they are used.
        Value::Object(object) => {
            let mut parts = object.iter().filter(|(key, _)| !matches!(key.as_str(), "$defs" | "definitions"));
            parts.any(|(_, part)| is_recursive(part, root, within))
        }
        Value::Array(all) => all.iter().any(|part| is_recursive(part, root, within)),
        _ => false,
    }
}

fn fitted(schema: &Value, dialect: Dialect, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let object = schema.as_object()?;
    let mut out = Map::new();
    let mut hints: Vec<String> = Vec::new();
    let is_object = object.contains_key("properties") || object.get("type").is_some_and(|kind| is_type(kind, "object"));
    let refers = object.contains_key("$ref");
    for (key, value) in object {
        match key.as_str() {
            "properties" => {}
            "required" | "additionalProperties" if is_object => {}
            "$defs" | "definitions" => {
                let all =
                    value.as_object()?.iter().map(|(name, one)| Some((name.clone(), fitted(one, dialect, depth)?)));
                out.insert(key.clone(), Value::Object(all.collect::<Option<_>>()?));
            }
            "items" => {
                out.insert(key.clone(), fitted(value, dialect, depth)?);
            }
            "anyOf" | "oneOf" => {
                let all = value.as_array()?.iter().map(|one| fitted(one, dialect, depth));
                out.insert("anyOf".to_owned(), Value::Array(all.collect::<Option<_>>()?));
            }
            "prefixItems"
            | "patternProperties"
            | "not"
            | "if"
            | "then"
            | "else"
            | "dependentRequired"
            | "dependentSchemas"
            | "unevaluatedProperties"
            | "allOf" => return None,
            "$schema" | "$id" | "default" | "examples" => {}
            "title" | "description" if refers => {} // Nothing may stand beside a reference.
            _ if knows(dialect, key, value) => {
                out.insert(key.clone(), value.clone());
            }
            _ => hints.push(format!("{key}: {value}")),
        }
    }
    if is_object {
        fit_object(object, &mut out, dialect, depth)?;
    } else if out.get("type").is_some_and(|kind| is_type(kind, "array")) && !out.contains_key("items") {
        return None;
    } else if !["type", "enum", "const", "anyOf", "$ref"].iter().any(|key| out.contains_key(*key)) {
        return None; // Anything at all.
    }
    if !hints.is_empty() {
        let said =
            out.get("description").and_then(Value::as_str).map_or_else(String::new, |text| format!("{text}\n\n"));
        out.insert("description".to_owned(), format!("{said}{{{}}}", hints.join(", ")).into());
    }
    Some(Value::Object(out))
}

/// Writes the fields of an object, which must be closed.
fn fit_object(object: &Map<String, Value>, out: &mut Map<String, Value>, dialect: Dialect, depth: usize) -> Option<()> {
    if object.get("additionalProperties").is_some_and(|more| *more != Value::Bool(false)) {
        return None;
    }
    let none = Map::new();
    let properties = match object.get("properties") {
        Some(properties) => properties.as_object()?,
        None if object.contains_key("additionalProperties") => &none,
        None => return None,
    };
    let required: Vec<&str> =
        object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fields = Map::new();
    for (name, property) in properties {
        let mut field = fitted(property, dialect, depth)?;
        if dialect == Dialect::OpenAi && !required.contains(&name.as_str()) && !takes_null(&field) {
            field = or_null(field);
        }
        fields.insert(name.clone(), field);
    }
    let needed: Vec<&str> = match dialect {
        Dialect::OpenAi => properties.keys().map(String::as_str).collect(),
        Dialect::Anthropic => required,
    };
    out.insert("properties".to_owned(), Value::Object(fields));
    if !needed.is_empty() || object.contains_key("required") || dialect == Dialect::OpenAi {
        out.insert("required".to_owned(), needed.into());
    }
    out.insert("additionalProperties".to_owned(), false.into());
    Some(())
}

fn is_type(kind: &Value, name: &str) -> bool {
    kind == name || kind.as_array().is_some_and(|all| all.iter().any(|one| one == name))
}

fn takes_null(schema: &Value) -> bool {
    let in_union = |key: &str| schema.get(key).and_then(Value::as_array).is_some_and(|all| all.iter().any(takes_null));
    let in_enum = schema.get("enum").and_then(Value::as_array).is_some_and(|all| all.iter().any(Value::is_null));
    schema.get("type").is_some_and(|kind| is_type(kind, "null")) || in_union("anyOf") || in_enum
}

fn or_null(mut schema: Value) -> Value {
    let description = schema.as_object_mut().and_then(|object| object.remove("description"));
    let mut either = match schema.get("anyOf").and_then(Value::as_array) {
        Some(all) if schema.as_object().is_some_and(|object| object.len() == 1) => all.clone(),
        _ => vec![schema],
    };
    either.push(json!({"type": "null"}));
    let mut out = Map::from_iter([("anyOf".to_owned(), Value::Array(either))]);
    out.extend(description.map(|text| ("description".to_owned(), text)));
    Value::Object(out)
}

/// Whether the strict mode knows this keyword with this value.
fn knows(dialect: Dialect, key: &str, value: &Value) -> bool {
    match (key, dialect) {
        ("type" | "enum" | "const" | "$ref" | "title" | "description", _) => true,
        ("format", _) => {
            let name = value.as_str().unwrap_or_default();
            OPENAI_FORMATS.contains(&name) || dialect == Dialect::Anthropic && ANTHROPIC_FORMATS.contains(&name)
        }
        (
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" | "minItems" | "maxItems"
            | "pattern",
            Dialect::OpenAi,
        ) => true,
        ("minItems", Dialect::Anthropic) => value.as_u64().is_some_and(|count| count <= 1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Value {
        json!({
            "title": "Person", "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "description": "Full."},
                "age": {"type": "integer", "minimum": 0, "default": 3},
                "born": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": null},
                "tags": {"type": "array", "items": {"type": "string", "format": "color"}, "maxItems": 3},
            },
            "required": ["name"],
        })
    }

    #[test]
    fn optional_fields_may_be_null_and_bounds_are_told() {
        assert_eq!(
            fit(&person(), Dialect::OpenAi).unwrap(),
            json!({
                "title": "Person", "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "Full.\n\n{minLength: 1}"},
                    "age": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
                    "born": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
                    "tags": {"anyOf": [
                        {"type": "array", "items": {"type": "string", "description": "{format: \"color\"}"}, "maxItems": 3},
                        {"type": "null"}]},
                },
                "required": ["name", "age", "born", "tags"],
                "additionalProperties": false,
            })
        );
        let anthropic = fit(&person(), Dialect::Anthropic).unwrap();
        assert_eq!(anthropic["required"], json!(["name"]));
        assert_eq!(anthropic["properties"]["age"], json!({"type": "integer", "description": "{minimum: 0}"}));
        assert_eq!(anthropic["properties"]["tags"]["description"], "{maxItems: 3}");
        assert_eq!(anthropic["additionalProperties"], false);
    }

    #[test]
    fn a_schema_that_fits_stays_as_it_is() {
        let schema = json!({
            "type": "object",
            "properties": {"a": {"type": ["string", "null"]}, "b": {"$ref": "#/$defs/B"}, "c": {"enum": [1, "x"]}},
            "required": ["a", "b", "c"], "additionalProperties": false,
            "$defs": {"B": {"type": "object", "properties": {}, "required": [], "additionalProperties": false}},
        });
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let fitted = fit(&schema, dialect).unwrap();
            assert_eq!(fitted, schema);
            assert_eq!(fit(&fitted, dialect).unwrap(), fitted);
        }
    }

    #[test]
    fn what_contains_itself() {
        let tree = json!({
            "type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/T"}, {"type": "null"}]}}, "required": ["next"],
            "additionalProperties": false,
        });
        let mut schema = tree.clone();
        schema["$defs"] = json!({"T": tree});
        assert_eq!(fit(&schema, Dialect::OpenAi), Some(schema.clone()));
        assert_eq!(fit(&schema, Dialect::Anthropic), None);
    }

    #[test]
    fn what_no_strict_mode_can_say() {
        for schema in [
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"type": "object", "properties": {"a": {"type": "object", "additionalProperties": true}}}),
            json!({"type": "object", "properties": {"a": {}}}),
            json!({"type": "array", "prefixItems": [{"type": "integer"}]}),
            json!({"type": "array"}),
            json!({"allOf": [{"type": "object"}]}),
            json!(true),
        ] {
            assert_eq!(fit(&schema, Dialect::OpenAi), None, "{schema}");
            assert_eq!(fit(&schema, Dialect::Anthropic), None, "{schema}");
        }
    }
}
