//! Pages of very many rows.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Map, Value};

/// An object with a few fields and one with very many rows, which are values one at a time: all together they would take many times
/// the memory of their text.
pub struct Listing<R> {
    /// The few fields.
    pub head: Map<String, Value>,
    /// What the field with the rows is called.
    pub name: &'static str,
    /// Gives one row after the other.
    pub rows: R,
}

impl<R: Fn(&mut dyn FnMut(Value))> Serialize for Listing<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.head {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry(self.name, &Rows(&self.rows))?;
        map.end()
    }
}

struct Rows<'a, R>(&'a R);

impl<R: Fn(&mut dyn FnMut(Value))> Serialize for Rows<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(None)?;
        let mut written = Ok(());
        (self.0)(&mut |row| {
            if written.is_ok() {
                written = rows.serialize_element(&row);
            }
        });
        written.and_then(|()| rows.end())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Listing;

    #[test]
    fn it_reads_as_one_object() {
        let head = json!({ "version": "1", "services": 2 }).as_object().unwrap().clone();
        let listing = Listing {
            head,
            name: "rows",
            rows: |row: &mut dyn FnMut(Value)| (0..2).for_each(|n| row(json!({ "n": n }))),
        };
        let read: Value = serde_json::from_str(&serde_json::to_string_pretty(&listing).unwrap()).unwrap();
        assert_eq!(read, json!({ "version": "1", "services": 2, "rows": [{ "n": 0 }, { "n": 1 }] }));
    }
}
