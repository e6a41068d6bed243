//! Reading a policy's configuration.

use serde::Deserialize;

/// Reads a configuration. Give `T` the attribute `#[serde(deny_unknown_fields)]`, so that a misspelt name is told.
/// `usage` shows what may be there.
///
/// # Errors
/// What is wrong with the text and what would be right, in words for whoever wrote it.
pub fn read<T: for<'de> Deserialize<'de>>(text: &str, usage: &str) -> Result<T, String> {
    let mut unescaped = vec![0; text.len()];
    match serde_json_core::from_str_escaped(text, &mut unescaped) {
        Ok((value, _)) => Ok(value),
        Err(error) => {
            let error = error.to_string();
            Err(format!("config: {}; this policy takes {usage}", error.trim_end_matches('.')))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        key: Option<String>,
        size: Option<u8>,
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(Option<&str>, Option<u8>), &str>) {
        match (super::read::<Config>(text, "{}"), expected) {
            (Ok(read), Ok((key, size))) => assert_eq!(read, Config { key: key.map(str::to_owned), size }, "{text}"),
            (Err(message), Err(part)) => assert!(message.contains(part), "{text}: {message}"),
            (read, expected) => panic!("{text}: {read:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn what_is_there_is_read() {
        check("{}", Ok((None, None)));
        check(r#" {"key":"header:x-\"user\"", "size": 3 } "#, Ok((Some("header:x-\"user\""), Some(3))));
    }

    #[test]
    fn what_is_wrong_is_named() {
        check(r#"{"sise": 3}"#, Err("sise"));
        check(r#"{"size": 300}"#, Err("config: "));
        check(r#"{"size": "3"}"#, Err("config: "));
        check("{} {}", Err("trailing"));
        check("", Err("config: "));
        check("[]", Err("config: "));
    }
}
