//! Reading a policy's configuration.

use serde::Deserialize;

/// Reads a configuration. Give `T` the attribute `#[serde(deny_unknown_fields)]`, so that a misspelt name is told.
///
/// # Errors
/// What is wrong with the text, in words that may be shown to whoever wrote it.
pub fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    let mut unescaped = vec![0; text.len()];
    match serde_json_core::from_str_escaped(text, &mut unescaped) {
        Ok((value, used)) if text[used..].trim().is_empty() => Ok(value),
        Ok((_, used)) => Err(format!("config: nothing may follow the object, but {} does", &text[used..])),
        Err(error) => Err(format!("config: {error}")),
    }
}
