//! As much of JSON Schema as `report.schema.json` uses.

use serde_json::Value;

/// Where `value` breaks `schema`.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(pointer) = schema["$ref"].as_str() {
        let target = root.pointer(pointer.trim_start_matches('#')).expect("a definition");
        return check(root, target, value, at, found);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| {
            let mut inner = Vec::new();
            check(root, choice, value, at, &mut inner);
            inner.is_empty()
        });
        if !fits {
            found.push(format!("{at}: none of the choices"));
        }
        return;
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<&str>>(),
    };
    if !types.is_empty() && !types.iter().any(|name| is_a(value, name)) {
        found.push(format!("{at}: {value} is not {types:?}"));
    }
    let listed = schema["enum"].as_array().is_none_or(|list| list.contains(value));
    let constant = schema.get("const").is_none_or(|constant| constant == value);
    if !listed || !constant {
        found.push(format!("{at}: {value} is not allowed"));
    }
    if let (Some(minimum), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < minimum
    {
        found.push(format!("{at}: {number} is below {minimum}"));
    }
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            check(root, &schema["items"], item, &format!("{at}/{index}"), found);
        }
    }
    if let Some(members) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                found.push(format!("{at}/{name}: missing"));
            }
        }
        for (name, member) in members {
            let inner = schema["properties"].get(name).unwrap_or(&schema["additionalProperties"]);
            if *inner == Value::Bool(false) {
                found.push(format!("{at}/{name}: not in the schema"));
            } else {
                check(root, inner, member, &format!("{at}/{name}"), found);
            }
        }
    }
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => panic!("type {name}"),
    }
}
