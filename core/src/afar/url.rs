//! URLs as they may be written in an object or answered by a server: absolute, in one form, and without what is read differently by
//! different programs.
//!
//! An allow-list compares texts. So nothing is normalised here: a URL with a user in it, with `.` and `..` as segments or with encoded
//! slashes is refused, and what is left means the same to whoever reads it.

use std::fmt;

/// The longest URL; those signed by object stores have some thousand bytes.
const MAX_BYTES: usize = 8 << 10;

/// An absolute URL of HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url {
    /// Where.
    pub origin: Origin,
    /// The path, from its first slash on.
    pub path: String,
    /// What is behind the question mark, which no pattern looks at.
    pub query: Option<String>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Without TLS.
    pub is_plain: bool,
    /// Its name or address in lower case; an IPv6 address has its brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Url {
    /// Reads `https://HOST[:PORT]/PATH[?QUERY]`, or the same with `http`.
    ///
    /// # Errors
    /// When it is anything else, or could be read in more than one way.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes"));
        }
        let (is_plain, rest) = match text.split_once("://") {
            Some(("https", rest)) => (false, rest),
            Some(("http", rest)) => (true, rest),
            _ => return Err("it must begin with https:// (or http://)".to_owned()),
        };
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let origin = Origin::parse(authority, is_plain)?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        check_path(path)?;
        if query.is_some_and(|query| !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')) {
            return Err("its query has characters that must be encoded".to_owned());
        }
        Ok(Self { origin, path: path.to_owned(), query: query.map(str::to_owned) })
    }

    /// Where a server that was asked for this sends its client: an absolute URL, or a path on the same server.
    ///
    /// # Errors
    /// As for [`Url::parse`].
    pub fn redirected(&self, location: &str) -> Result<Self, String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Self::parse(&format!("{}{location}", self.origin));
        }
        Self::parse(location)
    }
}

impl Origin {
    /// Reads `HOST[:PORT]`.
    ///
    /// # Errors
    /// When there is no host, a user, or anything that is none of both.
    pub fn parse(authority: &str, is_plain: bool) -> Result<Self, String> {
        if authority.contains('@') {
            return Err("it has a user in it: name a server only".to_owned());
        }
        // The port is behind the last colon, if that is not inside of an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let default = if is_plain { 80 } else { 443 };
        let port = port.map_or(Ok(default), |port| match port.parse() {
            Ok(0) | Err(_) => Err(format!("{port:?} is no port: use 1 to 65535")),
            Ok(port) => Ok(port),
        })?;
        let host = host.to_ascii_lowercase();
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(&host),
        };
        if is_host { Ok(Self { is_plain, host, port }) } else { Err(format!("{host:?} is no host")) }
    }

    /// `HOST`, or `HOST:PORT` where the port is not the usual one.
    pub fn authority(&self) -> String {
        let usual = if self.is_plain { 80 } else { 443 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// Whether this is a DNS name or an IPv4 address: nothing else gets into a URL.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(is_allowed)
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Whether a path means the same to everybody.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let Some(segments) = path.strip_prefix('/') else { return Err("it has no path".to_owned()) };
    // URLs may have quotes and asterisks, but what is written here is shown in commands and in patterns.
    let is_odd = |byte: &u8| !byte.is_ascii_graphic() || b"\"'*#<>\\^`{|}?".contains(byte);
    if let Some(byte) = path.bytes().find(is_odd) {
        return Err(format!("its path has the character {:?}, which does not belong there", char::from(byte)));
    }
    let last = segments.split('/').count() - 1;
    for (index, segment) in segments.split('/').enumerate() {
        if segment.is_empty() && index < last {
            return Err("its path has two slashes in a row".to_owned());
        }
        // What follows a semicolon some servers cut off before they look for dots.
        if matches!(segment.split(';').next(), Some("." | "..")) {
            return Err("its path has `.` or `..` as a segment: write where it leads".to_owned());
        }
    }
    // Encoded, these are slashes and dots to some servers and not to others; and an encoded percent sign may be decoded twice.
    for encoded in path.split('%').skip(1).map(|rest| rest.get(..2).unwrap_or_default().to_ascii_lowercase()) {
        let is_code = encoded.len() == 2 && encoded.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_code || ["2f", "5c", "2e", "25", "00"].contains(&encoded.as_str()) {
            return Err(format!("its path has %{encoded}: slashes, dots and percent signs must not be encoded"));
        }
    }
    Ok(())
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_plain { "http" } else { "https" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_read_or_refused_with_the_reason() {
        let check = |text: &str, expected: Result<&str, &str>| match (Url::parse(text), expected) {
            (Ok(url), Ok(expected)) => assert_eq!(url.to_string(), expected),
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{text}: {reason}"),
            (found, _) => panic!("{text}: {found:?}"),
        };
        check("https://Example.org:443/a/b.wasm?x=1&y=%2F", Ok("https://example.org/a/b.wasm?x=1&y=%2F"));
        check("http://10.0.0.1:8080/", Ok("http://10.0.0.1:8080/"));
        check("https://[::1]:5000/p%20q", Ok("https://[::1]:5000/p%20q"));
        for text in ["ftp://a/b", "//a/b", "a/b", "HTTPS://a/b", ""] {
            check(text, Err("must begin with https://"));
        }
        check("https://good.example@bad.example/a", Err("user"));
        check("https://good.example:80@bad.example/a", Err("user"));
        check("https://good.example", Err("no path"));
        check("https://good.example?/a", Err("no path"));
        check("https://bad.example\\@good.example/a", Err("user"));
        check("https://bad.example\\.good.example/a", Err("no host"));
        check("https:///a", Err("no host"));
        check("https://a..b/", Err("no host"));
        check("https://a:0/", Err("no port"));
        check("https://a:99999/", Err("no port"));
        check("https://::1/", Err("no host"));
        for path in ["/team/../x", "/team/./x", "/team/..", "/team/..;a=b/x"] {
            check(&format!("https://a{path}"), Err("as a segment"));
        }
        for path in ["/team/%2e%2e/x", "/team%2Fx", "/team/%5c", "/team/%252e", "/%00", "/%zz", "/%2"] {
            check(&format!("https://a{path}"), Err("must not be encoded"));
        }
        check("https://a//b", Err("two slashes"));
        check("https://a/b\\c", Err("does not belong there"));
        check("https://a/b c", Err("does not belong there"));
        check("https://a/b#c", Err("does not belong there"));
        check("https://a/bü", Err("does not belong there"));
        check("https://a/b';rm -r", Err("does not belong there"));
        check("https://a/*", Err("does not belong there"));
    }

    #[test]
    fn a_redirect_is_a_url_or_a_path() {
        let url = Url::parse("https://a:8443/x/y?z").unwrap();
        let to = |location: &str| url.redirected(location).map(|url| url.to_string());
        assert_eq!(to("/q").as_deref(), Ok("https://a:8443/q"));
        assert_eq!(to("http://b/q").as_deref(), Ok("http://b/q"));
        for location in ["//b/q", "q", "?q", "file:///etc/passwd", "/../q"] {
            assert!(to(location).is_err(), "{location}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_it_is_read_again(text in "https?://[a-z0-9.:@\\[\\]-]{1,12}[/a-z.;%2ef?#\\\\]{0,16}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(&url.to_string()), Ok(url.clone()));
            }
        }
    }
}
