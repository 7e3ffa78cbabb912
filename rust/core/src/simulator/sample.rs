//! A JSON value that fits a schema, for structured answers and function arguments.

use serde_json::{Map, Value, json};

/// Deeper than this, values are `null`: schemas may be recursive.
const DEPTH: usize = 12;
/// At most this many items, whatever `minItems` asks.
const ITEMS: u64 = 20;

/// A value that fits the schema, always the same one. Understands what the providers take for structured answers
/// (types, properties, enums, `anyOf`, `$ref` within the schema, lower bounds), in Gemini's capital type names too.
pub(crate) fn sample(schema: &Value) -> Value {
    value(schema, schema, DEPTH)
}

/// The schema of an answer that only has to be some JSON object.
pub(crate) fn any_object() -> Value {
    json!({"type": "object", "properties": {"simulated": {"const": true}}})
}

fn value(schema: &Value, root: &Value, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::Null };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| value(found, root, depth));
    }
    if let Some(fixed) = schema.get("const").or_else(|| schema.get("enum").and_then(|all| all.get(0))) {
        return fixed.clone();
    }
    if let Some(members) = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(key)?.as_array()) {
        // A type that contains itself must end somewhere.
        let ends =
            depth < DEPTH / 2 && members.iter().any(|member| member.get("type").is_some_and(|kind| kind == "null"));
        return if ends { Value::Null } else { members.first().map_or(Value::Null, |first| value(first, root, depth)) };
    }
    match type_of(schema).as_str() {
        "object" => object(schema, root, depth),
        "array" => {
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(ITEMS);
            let item = schema.get("items").map_or(Value::Null, |items| value(items, root, depth));
            (0..count).map(|_| item.clone()).collect()
        }
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => Value::Bool(true),
        "null" => Value::Null,
        _ => Value::from(match schema.get("format").and_then(Value::as_str) {
            Some("date") => "2025-01-01",
            Some("date-time") => "2025-01-01T00:00:00Z",
            Some("time") => "00:00:00Z",
            Some("email") => "simulated@example.com",
            Some("uri") => "https://example.com/",
            Some("uuid") => "00000000-0000-4000-8000-000000000000",
            _ => "simulated",
        }),
    }
}

/// The (first non-null) type in lower case; what has properties is an object.
fn type_of(schema: &Value) -> String {
    let given = match schema.get("type") {
        Some(Value::Array(all)) => all.iter().find_map(|one| one.as_str().filter(|one| *one != "null")),
        given => given.and_then(Value::as_str),
    };
    given.map_or_else(
        || if schema.get("properties").is_some() { "object".into() } else { String::new() },
        str::to_lowercase,
    )
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema.get("required").and_then(Value::as_array);
    let wanted = |name: &str| required.is_none_or(|all| all.iter().any(|one| one == name));
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let fields: Map<String, Value> = properties
        .filter(|(name, _)| wanted(name))
        .map(|(name, property)| (name.clone(), value(property, root, depth)))
        .collect();
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}, "left_out": {"type": "string"},
                "tags": {"type": "array", "minItems": 2, "items": {"enum": ["red", "blue"]}},
                "maybe": {"type": ["null", "boolean"]}, "day": {"type": "string", "format": "date"},
                "child": {"$ref": "#/$defs/child"}, "either": {"anyOf": [{"type": "NUMBER"}, {"type": "null"}]}
            },
            "required": ["name", "age", "tags", "maybe", "day", "child", "either"],
            "$defs": {"child": {"properties": {"x": {"const": 7}}}}
        });
        let expected = json!({
            "name": "simulated", "age": 18, "tags": ["red", "red"], "maybe": true, "day": "2025-01-01",
            "child": {"x": 7}, "either": 1
        });
        assert_eq!(sample(&schema), expected);
        assert_eq!(sample(&any_object()), json!({"simulated": true}));
    }

    #[test]
    fn recursive_and_greedy_schemas_end() {
        let tree = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(sample(&tree).to_string().len() < 200);
        let greedy = json!({"type": "array", "minItems": 1_000_000_000, "items": {"type": "null"}});
        assert_eq!(sample(&greedy).as_array().map(Vec::len), Some(20));
        assert_eq!(sample(&json!({"$ref": "#/nowhere"})), Value::Null);
        let person = json!({"type": "object", "properties": {"name": {"type": "string"},
            "boss": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["name", "boss"]});
        let mut made = &sample(&person);
        while !made.is_null() {
            assert_eq!(made["name"], "simulated", "every one is whole");
            made = &made["boss"];
        }
    }
}
