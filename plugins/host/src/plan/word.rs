//! The words by which a plan names parts of a request.

use std::fmt;

/// What a `json:` word or `body:` can ask for at most, in bytes.
pub const MAX_BODY_BYTES: usize = 65_536;

/// The longest word, in bytes.
const MAX_WORD_BYTES: usize = 256;

/// Part of a request. The texts are as the plan wrote them, but for header names, which are lower-case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Word {
    /// `header:NAME`: the raw bytes of the header's first value.
    Header(String),
    /// `cookie:NAME`: the raw value of the first cookie of exactly that name.
    Cookie(String),
    /// `query:NAME`: the raw value, not percent-decoded, of the first parameter of exactly that name.
    Query(String),
    /// `path`: the path as sent, without the query.
    Path,
    /// `authority`: the Host or `:authority`, lower-cased, with its port if one was sent.
    Authority,
    /// `source-address`: the client's IP as text, without a port.
    SourceAddress,
    /// `sni`: the name that a TLS client asks for, lower-cased.
    Sni,
    /// `json:POINTER#N`: the string at a pointer into a JSON body, cut to so many bytes.
    Json {
        /// RFC 6901.
        pointer: String,
        /// From 1 to [`MAX_BODY_BYTES`].
        max_bytes: usize,
    },
}

/// Headers that carry secrets. Policies run in other people's pods: they get them only by an administrator's grant.
const SENSITIVE_HEADERS: [&str; 12] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
    "x-amz-security-token",
    "x-goog-api-key",
    "x-forwarded-client-cert",
];

impl Word {
    /// Reads a word.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the end of a sentence that begins with the word.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_WORD_BYTES {
            return Err(format!("is longer than {MAX_WORD_BYTES} bytes"));
        }
        match text {
            "path" => return Ok(Self::Path),
            "authority" => return Ok(Self::Authority),
            "source-address" => return Ok(Self::SourceAddress),
            "sni" => return Ok(Self::Sni),
            _ => {}
        }
        let Some((kind, name)) = text.split_once(':') else {
            return Err(unknown());
        };
        match kind {
            "header" if is_token(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            "header" => Err("does not name a header: expected letters, digits and hyphens".to_owned()),
            "cookie" if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            "cookie" => Err("does not name a cookie".to_owned()),
            "query" if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            "query" => Err("does not name a parameter".to_owned()),
            "json" => json(name),
            _ => Err(unknown()),
        }
    }

    /// Whether it may carry a secret.
    pub fn is_sensitive(&self) -> bool {
        match self {
            Self::Header(name) => SENSITIVE_HEADERS.contains(&name.as_str()),
            Self::Cookie(_) => true,
            _ => false,
        }
    }

    /// Whether it is found in the body.
    pub fn is_of_body(&self) -> bool {
        matches!(self, Self::Json { .. })
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Path => f.write_str("path"),
            Self::Authority => f.write_str("authority"),
            Self::SourceAddress => f.write_str("source-address"),
            Self::Sni => f.write_str("sni"),
            Self::Json { pointer, max_bytes } => write!(f, "json:{pointer}#{max_bytes}"),
        }
    }
}

fn unknown() -> String {
    "is not known: expected header:NAME, cookie:NAME, query:NAME, path, authority, source-address, sni or \
     json:POINTER#BYTES"
        .to_owned()
}

/// A token of RFC 9110, of which the names of headers and cookies are made.
fn is_token(name: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token_byte)
}

fn json(text: &str) -> Result<Word, String> {
    let (pointer, bytes) = text.rsplit_once('#').ok_or("does not say how many bytes: expected json:POINTER#BYTES")?;
    let max_bytes = byte_count(bytes)?;
    if !pointer.starts_with('/') {
        return Err("does not begin with / after json:, as a pointer into an object does".to_owned());
    }
    let mut escapes = pointer.split('~').skip(1);
    if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Err("has a ~ that is neither ~0 (for ~) nor ~1 (for /)".to_owned());
    }
    Ok(Word::Json { pointer: pointer.to_owned(), max_bytes })
}

/// A number of bytes of a body.
pub(super) fn byte_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MAX_BODY_BYTES).contains(count));
    count.ok_or_else(|| format!("asks for {text:?} bytes: expected a number from 1 to {MAX_BODY_BYTES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for text in [
            "header:x-tenant",
            "cookie:User",
            "query:a b",
            "query:x:y#z",
            "path",
            "authority",
            "source-address",
            "sni",
            "json:/messages/0/content#256",
            "json:/#1",
            "json:/a~0b~1c#65536",
            "json:/a#b#2",
        ] {
            let word = Word::parse(text).unwrap_or_else(|why| panic!("{text} {why}"));
            assert_eq!(word.to_string(), text);
        }
        assert_eq!(Word::parse("header:X-Tenant"), Ok(Word::Header("x-tenant".to_owned())));
    }

    #[test]
    fn every_bad_word_is_told_why() {
        let long = format!("query:{}", "x".repeat(300));
        for (text, why) in [
            ("", "is not known"),
            ("Path", "is not known"),
            ("path ", "is not known"),
            ("method", "is not known"),
            ("trailer:x", "is not known"),
            ("header", "is not known"),
            ("header:", "does not name a header"),
            ("header:x y", "does not name a header"),
            ("header:x\r\ny", "does not name a header"),
            ("header::path", "does not name a header"),
            ("cookie:", "does not name a cookie"),
            ("cookie:a=b", "does not name a cookie"),
            ("query:", "does not name a parameter"),
            ("json:/a", "how many bytes"),
            ("json:a#1", "begin with /"),
            ("json:#1", "begin with /"),
            ("json:/a~#1", "~"),
            ("json:/a~2#1", "~"),
            ("json:/a#0", "from 1 to 65536"),
            ("json:/a#65537", "from 1 to 65536"),
            ("json:/a#-1", "from 1 to 65536"),
            ("json:/a#", "from 1 to 65536"),
            ("json:/a#99999999999999999999", "from 1 to 65536"),
            (&long, "longer than 256"),
        ] {
            let told = Word::parse(text).unwrap_err();
            assert!(told.contains(why), "{text:?} {told}");
        }
    }

    #[test]
    fn what_may_carry_a_secret_is_known() {
        for text in ["header:Authorization", "header:cookie", "header:X-Api-Key", "cookie:user"] {
            assert!(Word::parse(text).unwrap().is_sensitive(), "{text}");
        }
        for text in ["header:x-tenant", "query:api-key", "path"] {
            assert!(!Word::parse(text).unwrap().is_sensitive(), "{text}");
        }
    }
}
