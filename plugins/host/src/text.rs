//! Texts of strangers: cut and made printable before anybody sees them.

/// The text, or its beginning of at most so many bytes.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// One line that can be logged: cut, and with control characters escaped.
pub(crate) fn line(text: &str, max_bytes: usize) -> String {
    let mut line = String::new();
    for character in cut(text, max_bytes).chars() {
        match character {
            character if character.is_control() => line.extend(character.escape_default()),
            character => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("añb", 2), "a");
        assert_eq!(cut("añb", 3), "añ");
        assert_eq!(cut("ab", 5), "ab");
    }

    #[test]
    fn a_line_has_no_control_characters() {
        assert_eq!(line("a\nb\u{1b}[31m\u{85}é", 100), "a\\nb\\u{1b}[31m\\u{85}é");
    }
}
