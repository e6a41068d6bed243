//! Finds one string in the beginning of a JSON document, without building the document.
//!
//! The answer is a function of the document alone, never of how much of it happens to have arrived: a string whose end
//! is not there is an answer only if enough of it is. Nothing is validated beyond what the way to the string needs; of
//! a document that is no JSON something may be found or nothing. Of members of the same name the first counts.

use memchr::memchr2;

/// Deeper documents are not searched.
const MAX_DEPTH: usize = 128;

/// The first `max_bytes` of the string at an RFC 6901 pointer, unescaped; `None` if there is none, if it is another kind
/// of value, or if it cannot be told yet.
///
/// Unpaired surrogates become U+FFFD. Other bytes are handed out as they are, whether they are UTF-8 or not.
pub(super) fn string_at(document: &[u8], pointer: &str, max_bytes: usize) -> Option<Vec<u8>> {
    let mut cursor = Cursor { rest: document };
    for token in pointer.split('/').skip(1) {
        cursor.skip_space();
        match cursor.take()? {
            b'{' => cursor.enter_object(token)?,
            b'[' => cursor.enter_array(index(token)?)?,
            _ => return None,
        }
    }
    cursor.skip_space();
    cursor.expect(b'"')?;
    cursor.string(max_bytes)
}

/// An array index as RFC 6901 writes it: no sign, no leading zero.
fn index(token: &str) -> Option<usize> {
    let is_canonical = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if is_canonical { token.parse().ok() } else { None }
}

/// What is left of a document. Every step answers `None` where the document ends or is no JSON.
struct Cursor<'a> {
    rest: &'a [u8],
}

/// A step through the inside of a string.
enum Step {
    Byte(u8),
    Character(char),
    End,
}

