//! Artefacts in a registry, named as an object names them.

use std::fmt;

use super::url::Origin;
use crate::policy::ModuleDigest;

/// The longest name of a repository, as registries have it.
const MAX_REPOSITORY_BYTES: usize = 255;

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// The registry.
    pub registry: Origin,
    /// The name in it.
    pub name: String,
}

/// An artefact, by the SHA-256 of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Image {
    /// Where it is.
    pub repository: Repository,
    /// The SHA-256 of its manifest, in hexadecimal.
    pub sha256: String,
}

impl Image {
    /// Reads `oci://HOST[:PORT]/REPOSITORY[:TAG]@sha256:DIGEST`, or the same with `oci+http` for a registry without TLS. A tag is for
    /// people: what counts is the digest.
    ///
    /// # Errors
    /// When it is anything else; without a digest the reason says how to find it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (is_plain, rest) = scheme(text)?;
        let Some((name, digest)) = rest.split_once('@') else {
            return Err(format!(
                "it has no digest, and what a tag means may change: write {text}@sha256:…, as `wasmesh policy push` and `oras \
                 resolve` print it"
            ));
        };
        let digest: ModuleDigest = digest
            .strip_prefix("sha256:")
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| format!("{digest:?} is no digest: write sha256: and 64 hexadecimal digits behind the @"))?;
        let repository = Repository::parse(without_tag(name), is_plain)?;
        Ok(Self { repository, sha256: digest.to_string() })
    }

    /// The digest as registries write it.
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }
}

impl Repository {
    /// Reads `HOST[:PORT]/NAME`.
    ///
    /// # Errors
    /// When a part is missing, or no registry would take the name.
    pub fn parse(text: &str, is_plain: bool) -> Result<Self, String> {
        let (authority, name) =
            text.split_once('/').ok_or("it names no repository: write oci://HOST/REPOSITORY@sha256:…")?;
        let registry = Origin::parse(authority, is_plain)?;
        if name.len() > MAX_REPOSITORY_BYTES || !name.split('/').all(is_component) {
            return Err(format!(
                "{name:?} is no name of a repository: lower-case letters, digits, and -, _ and . between them"
            ));
        }
        Ok(Self { registry, name: name.to_owned() })
    }

    /// `HOST[:PORT]/NAME`, as most tools write it.
    pub fn without_scheme(&self) -> String {
        format!("{}/{}", self.registry.authority(), self.name)
    }
}

/// What is behind the scheme, and whether that means no TLS.
pub(super) fn scheme(text: &str) -> Result<(bool, &str), String> {
    match text.split_once("://") {
        Some(("oci", rest)) => Ok((false, rest)),
        Some(("oci+http", rest)) => Ok((true, rest)),
        _ => Err("it must begin with oci:// (or oci+http://, for a registry without TLS)".to_owned()),
    }
}

fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        // A colon before a slash is that of the port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

/// A part of a repository's name: letters and digits, and between them single separators.
fn is_component(part: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = part.as_bytes();
    is_edge(bytes.first()) && is_edge(bytes.last()) && bytes.iter().copied().all(is_inner) && !part.contains("..")
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.registry.is_plain { "oci+http" } else { "oci" };
        write!(f, "{scheme}://{}/{}", self.registry.authority(), self.name)
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@sha256:{}", self.repository, self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_its_digest() {
        let digest = "ab".repeat(32);
        let check = |text: &str, expected: Result<&str, &str>| {
            let text = text.replace("DIGEST", &digest);
            match (Image::parse(&text), expected) {
                (Ok(image), Ok(expected)) => assert_eq!(image.to_string(), expected.replace("DIGEST", &digest)),
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{text}: {reason}"),
                (found, _) => panic!("{text}: {found:?}"),
            }
        };
        check("oci://R.example/team/own@sha256:DIGEST", Ok("oci://r.example/team/own@sha256:DIGEST"));
        check("oci://r.example:5000/own:1.0@sha256:DIGEST", Ok("oci://r.example:5000/own@sha256:DIGEST"));
        check("oci+http://127.0.0.1:5000/own@sha256:DIGEST", Ok("oci+http://127.0.0.1:5000/own@sha256:DIGEST"));
        check("oci://r.example/own:latest", Err("it has no digest"));
        check("oci://r.example/own:latest", Err("write oci://r.example/own:latest@sha256:…"));
        check("oci://r.example/own@sha256:12", Err("is no digest"));
        check("oci://r.example/own@sha512:DIGEST", Err("is no digest"));
        check("r.example/own@sha256:DIGEST", Err("must begin with oci://"));
        check("https://r.example/own@sha256:DIGEST", Err("must begin with oci://"));
        check("oci://r.example@sha256:DIGEST", Err("names no repository"));
        check("oci://user@r.example/own@sha256:DIGEST", Err("is no digest"));
        for name in
            ["Own", "own/", "/own", "own//x", "own/../x", "own/..", "own%2fx", "own?x", "-own", "own x", "ow\u{e4}n"]
        {
            check(&format!("oci://r.example/{name}@sha256:DIGEST"), Err("is no name of a repository"));
        }
    }
}
