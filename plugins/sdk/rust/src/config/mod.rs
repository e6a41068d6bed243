//! Reading a policy's configuration: a JSON object of strings, whole numbers, `true` and `false`.
//!
//! By hand, because a module travels to every proxy: with serde_json each example is 48 KiB larger. It has no case in
//! which it panics, and whoever misspelt something is told what, however long it is.

mod json;

use json::Value;

/// Reads a configuration: `take` takes out of it what the policy knows, and what is then left is refused.
///
/// ```
/// use wasmesh_policy::config;
///
/// let size = config::read(r#"{"size": 3}"#, r#"{"size": NUMBER}"#, |fields| fields.number("size"));
/// assert_eq!(size, Ok(Some(3)));
/// ```
///
/// # Errors
/// What is wrong with the text, and by `usage` what would be right, in words for whoever wrote it.
pub fn read<T>(text: &str, usage: &str, take: impl FnOnce(&mut Fields<'_>) -> Result<T, String>) -> Result<T, String> {
    let read = || {
        let mut fields = Fields(json::object(text)?);
        let taken = take(&mut fields)?;
        fields.finish().map(|()| taken)
    };
    read().map_err(|wrong| ["config: ", &wrong, "; this policy takes ", usage].concat())
}

/// What stands in a configuration and has not been taken yet. What is `null` counts as left out.
#[derive(Debug)]
pub struct Fields<'a>(Vec<(String, Value<'a>)>);

impl<'a> Fields<'a> {
    /// Takes the string of this name; none if it is left out.
    ///
    /// # Errors
    /// It is no string, or it is there twice.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, String> {
        self.take(name)?.map(|value| string(name, value)).transpose()
    }

    /// Takes the number of this name; none if it is left out.
    ///
    /// # Errors
    /// It is no whole number, negative or above 4294967295, or it is there twice.
    pub fn number(&mut self, name: &str) -> Result<Option<u32>, String> {
        self.take(name)?.map(|value| number(name, &value)).transpose()
    }

    /// Takes all that is left, each a string under a name that only its author knows, in their order.
    ///
    /// # Errors
    /// One is no string, or it is there twice.
    pub fn strings(&mut self) -> Result<Vec<(String, String)>, String> {
        self.all(string)
    }

    /// Takes all that is left, each a number as in [`Fields::number`] under a name that only its author knows, in their
    /// order.
    ///
    /// # Errors
    /// One is no such number, or it is there twice.
    pub fn numbers(&mut self) -> Result<Vec<(String, u32)>, String> {
        self.all(|name, value| number(name, &value))
    }

    /// Takes the `true` or `false` of this name; none if it is left out.
    ///
    /// # Errors
    /// It is neither, or it is there twice.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, String> {
        match self.take(name)? {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(flag)),
            Some(other) => Err(must_be(name, "true or false", &other)),
        }
    }

    fn all<T>(&mut self, read: impl Fn(&str, Value<'a>) -> Result<T, String>) -> Result<Vec<(String, T)>, String> {
        let mut all = Vec::new();
        while let Some((name, _)) = self.0.first() {
            let name = name.clone();
            if let Some(value) = self.take(&name)? {
                let value = read(&name, value)?;
                all.push((name, value));
            }
        }
        Ok(all)
    }

    fn take(&mut self, name: &str) -> Result<Option<Value<'a>>, String> {
        let Some(at) = self.0.iter().position(|(other, _)| other == name) else { return Ok(None) };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(other, _)| other == name) {
            return Err([name, " is there twice"].concat());
        }
        Ok((!matches!(value, Value::Null)).then_some(value))
    }

    fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(["it knows no \"", name, "\""].concat()),
        }
    }
}

fn string(name: &str, value: Value<'_>) -> Result<String, String> {
    if let Value::String(string) = value { Ok(string) } else { Err(must_be(name, "a string", &value)) }
}

fn number(name: &str, value: &Value<'_>) -> Result<u32, String> {
    let number = if let Value::Number(digits) = value { digits.parse().ok() } else { None };
    number.ok_or_else(|| must_be(name, "a whole number of 0 to 4294967295", value))
}

