//! The bodies of requests: JSON objects made of the values of `json:` words.

use anyhow::bail;
use serde_json::{Map, Value};
use wasmesh_policy_host::Word;

/// A larger number in a pointer is the name of a field: no list is so long.
const MOST_ENTRIES: usize = 64;

/// A body that has these values, by words; others than `json:` are passed over.
pub(super) fn of<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut body = Value::Object(Map::new());
    for (word, value) in values {
        if let Ok(Word::Json { pointer, .. }) = Word::parse(word)
            && let Some(place) = place(&mut body, &pointer)
        {
            *place = value.into();
        }
    }
    body.to_string().into_bytes()
}

/// Whether there is a body that has all of these.
///
/// # Errors
/// Names the word that has no place in it beside the others.
pub(super) fn check<'a>(values: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> anyhow::Result<()> {
    let body: Value = serde_json::from_slice(&of(values.clone()))?;
    for (word, value) in values {
        if let Ok(Word::Json { pointer, .. }) = Word::parse(word)
            && body.pointer(&pointer).and_then(Value::as_str) != Some(value)
        {
            bail!("{word} has no place in one body with the others");
        }
    }
    Ok(())
}

/// Where a pointer (RFC 6901) leads, made if it is not there; numbers are places in lists. `None` if something else is there.
fn place<'a>(mut at: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        match token.parse::<usize>() {
            Ok(index) if index < MOST_ENTRIES => {
                if at.is_null() {
                    *at = Value::Array(Vec::new());
                }
                let entries = at.as_array_mut()?;
                entries.resize(entries.len().max(index + 1), Value::Null);
                at = &mut entries[index];
            }
            _ => {
                if at.is_null() {
                    *at = Value::Object(Map::new());
                }
                at = at.as_object_mut()?.entry(token).or_insert(Value::Null);
            }
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::{check, of};

    #[test]
    fn a_body_has_what_its_words_name() {
        let values = [("json:/messages/1/content#256", "b"), ("path", "/"), ("json:/messages/0/content#9", "a")];
        let body = String::from_utf8(of(values.into_iter())).unwrap();
        assert_eq!(body, r#"{"messages":[{"content":"a"},{"content":"b"}]}"#);
        check(values.into_iter()).unwrap();
        assert_eq!(of([].into_iter()), b"{}");
    }

    #[test]
    fn what_has_no_place_is_named() {
        let checked = |words: [&'static str; 2]| check(words.into_iter().map(|word| (word, "v")));
        for words in [["json:/a#1", "json:/a/b#1"], ["json:/a/0#1", "json:/a/b#1"]] {
            assert!(checked(words).unwrap_err().to_string().contains("json:/a"), "{words:?}");
        }
        checked(["json:/a#1", "json:/b/64/c/99#1"]).unwrap();
    }
}