impl Cursor<'_> {
    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.take()? == byte).then_some(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// Goes to the value of a member, from behind the opening brace.
    fn enter_object(&mut self, token: &str) -> Option<()> {
        loop {
            self.skip_space();
            self.expect(b'"')?;
            let found = self.is_name(token)?;
            self.skip_space();
            self.expect(b':')?;
            if found {
                return Some(());
            }
            self.skip_value()?;
            self.skip_space();
            self.expect(b',')?;
        }
    }

    /// Goes to an element, from behind the opening bracket.
    fn enter_array(&mut self, index: usize) -> Option<()> {
        for _ in 0..index {
            self.skip_value()?;
            self.skip_space();
            self.expect(b',')?;
        }
        Some(())
    }

    /// Reads a string to its end and tells whether it is what the token stands for.
    fn is_name(&mut self, token: &str) -> Option<bool> {
        let mut expected = token_bytes(token);
        let mut same = true;
        loop {
            match self.step()? {
                Step::End => return Some(same && expected.next().is_none()),
                Step::Byte(byte) => same = same && expected.next() == Some(byte),
                Step::Character(character) => {
                    let mut buffer = [0; 4];
                    let bytes = character.encode_utf8(&mut buffer).bytes();
                    same = same && bytes.into_iter().all(|byte| expected.next() == Some(byte));
                }
            }
        }
    }

    /// The inside of a string up to its end or to so many bytes.
    fn string(&mut self, max_bytes: usize) -> Option<Vec<u8>> {
        let mut text = Vec::with_capacity(max_bytes.min(self.rest.len()));
        while text.len() < max_bytes {
            match self.step()? {
                Step::End => return Some(text),
                Step::Byte(byte) => text.push(byte),
                Step::Character(character) => {
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        text.truncate(max_bytes);
        Some(text)
    }

    /// The next of a string's inside.
    fn step(&mut self) -> Option<Step> {
        match self.take()? {
            b'"' => Some(Step::End),
            b'\\' => self.escape().map(Step::Character),
            byte => Some(Step::Byte(byte)),
        }
    }

    /// What is behind a backslash.
    fn escape(&mut self) -> Option<char> {
        Some(match self.take()? {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            plain @ (b'"' | b'\\' | b'/') => char::from(plain),
            _ => return None,
        })
    }

    /// What is behind `\u`, with the second half of a surrogate pair.
    fn code_point(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Some(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.rest;
        let paired = self.take()? == b'\\' && self.take()? == b'u';
        let second = if paired { self.code_unit()? } else { 0 };
        if (0xdc00..0xe000).contains(&second) {
            return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        }
        self.rest = before;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn code_unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | char::from(self.take()?).to_digit(16)?))
    }

    fn skip_string(&mut self) -> Option<()> {
        loop {
            let at = memchr2(b'"', b'\\', self.rest)?;
            let is_end = self.rest[at] == b'"';
            self.rest = self.rest.get(at + if is_end { 1 } else { 2 }..)?;
            if is_end {
                return Some(());
            }
        }
    }

    /// Goes behind a value of any kind. Its brackets are counted but not told apart.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            self.skip_space();
            match self.take()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' if depth == MAX_DEPTH => return None,
                b'{' | b'[' => {
                    depth += 1;
                    continue;
                }
                b'}' | b']' => depth = depth.checked_sub(1)?,
                b',' | b':' if depth > 0 => continue,
                b',' | b':' => return None,
                _ => self.skip_word(),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Goes behind a number or a literal.
    fn skip_word(&mut self) {
        let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let end = self.rest.iter().position(|byte| !is_of_word(byte)).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
    }
}

/// A token of a pointer, unescaped.
fn token_bytes(token: &str) -> impl Iterator<Item = u8> {
    let mut bytes = token.bytes();
    std::iter::from_fn(move || match bytes.next()? {
        b'~' => Some(if bytes.next() == Some(b'1') { b'/' } else { b'~' }),
        byte => Some(byte),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(document: &str, pointer: &str) -> Option<String> {
        string_at(document.as_bytes(), pointer, 1_000).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_string_is_found_wherever_it_stands() {
        let document = r#" { "a" : [ 1.5e+3 , {"x":{"y":[]}} , "two" ] , "b":{"c":"d","":"empty"}, "": "nameless",
            "model":"m", "messages":[{"role":"system","content":"You are"},{"role":"user","content":"Hi"}] } "#;
        for (pointer, expected) in [
            ("/a/2", Some("two")),
            ("/b/c", Some("d")),
            ("/b/", Some("empty")),
            ("/", Some("nameless")),
            ("/messages/1/content", Some("Hi")),
            ("/messages/0/role", Some("system")),
            ("/a/0", None),
            ("/a/1", None),
            ("/a/3", None),
            ("/a/02", None),
            ("/a/+2", None),
            ("/a/-", None),
            ("/a/x", None),
            ("/b", None),
            ("/b/c/d", None),
            ("/none", None),
            ("/a/99999999999999999999999", None),
        ] {
            assert_eq!(at(document, pointer).as_deref(), expected, "{pointer}");
        }
    }

    #[test]
    fn escapes_are_undone_in_values_and_names() {
        assert_eq!(at(r#"{"a":"\"\\\/\b\f\n\r\t\u0041\u00e9"}"#, "/a").unwrap(), "\"\\/\u{8}\u{c}\n\r\tAé");
        assert_eq!(at(r#"{"a":"\ud83d\ude00!"}"#, "/a").unwrap(), "😀!");
        assert_eq!(at(r#"{"a":"\ud83dx\ude00\ud83d\ud83d\ude00"}"#, "/a").unwrap(), "\u{fffd}x\u{fffd}\u{fffd}😀");
        assert_eq!(at(r#"{"\u0061\/~b":"x"}"#, "/a~1~0b").unwrap(), "x");
        assert_eq!(at(r#"{"😀":"x"}"#, "/😀").unwrap(), "x");
        assert_eq!(at(r#"{"\ud83d\ude00":"x"}"#, "/😀").unwrap(), "x");
        assert_eq!(at(r#"{"a\"b":"no","a":"yes"}"#, "/a").unwrap(), "yes");
        for bad in [r#"{"a":"\x"}"#, r#"{"a":"\u12"}"#, r#"{"a":"\u12g4"}"#, r#"{"a":"\ud83d\u"}"#] {
            assert_eq!(at(bad, "/a"), None, "{bad}");
        }
    }

    #[test]
    fn the_first_of_two_members_counts() {
        assert_eq!(at(r#"{"a":"1","a":"2"}"#, "/a").unwrap(), "1");
    }

    #[test]
    fn a_string_is_cut_to_what_was_asked_for() {
        let document = br#"{"a":"abcdef","b":"\u00e9\u00e9"}"#;
        assert_eq!(string_at(document, "/a", 3).unwrap(), b"abc");
        assert_eq!(string_at(document, "/a", 6).unwrap(), b"abcdef");
        assert_eq!(string_at(document, "/b", 3).unwrap(), "éé".as_bytes()[..3]);
    }

    #[test]
    fn a_prefix_answers_as_the_whole_does_or_not_at_all() {
        let document = r#"{"skip":[{"x":"\"}]"},null,-1.5e3,true],"a":{"b":"h\u00e9llo\ud83d\ude00 world"}}"#;
        for (max_bytes, expected) in [(100, "héllo😀 world"), (6, "héllo")] {
            let whole = string_at(document.as_bytes(), "/a/b", max_bytes);
            assert_eq!(whole.as_deref(), Some(expected.as_bytes()));
            for end in 0..document.len() {
                let told = string_at(&document.as_bytes()[..end], "/a/b", max_bytes);
                assert!(told.is_none() || told == whole, "{end}: {told:?}");
            }
        }
    }

    #[test]
    fn depth_is_bounded_and_costs_no_stack() {
        let nested = |depth: usize| format!(r#"{{"x":{}{},"a":"b"}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(at(&nested(MAX_DEPTH), "/a").unwrap(), "b");
        assert_eq!(at(&nested(MAX_DEPTH + 1), "/a"), None);
        assert_eq!(at(&"[".repeat(1_000_000), "/a"), None);
        assert_eq!(at(&"[".repeat(1_000_000), "/0/0/0"), None);
    }

    #[test]
    fn what_is_no_json_finds_nothing_or_something_but_ends() {
        for garbage in
            ["", " ", "{", "{\"", "{]", "[,]", "nul", "{\"a\"}", "{\"a\":}", "\"a\"", "{a:\"b\"}", "}{", "\u{0}"]
        {
            assert_eq!(at(garbage, "/a"), None, "{garbage:?}");
        }
        assert_eq!(string_at(b"{\"a\":\"\xff\xfe\"}", "/a", 9).unwrap(), b"\xff\xfe");
    }

    /// A document and the strings in it by their pointers.
    fn documents() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            ".{0,12}".prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[a-c/~\"\\\\é😀]{0,3}", inner, 0..5)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn pointers(value: &serde_json::Value, here: &str, found: &mut Vec<String>) {
        found.push(here.to_owned());
        match value {
            serde_json::Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| pointers(item, &format!("{here}/{index}"), found));
            }
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    let token = name.replace('~', "~0").replace('/', "~1");
                    pointers(member, &format!("{here}/{token}"), found);
                }
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_parser_of_the_whole(document in documents(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
            let mut all = Vec::new();
            pointers(&document, "", &mut all);
            for pointer in all.iter().filter(|pointer| !pointer.is_empty()) {
                let expected = document.pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned);
                prop_assert_eq!(at(&text, pointer), expected, "{} in {}", pointer, text);
            }
        }

        #[test]
        fn any_bytes_are_borne(document: Vec<u8>, pointer in "(/[a-z0-9~]{0,3}){0,4}", max_bytes in 1_usize..50) {
            let found = string_at(&document, &pointer, max_bytes);
            prop_assert!(found.is_none_or(|text| text.len() <= max_bytes));
        }

        #[test]
        fn almost_json_is_borne(document in "[{}\\[\\]\",:\\\\ua0 ]{0,60}", pointer in "(/[a0]){0,4}") {
            let _ = string_at(document.as_bytes(), &pointer, 10);
        }
    }
}
