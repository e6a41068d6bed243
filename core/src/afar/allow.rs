//! Where modules may be had from: what the administrator allows, whoever writes policies.

use std::{fmt, str::FromStr};

use super::{
    image::{Repository, scheme},
    url::{Origin, Url, check_path},
};

/// One `--allow-modules`: a scheme, a host and a path, or all paths under one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Repositories of a registry; otherwise URLs.
    is_registry: bool,
    origin: Origin,
    /// The path from its first slash on; up to its last slash if whatever is under it is meant.
    path: String,
    is_prefix: bool,
}

/// What the administrator says of all modules. By default nothing is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedModules {
    /// What policies may name.
    pub sources: Vec<Pattern>,
    /// Where servers may send whoever asks them, for tokens and with redirects. Policies may not name these: anybody may be able to
    /// put files there, as into an object store that registries keep their blobs in.
    pub redirects: Vec<Pattern>,
    /// Whether modules must be signed, which only images can be.
    pub signed_only: bool,
}

impl AllowedModules {
    /// Whether artefacts of this repository may be had.
    pub fn repository(&self, repository: &Repository) -> bool {
        let path = format!("/{}", repository.name);
        self.sources.iter().any(|pattern| pattern.is_registry && pattern.covers(&repository.registry, &path))
    }

    /// Whether a policy may name this.
    pub fn url(&self, url: &Url) -> bool {
        self.sources.iter().any(|pattern| pattern.covers_url(url))
    }

    /// Whether a server may have its tokens from there: they are asked for with the credentials of a policy.
    pub fn tokens(&self, url: &Url) -> bool {
        self.redirects.iter().any(|pattern| pattern.covers_url(url))
    }

    /// Whether a server may redirect there.
    pub fn redirect(&self, url: &Url) -> bool {
        self.url(url) || self.redirects.iter().any(|pattern| pattern.covers_url(url))
    }
}

