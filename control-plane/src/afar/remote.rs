//! A module that is somewhere else, as an object names it.

use std::fmt;

use wasmesh_core::{
    afar::{AllowedModules, Image, Url},
    policy::ModuleDigest,
};

use super::credentials::SecretName;
use crate::translate::policy::{
    Reason,
    spec::{HttpSource, ImageSource, WasmSpec},
};

/// What is to be fetched, and everything that what comes of it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Remote {
    /// A file on a web server, which must be this one.
    Http {
        /// Where it is.
        url: Url,
        /// The SHA-256 of its bytes, in hexadecimal.
        sha256: String,
    },
    /// An artefact in a registry.
    Image {
        /// Which one.
        image: Image,
        /// What has the registry's credentials, if it wants some.
        secret: Option<SecretName>,
    },
}

/// Why there is no module from afar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Why, in one word.
    pub reason: Reason,
    /// What is wrong and what to do about it.
    pub message: String,
    /// Whether it may well pass by itself; what hardly can is tried again after the longest pause, or for another version of an object.
    pub may_pass: bool,
}

/// A field of an object that cannot be as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misnamed {
    /// The field, below that of the module.
    pub field: &'static str,
    /// Why.
    pub reason: String,
}

impl Remote {
    /// The module from afar that a program of a policy in this namespace names, if it names one.
    pub fn of(wasm: &WasmSpec, namespace: &str) -> Option<Result<Self, Misnamed>> {
        let source = &wasm.source;
        match (&source.file, &source.config_map_key_ref, &source.http, &source.image) {
            (None, None, Some(http), None) => Some(Self::http(http, &wasm.sha256)),
            (None, None, None, Some(image)) => Some(Self::image(image, namespace)),
            _ => None,
        }
    }

    fn http(HttpSource { url }: &HttpSource, sha256: &str) -> Result<Self, Misnamed> {
        if sha256.is_empty() {
            let reason =
                "is missing: what a URL gives may change, so write the SHA-256 of the file, as sha256sum prints it";
            return Err(Misnamed { field: "sha256", reason: reason.to_owned() });
        }
        let sha256: ModuleDigest =
            sha256.parse().map_err(|error| Misnamed { field: "sha256", reason: format!("{error}") })?;
        let url = Url::parse(url).map_err(|reason| Misnamed { field: "source.http.url", reason })?;
        Ok(Self::Http { url, sha256: sha256.to_string() })
    }

    fn image(ImageSource { reference, pull_secret_ref }: &ImageSource, namespace: &str) -> Result<Self, Misnamed> {
        let image = Image::parse(reference).map_err(|reason| Misnamed { field: "source.image.reference", reason })?;
        let name = pull_secret_ref.as_ref().map(|secret| secret.name.clone());
        // It becomes part of a path at the API server.
        if let Some(name) = name.as_ref().filter(|name| !is_object_name(name)) {
            let reason =
                format!("{name:?} is no name of a Secret: lower-case letters, digits, and - and . between them");
            return Err(Misnamed { field: "source.image.pullSecretRef.name", reason });
        }
        let secret = name.map(|name| SecretName { namespace: namespace.to_owned(), name });
        Ok(Self::Image { image, secret })
    }

    /// Why the administrator does not want it to be fetched, if that is so.
    pub fn refusal(&self, allowed: &AllowedModules) -> Option<Fault> {
        if allowed.signed_only && matches!(self, Self::Http { .. }) {
            let message = "this mesh takes signed images only (--module-cosign-key), and files have no signature: put it into a \
                           registry with `wasmesh policy push`, sign it, and name it as image";
            return Some(Fault::lasting(Reason::RefNotPermitted, message));
        }
        let (is_allowed, ask_for) = match self {
            Self::Http { url, .. } => (allowed.url(url), format!("{}{}", url.origin, url.path)),
            Self::Image { image, .. } => (allowed.repository(&image.repository), image.repository.to_string()),
        };
        if is_allowed {
            return None;
        }
        let so_far = if allowed.sources.is_empty() { "no module from afar is" } else { "this source is not" };
        let message = format!(
            "{so_far} allowed in this mesh: ask its administrator to run the control plane with --allow-modules '{ask_for}'"
        );
        Some(Fault::lasting(Reason::RefNotPermitted, message))
    }

    /// Whose server it is.
    pub fn host(&self) -> &str {
        match self {
            Self::Http { url, .. } => &url.origin.host,
            Self::Image { image, .. } => &image.repository.registry.host,
        }
    }
}

/// Whether the API server would take an object of this name.
fn is_object_name(name: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let bytes = name.as_bytes();
    bytes.len() <= 253 && is_edge(bytes.first()) && is_edge(bytes.last()) && bytes.iter().copied().all(is_inner)
}

impl Fault {
    /// It is being fetched for the first time.
    pub(crate) fn pending() -> Self {
        Self::passing(Reason::Pending, "it is being fetched")
    }

    /// Something that may pass by itself: a server or network that is away, what has not been pushed or created yet.
    pub(super) fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), may_pass: true }
    }

    /// Something that the same object will meet again, unless somebody mends it.
    pub(super) fn lasting(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), may_pass: false }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What is behind the question mark may be a key.
            Self::Http { url, .. } => write!(f, "{}{}", url.origin, url.path),
            Self::Image { image, .. } => image.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_without_a_signature_is_taken_where_signatures_are_wanted() {
        let sources = ["https://a/*", "oci://a/*"].map(|pattern| pattern.parse().unwrap());
        let signed = AllowedModules { sources: sources.into(), signed_only: true, ..AllowedModules::default() };
        let either = AllowedModules { signed_only: false, ..signed.clone() };
        let digest = "ab".repeat(32);
        let file = Remote::Http { url: Url::parse("https://a/x").unwrap(), sha256: digest.clone() };
        let image = Image::parse(&format!("oci://a/x@sha256:{digest}")).unwrap();
        let image = Remote::Image { image, secret: None };
        assert_eq!((file.refusal(&either), image.refusal(&either), image.refusal(&signed)), (None, None, None));
        let refusal = file.refusal(&signed).unwrap();
        assert_eq!(refusal.reason, Reason::RefNotPermitted);
        assert!(refusal.message.contains("--module-cosign-key"), "{}", refusal.message);
    }

    #[test]
    fn a_secret_is_a_name_and_no_path() {
        let named = |name: &str| {
            let reference = format!("oci://r.example/own@sha256:{}", "ab".repeat(32));
            let image = json!({ "reference": reference, "pullSecretRef": { "name": name } });
            let wasm = serde_json::from_value(json!({ "source": { "image": image } })).unwrap();
            Remote::of(&wasm, "shop").unwrap().map(|_| ()).map_err(|misnamed| misnamed.field)
        };
        assert_eq!(named("registry-1.example"), Ok(()));
        for name in ["", "../../other/secrets/x", "a/b", "..", ".", "A", "a?b", "a%2fb", "-a", "a b"] {
            assert_eq!(named(name), Err("source.image.pullSecretRef.name"), "{name}");
        }
    }
}