fn must_be(name: &str, right: &str, value: &Value<'_>) -> String {
    let (quote, found) = match value {
        Value::String(string) => ("\"", string.as_str()),
        Value::Number(digits) => ("", *digits),
        Value::Flag(true) => ("", "true"),
        Value::Flag(false) => ("", "false"),
        Value::Null => ("", "null"),
    };
    [name, " must be ", right, ", not ", quote, found, quote].concat()
}

#[cfg(test)]
mod tests {
    use super::read;

    type Taken<'a> = (Option<&'a str>, Option<u32>, Option<bool>);

    #[track_caller]
    fn check(text: &str, expected: Result<Taken<'_>, &str>) {
        let taken =
            read(text, "{…}", |fields| Ok((fields.string("key")?, fields.number("size")?, fields.flag("on")?)));
        let taken = taken.as_ref().map(|(key, size, on)| (key.as_deref(), *size, *on)).map_err(String::as_str);
        let message = expected.map_err(|words| format!("config: {words}; this policy takes {{…}}"));
        assert_eq!(taken, message.as_ref().map(|taken| *taken).map_err(String::as_str), "{text}");
    }

    #[test]
    fn what_is_there_is_taken() {
        check("{}", Ok((None, None, None)));
        check(
            r#" {"key":"header:x-\"user\"", "on": true, "size": 3 } "#,
            Ok((Some("header:x-\"user\""), Some(3), Some(true))),
        );
        check(r#"{"on": false, "size": 4294967295, "key": ""}"#, Ok((Some(""), Some(u32::MAX), Some(false))));
        check(r#"{"on": null, "size": null, "key": null}"#, Ok((None, None, None)));
    }

    #[test]
    fn all_that_is_left_is_taken_in_its_order() {
        let numbers = |text| read(text, "{…}", |fields| Ok((fields.flag("on")?, fields.numbers()?)));
        let shares = [("b", 2), ("a", 1), ("", 3)].map(|(name, share)| (name.to_owned(), share));
        assert_eq!(numbers(r#"{"b": 2, "on": true, "a": 1, "c": null, "": 3}"#), Ok((Some(true), shares.into())));
        assert_eq!(numbers("{}"), Ok((None, Vec::new())));
        assert!(numbers(r#"{"a": 1, "a": 2}"#).is_err_and(|words| words.contains("a is there twice")));
        assert!(numbers(r#"{"a": "1"}"#).is_err_and(|words| words.contains("a must be a whole number")));
        let strings = |text| read(text, "{…}", |fields| fields.strings());
        assert_eq!(strings(r#"{"/a": "b"}"#), Ok(vec![("/a".to_owned(), "b".to_owned())]));
        assert!(strings(r#"{"/a": 1}"#).is_err_and(|words| words.contains("/a must be a string, not 1")));
    }

    #[test]
    fn what_is_not_known_is_named_however_long_it_is() {
        check(r#"{"sise": 3}"#, Err(r#"it knows no "sise""#));
        check(r#"{"size": 3, "": null}"#, Err(r#"it knows no """#));
        let long = "long".repeat(10_000);
        check(&format!(r#"{{"{long}": 3}}"#), Err(&format!(r#"it knows no "{long}""#)));
    }

    #[test]
    fn what_is_of_the_wrong_kind_is_named() {
        check(r#"{"key": 3}"#, Err("key must be a string, not 3"));
        check(r#"{"size": "3"}"#, Err(r#"size must be a whole number of 0 to 4294967295, not "3""#));
        for number in ["-1", "4294967296", "0.5", "1e3", "true"] {
            let words = format!("size must be a whole number of 0 to 4294967295, not {number}");
            check(&format!(r#"{{"size": {number}}}"#), Err(&words));
        }
        check(r#"{"on": 1}"#, Err("on must be true or false, not 1"));
        check(r#"{"on": true, "on": true}"#, Err("on is there twice"));
        check(r#"{"on": null, "on": true}"#, Err("on is there twice"));
    }
}