impl Pattern {
    /// Reads a pattern of URLs.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn of_urls(text: &str) -> Result<Self, String> {
        let pattern: Self = text.parse()?;
        if pattern.is_registry {
            return Err("servers redirect to URLs: write https://HOST/PATH or https://HOST/PATH/*".to_owned());
        }
        Ok(pattern)
    }

    fn covers_url(&self, url: &Url) -> bool {
        !self.is_registry && self.covers(&url.origin, &url.path)
    }

    fn covers(&self, origin: &Origin, path: &str) -> bool {
        let is_path = if self.is_prefix { path.starts_with(&self.path) } else { path == self.path };
        self.origin == *origin && is_path
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (is_prefix, plain) = match text.strip_suffix('*') {
            Some(start) if start.ends_with('/') => (true, start),
            Some(_) => {
                return Err(
                    "a * stands for whatever is under a path: write it behind a slash, as in oci://host/team/*"
                        .to_owned(),
                );
            }
            None => (false, text),
        };
        if plain.contains('*') {
            return Err("a * can stand at the end only: name scheme and host, as in oci://host/team/*".to_owned());
        }
        if plain.starts_with("http") {
            let Url { origin, path, query } = Url::parse(plain)?;
            if query.is_some() {
                return Err("a pattern has no query".to_owned());
            }
            return Ok(Self { is_registry: false, origin, path, is_prefix });
        }
        let (is_plain, rest) =
            scheme(plain).map_err(|_| "it must begin with oci://, https://, oci+http:// or http://".to_owned())?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if is_prefix {
            check_path(path)?;
        } else {
            Repository::parse(rest, is_plain)?;
        }
        Ok(Self { is_registry: true, origin: Origin::parse(authority, is_plain)?, path: path.to_owned(), is_prefix })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.is_registry, self.origin.is_plain) {
            (true, false) => "oci",
            (true, true) => "oci+http",
            (false, false) => "https",
            (false, true) => "http",
        };
        write!(f, "{scheme}://{}{}{}", self.origin.authority(), self.path, if self.is_prefix { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(patterns: &[&str]) -> AllowedModules {
        let sources = patterns.iter().map(|pattern| pattern.parse().expect(pattern)).collect();
        AllowedModules { sources, ..AllowedModules::default() }
    }

    fn allows_url(list: &AllowedModules, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| list.url(&url))
    }

    fn allows_repository(list: &AllowedModules, name: &str) -> bool {
        let (is_plain, rest) = scheme(name).unwrap();
        Repository::parse(rest, is_plain).is_ok_and(|repository| list.repository(&repository))
    }

    #[test]
    fn a_pattern_is_a_scheme_a_host_and_a_path() {
        let none = AllowedModules::default();
        assert!(!allows_url(&none, "https://a/x") && !allows_repository(&none, "oci://a/x"));

        let under = list(&["https://a/team/*", "oci://r:5000/team/*"]);
        assert!(allows_url(&under, "https://a/team/x.wasm") && allows_url(&under, "https://A:443/team/x/y?z"));
        for url in [
            "https://a/team",
            "https://a/teams/x",
            "https://a/x",
            "https://a.b/team/x",
            "https://b/team/x",
            "http://a/team/x",
            "https://a:8443/team/x",
            "https://a@b/team/x",
            "https://a/team/../x",
            "https://a/team/%2e%2e/x",
            "https://r:5000/team/x",
        ] {
            assert!(!allows_url(&under, url), "{url}");
        }
        assert!(allows_repository(&under, "oci://r:5000/team/x"));
        for name in [
            "oci://r:5000/team",
            "oci://r:5000/teams/x",
            "oci://r/team/x",
            "oci+http://r:5000/team/x",
            "oci://a/team/x",
        ] {
            assert!(!allows_repository(&under, name), "{name}");
        }

        let exact = list(&["https://a/x.wasm", "oci://r/own", "oci+http://127.0.0.1:5000/*"]);
        assert!(allows_url(&exact, "https://a/x.wasm") && !allows_url(&exact, "https://a/x.wasm/y"));
        assert!(allows_repository(&exact, "oci://r/own") && !allows_repository(&exact, "oci://r/own/x"));
        assert!(allows_repository(&exact, "oci+http://127.0.0.1:5000/any/thing"));
        assert!(!allows_repository(&exact, "oci://127.0.0.1:5000/any/thing"));
    }

    #[test]
    fn where_servers_may_redirect_policies_may_not() {
        let list = AllowedModules {
            redirects: vec![Pattern::of_urls("https://store/*").unwrap()],
            ..list(&["https://a/team/*"])
        };
        let [own, store] = ["https://a/team/x", "https://store/x"].map(|url| Url::parse(url).unwrap());
        assert!(list.url(&own) && list.redirect(&own) && !list.tokens(&own));
        assert!(!list.url(&store) && list.redirect(&store) && list.tokens(&store));
        assert!(Pattern::of_urls("oci://r/*").unwrap_err().contains("write https://"));
    }

    #[test]
    fn a_pattern_that_allows_more_than_it_seems_to_is_refused() {
        for (text, reason) in [
            ("*", "behind a slash"),
            ("oci://*", "no path"),
            ("oci://r/team*", "behind a slash"),
            ("oci://*/x", "at the end only"),
            ("https://*.example/*", "at the end only"),
            ("oci://r", "names no repository"),
            ("oci://r/Own", "no name of a repository"),
            ("oci://r/../*", "as a segment"),
            ("https://a", "no path"),
            ("https://a/x?y", "no query"),
            ("https://u@a/*", "user"),
            ("file:///x/*", "must begin with oci://"),
            ("r/team/*", "must begin with oci://"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        for text in ["oci://r:5000/team/*", "https://a/x.wasm", "oci+http://[::1]:5000/*", "http://a:1/*"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
    }

    /// What URLs are made of here: what is allowed is among them, and what others have got out of such paths with.
    const PIECES: &[&str] = &[
        "/team", "/team/", "/teams/", "/", "/..", "/.", "..", "%2e", "%2F", "%252e", "@b", ":443", ":80", ";", "\\",
        "x",
    ];

    proptest! {
        /// Whatever is allowed has the pattern's very text at its beginning, and no dots behind it.
        #[test]
        fn nothing_gets_out_of_its_path(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..8)) {
            let url = format!("https://a{}", pieces.concat());
            if allows_url(&list(&["https://a/team/*"]), &url) {
                let rest = url.strip_prefix("https://a").map(|rest| rest.strip_prefix(":443").unwrap_or(rest));
                let path = rest.and_then(|rest| rest.strip_prefix("/team/")).map(str::to_ascii_lowercase);
                let path = path.ok_or_else(|| TestCaseError::fail(format!("{url} is not under /team/")))?;
                let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
                prop_assert!(!path.split('/').any(is_dots) && !path.contains("%2") && !path.contains('\\'));
            }
        }
    }
}
