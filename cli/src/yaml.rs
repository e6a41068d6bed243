//! Kubernetes manifests as text: read as kubectl reads them, and written so that it reads the same.

use anyhow::Context;
use serde_json::Value;

/// The documents of a file, each as it was written, without what separates them.
pub(crate) fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if separates(line) {
            documents.push(&text[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    documents.push(&text[start..]);
    documents.retain(|document| document.lines().any(|line| !is_blank(line)));
    documents
}

/// Reads a document.
pub(crate) fn read(document: &str) -> anyhow::Result<Value> {
    // kubectl speaks YAML 1.1: modes of files are written in octal.
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_str_with_options(document, options).context("this is no YAML")
}

/// Writes a document. What another reader could take for a number or a truth is quoted.
pub(crate) fn write(value: &Value) -> anyhow::Result<String> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).context("this cannot be written as YAML")
}

fn separates(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.trim().is_empty() || rest.trim_start().starts_with('#') && rest.starts_with(' '))
}

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "..."
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{documents, read, write};

    #[test]
    fn documents_are_kept_as_they_were_written() {
        let check = |text: &str, expected: &[&str]| assert_eq!(documents(text), expected, "{text:?}");
        check("", &[]);
        check("---\n# only a comment\n---\n", &[]);
        check("a: 1\n", &["a: 1\n"]);
        check("---\na: 1 # one\n--- # two\nb: |\n  ---\n", &["a: 1 # one\n", "b: |\n  ---\n"]);
        check("a: ---x\n---x: 1\n", &["a: ---x\n---x: 1\n"]);
        check("a: 1\r\n---\r\nb: 2", &["a: 1\r\n", "b: 2"]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = "words ".repeat(60);
        let texts = [
            "",
            " ",
            "yes",
            "no",
            "on",
            "y",
            "null",
            "~",
            "1",
            "0644",
            "1e3",
            "1_000",
            "0x1f",
            "12:30:45",
            "2026-01-01",
            "- a",
            "a: b",
            "a #b",
            "#",
            "'",
            "\"",
            "\\",
            "{}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a`",
            "a\nb",
            "a\nb\n",
            "\n",
            "  a\n b",
            "a\tb",
            "é",
            "\u{85}",
            &long,
            "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n",
            "$(POD_NAME)",
            "[::]:19020",
            "---",
        ];
        for text in texts {
            let value = json!({ "a": [{ "b": text, "c": [] }, { text: { "d": 1, "e": true, "f": null, "g": {} } }] });
            let written = write(&value).unwrap();
            assert_eq!(read(&written).unwrap(), value, "{written}");
        }
    }

    #[test]
    fn numbers_are_those_of_kubectl() {
        assert_eq!(read("a: 0644\nb: 1.5\nc: '0644'").unwrap(), json!({ "a": 420, "b": 1.5, "c": "0644" }));
        assert_eq!(read("{\"a\": [1, null]}").unwrap(), json!({ "a": [1, Value::Null] }));
        assert!(read("a: [").is_err());
    }
}
