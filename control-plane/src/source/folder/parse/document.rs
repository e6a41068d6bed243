//! Where the documents of a file begin and end.

/// One document of a file, its markers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document<'a> {
    pub(super) text: &'a str,
    /// The line of the file, from 1, on which the text begins.
    pub(super) first_line: u64,
}

/// The documents of a file that hold more than comments.
///
/// A line that begins with `---` begins a document, one that begins with `...` ends it. YAML allows neither inside a
/// value, so no parsing is needed to find them, and a broken document cannot hide the next one.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut offset = 0;
    for (number, line) in (1u64..).zip(text.split_inclusive('\n')) {
        let end = offset + line.len();
        if is_marker(line, "---") {
            documents.push(Document { text: &text[start..offset], first_line });
            (start, first_line) = (offset, number);
        } else if is_marker(line, "...") {
            documents.push(Document { text: &text[start..end], first_line });
            (start, first_line) = (end, number + 1);
        }
        offset = end;
    }
    documents.push(Document { text: &text[start..], first_line });
    documents.retain(Document::has_content);
    documents
}

impl Document<'_> {
    fn has_content(&self) -> bool {
        self.text.lines().any(|line| {
            let content = line.trim_start();
            let is_bare_marker = (is_marker(line, "---") || is_marker(line, "...")) && {
                let rest = line[3..].trim_start();
                rest.is_empty() || rest.starts_with('#')
            };
            !(content.is_empty() || content.starts_with('#') || line.starts_with('%') || is_bare_marker)
        })
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(u64, &str)]) {
        let found: Vec<_> = documents(text).iter().map(|d| (d.first_line, d.text)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn markers_split_a_file() {
        check("", &[]);
        check("a", &[(1, "a")]);
        check("a\n---\nb\n", &[(1, "a\n"), (2, "---\nb\n")]);
        check("---\r\na\r\n---\r\nb", &[(1, "---\r\na\r\n"), (3, "---\r\nb")]);
        check("a\n...\nb\n", &[(1, "a\n...\n"), (3, "b\n")]);
        check("--- {a: b}\n", &[(1, "--- {a: b}\n")]);
    }

    #[test]
    fn what_only_looks_like_a_marker_splits_nothing() {
        check("a: |\n  ---\n----\n---x\n", &[(1, "a: |\n  ---\n----\n---x\n")]);
    }

    #[test]
    fn documents_without_content_are_none() {
        check("# a\n---\n# b\n\n--- # c\n...\n%YAML 1.2\n---\n", &[]);
        check("\u{feff}---\n", &[]);
    }
}
