//! JSON in one form: keys in order, no blanks. What means the same is the same text, and so the same policy.

use serde_json::{Map, Value};

/// The text of an object.
pub(super) fn canonical(object: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_object(object, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => write_object(object, text),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(index, text);
                write(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn write_object(object: &Map<String, Value>, text: &mut String) {
    // The order in which a map keeps its keys depends on how serde_json was built.
    let mut entries: Vec<_> = object.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    text.push('{');
    for (index, (key, value)) in entries.into_iter().enumerate() {
        separate(index, text);
        text.push_str(&Value::from(key.as_str()).to_string());
        text.push(':');
        write(value, text);
    }
    text.push('}');
}

fn separate(index: usize, text: &mut String) {
    if index > 0 {
        text.push(',');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_in_order_at_every_depth() {
        let value = json!({ "b": [{ "y": 1, "x": "é\"\n" }, null, true], "a": {}, "c": -1.5 });
        let text = canonical(value.as_object().unwrap());
        assert_eq!(text, r#"{"a":{},"b":[{"x":"é\"\n","y":1},null,true],"c":-1.5}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
