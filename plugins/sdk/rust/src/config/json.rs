//! As much of JSON (RFC 8259) as configurations are made of: one object in which nothing is nested.
//!
//! Text only ever gets shorter from its beginning, so there is no place to miscount and nothing to recurse into.

/// What a name stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    String(String),
    /// As it is written.
    Number(&'a str),
    Flag(bool),
    Null,
}

/// The names and values of an object, in its order.
///
/// # Errors
/// What was expected, and where it is not.
pub(super) fn object(text: &str) -> Result<Vec<(String, Value<'_>)>, String> {
    let mut rest = Rest(text);
    let mut entries = Vec::new();
    rest.expect("{", "an object in {}")?;
    if !rest.eat("}") {
        loop {
            let name = rest.string("a name in quotes")?;
            rest.expect(":", "a colon")?;
            entries.push((name, rest.value()?));
            if !rest.eat(",") {
                break;
            }
        }
        rest.expect("}", "a comma or }")?;
    }
    if rest.0.is_empty() { Ok(entries) } else { Err(rest.instead_of("nothing more")) }
}

/// What has not been read yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn value(&mut self) -> Result<Value<'a>, String> {
        const WORDS: [(&str, Value<'_>); 3] =
            [("true", Value::Flag(true)), ("false", Value::Flag(false)), ("null", Value::Null)];
        if self.0.starts_with('"') {
            return self.string("a string").map(Value::String);
        }
        if self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return self.number().map(Value::Number);
        }
        let word = WORDS.into_iter().find(|(word, _)| self.eat(word));
        word.map(|(_, value)| value).ok_or_else(|| self.instead_of("a string, a number, true or false"))
    }

    fn string(&mut self, what: &str) -> Result<String, String> {
        let Some(inside) = self.0.strip_prefix('"') else { return Err(self.instead_of(what)) };
        self.0 = inside;
        let mut string = String::new();
        loop {
            let plain = self.run(|character| character != '"' && character != '\\' && character >= ' ');
            string.push_str(plain);
            if self.step("\"") {
                self.spaces();
                return Ok(string);
            }
            match self.escaped() {
                Some(character) => string.push(character),
                None => return Err(self.instead_of("the end of a string")),
            }
        }
    }

    /// The character that an escape sequence stands for; none if there is no such sequence.
    fn escaped(&mut self) -> Option<char> {
        const SHORT: [(char, char); 8] = [
            ('"', '"'),
            ('\\', '\\'),
            ('/', '/'),
            ('b', '\u{8}'),
            ('f', '\u{c}'),
            ('n', '\n'),
            ('r', '\r'),
            ('t', '\t'),
        ];
        let sequence = self.0.strip_prefix('\\')?;
        if let Some((first, after)) = unit(sequence) {
            // Beyond the first 65536 characters a pair of these stands for one (UTF-16).
            let second = after.strip_prefix('\\').and_then(unit).filter(|_| (0xd800..0xdc00).contains(&first));
            let (character, after) = match second {
                Some((second @ 0xdc00..0xe000, after)) => {
                    (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), after)
                }
                _ => (first, after),
            };
            let character = char::from_u32(character)?;
            self.0 = after;
            return Some(character);
        }
        let mut after = sequence.chars();
        let letter = after.next()?;
        let (_, character) = SHORT.into_iter().find(|(short, _)| *short == letter)?;
        self.0 = after.as_str();
        Some(character)
    }

    fn number(&mut self) -> Result<&'a str, String> {
        let start = self.0;
        self.step("-");
        let has_digits = self.step("0") || self.digits();
        let has_fraction = !self.step(".") || self.digits();
        let has_exponent = !(self.step("e") || self.step("E")) || {
            let _ = self.step("+") || self.step("-");
            self.digits()
        };
        if !(has_digits && has_fraction && has_exponent) {
            return Err(self.instead_of("a digit"));
        }
        let number = before(start, self.0);
        self.spaces();
        Ok(number)
    }

    /// Steps over digits; whether there is one.
    fn digits(&mut self) -> bool {
        !self.run(|character| character.is_ascii_digit()).is_empty()
    }

    /// Steps over characters of a kind.
    fn run(&mut self, is_of_kind: impl Fn(char) -> bool) -> &'a str {
        let all = self.0;
        self.0 = all.trim_start_matches(is_of_kind);
        before(all, self.0)
    }

    /// Steps over a token; whether it is there.
    fn step(&mut self, token: &str) -> bool {
        let after = self.0.strip_prefix(token);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }

    /// Steps over a token and the spaces around it; whether it is there.
    fn eat(&mut self, token: &str) -> bool {
        self.spaces();
        let is_there = self.step(token);
        self.spaces();
        is_there
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn expect(&mut self, token: &str, what: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(self.instead_of(what)) }
    }

    fn instead_of(&self, expected: &str) -> String {
        if self.0.is_empty() {
            return ["the text ends where ", expected, " should be"].concat();
        }
        let mut shown = self.0.chars();
        shown.by_ref().take(24).for_each(drop);
        [expected, " should be where it says ", before(self.0, shown.as_str())].concat()
    }
}

/// What stands before `after`, which is the end of `all`. Not by `[..]`: its panic would print both, and what prints is large.
fn before<'a>(all: &'a str, after: &str) -> &'a str {
    all.strip_suffix(after).unwrap_or_default()
}

/// The number after a `u`, and what follows it.
fn unit(sequence: &str) -> Option<(u32, &str)> {
    let (digits, after) = sequence.strip_prefix('u')?.split_at_checked(4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    Some((u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?, after))
}

#[cfg(test)]
mod tests {
    use super::{Value, object};
    use crate::random::{below, mix};

    #[track_caller]
    fn check_refused(text: &str, words: &str) {
        assert_eq!(object(text).unwrap_err(), words, "{text}");
    }

    #[test]
    fn what_is_wrong_is_shown_in_its_place() {
        check_refused("", "the text ends where an object in {} should be");
        check_refused("[]", "an object in {} should be where it says []");
        check_refused("{} {}", "nothing more should be where it says {}");
        check_refused("{size: 1}", "a name in quotes should be where it says size: 1}");
        check_refused(r#"{"size" 1}"#, "a colon should be where it says 1}");
        check_refused(r#"{"size": 1 "on"}"#, r#"a comma or } should be where it says "on"}"#);
        check_refused(r#"{"size": {}}"#, "a string, a number, true or false should be where it says {}}");
        check_refused(r#"{"size": 1.}"#, "a digit should be where it says }");
        check_refused(r#"{"key": "a"#, "the text ends where the end of a string should be");
        check_refused(r#"{"key": "\x"}"#, r#"the end of a string should be where it says \x"}"#);
        check_refused(r#"{"key": "\ud83d"}"#, r#"the end of a string should be where it says \ud83d"}"#);
        check_refused(
            &format!("[{}", "ä".repeat(50)),
            &format!("an object in {{}} should be where it says [{}", "ä".repeat(23)),
        );
    }

    /// Texts that are nearly right are read as serde_json reads them, or refused as it refuses them.
    #[test]
    fn it_agrees_with_serde_json() {
        const WHOLE: &str =
            r#" {"a\u00e9\ud83d\ude00" : "x\"\\\/\b\f\n\r\tß" , "b":-0.5e+1,"c": 1,"d":true,"e" :false, "":null}"#;
        const PARTS: [&str; 24] = [
            "{", "}", "\"", "\\", ":", ",", " ", "\n", "u", "0", "1", "-", "+", ".", "e", "E", "true", "null", "[",
            "d83d", "\\ude00", "ä", "\u{1}", "",
        ];
        let places: Vec<usize> = WHOLE.char_indices().map(|(at, _)| at).chain([WHOLE.len()]).collect();
        let mut accepted = 0;
        let mut random = 0;
        let mut below = |bound: usize| {
            random = mix(random);
            below(random, bound as u64) as usize
        };
        for _ in 0..100_000 {
            let mut ends = [places[below(places.len())], places[below(places.len())]];
            if below(2) == 0 {
                // Nothing taken out, only put in.
                ends[1] = ends[0];
            }
            ends.sort_unstable();
            let text = [&WHOLE[..ends[0]], PARTS[below(PARTS.len())], &WHOLE[ends[1]..]].concat();
            accepted += usize::from(agrees(&text));
        }
        assert!((5_000..95_000).contains(&accepted), "{accepted} of these are right");
    }

    /// Whether both accept it.
    #[track_caller]
    fn agrees(text: &str) -> bool {
        let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text);
        let theirs = theirs.ok().filter(|object| !object.values().any(|value| value.is_array() || value.is_object()));
        let ours = object(text).ok();
        assert_eq!(ours.is_some(), theirs.is_some(), "{text:?}");
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
        for (name, value) in &ours {
            // Of two of the same name serde_json keeps the last.
            if ours.iter().rfind(|(other, _)| other == name).is_some_and(|last| std::ptr::eq(&last.1, value)) {
                assert_eq!(serde_json::Value::from(value), theirs[name], "{text:?}");
            }
        }
        true
    }

    impl From<&Value<'_>> for serde_json::Value {
        fn from(value: &Value<'_>) -> Self {
            match value {
                Value::String(string) => Self::from(string.as_str()),
                Value::Number(digits) => serde_json::from_str(digits).unwrap(),
                Value::Flag(flag) => Self::from(*flag),
                Value::Null => Self::Null,
            }
        }
    }
}
