//! Fetches artefacts as registries give them out: the OCI distribution specification, as far as pulling goes.
//!
//! The clients there are for this follow redirects and ask for tokens wherever a registry sends them, with the credentials that they
//! have, and read answers of any length. A control plane that fetches what policies name must do none of that; pushing, which authors
//! do from their own desks, is left to such a client.

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use wasmesh_core::{
    afar::{AllowedModules, Image, Repository, Url},
    policy::ModuleDigest,
};

use super::{
    challenge::Challenge,
    cosign::{CosignKey, PAYLOAD, SIGNATURE},
    credentials::Credentials,
    manifest::{Layer, MANIFEST, Manifest},
    remote::Fault,
    web::{Answer, Ask, Web},
};
use crate::translate::policy::{MAX_MODULE_BYTES, Reason};

/// The most bytes of a manifest, a signed payload or a token: theirs are a few hundred or thousand.
const MAX_MANIFEST_BYTES: usize = 1 << 20;
const MAX_PAYLOAD_BYTES: usize = 64 << 10;
const MAX_TOKEN_BYTES: usize = 64 << 10;
/// How many signatures of an image are looked at.
const MAX_SIGNATURES: usize = 16;

/// Pulls from one repository.
pub(super) struct Puller<'a> {
    pub(super) web: &'a Web,
    pub(super) allowed: &'a AllowedModules,
    pub(super) repository: &'a Repository,
    pub(super) credentials: Option<&'a Credentials>,
    /// What the registry has been told and has told since: the header that it wants.
    pub(super) authorization: OnceCell<String>,
}

impl Puller<'_> {
    /// The one layer of an image, which has the digests that it says, after the signature if there is a key.
    pub(super) async fn component(&self, image: &Image, key: Option<&CosignKey>) -> Result<Bytes, Fault> {
        let expected: ModuleDigest = image.sha256.parse().map_err(|error| invalid(format!("{error}")))?;
        let bytes = self.manifest(&image.digest()).await?.ok()?;
        if ModuleDigest(Sha256::digest(&bytes).into()) != expected {
            return Err(invalid(
                "the registry gives another manifest than the digest names: it has been tampered with",
            ));
        }
        let manifest = Manifest::read(&bytes).map_err(invalid)?;
        if let Some(key) = key {
            self.check_signature(image, key).await?;
        }
        let layer = manifest.component().map_err(invalid)?;
        self.blob(layer, MAX_MODULE_BYTES).await
    }

    async fn check_signature(&self, image: &Image, key: &CosignKey) -> Result<(), Fault> {
        let (tag, digest) = (format!("sha256-{}.sig", image.sha256), image.digest());
        let mend = format!(
            "sign it: cosign sign --key cosign.key --new-bundle-format=false {}@{digest}",
            image.repository.without_scheme()
        );
        let unsigned = |what: &str| Fault::passing(Reason::InvalidRef, format!("{what} (--module-cosign-key): {mend}"));
        let answer = self.manifest(&tag).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(unsigned("it has no signature, and this mesh takes signed images only"));
        }
        let signatures = Manifest::read(&answer.ok()?).map_err(invalid)?;
        let mut newest = None;
        // From the end: new ones are added there. One that is broken, or by another key, must not hide one that is good.
        for layer in signatures.layers.iter().rev().filter(|layer| layer.media_type == PAYLOAD).take(MAX_SIGNATURES) {
            match self.check_payload(layer, key, &digest).await {
                Ok(()) => return Ok(()),
                Err(fault) => _ = newest.get_or_insert(fault),
            }
        }
        let why = match newest {
            // Perhaps it is good, but it cannot be had.
            Some(fault) if fault.reason != Reason::InvalidRef => return Err(Fault { may_pass: true, ..fault }),
            Some(fault) => fault.message,
            None => "it has none".to_owned(),
        };
        Err(unsigned(&format!("it has no signature by the key of this mesh: {why}")))
    }

    async fn check_payload(&self, layer: &Layer, key: &CosignKey, digest: &str) -> Result<(), Fault> {
        let signature = layer.annotations.as_ref().and_then(|annotations| annotations.get(SIGNATURE));
        let signature = signature.ok_or_else(|| invalid("it has a payload without a signature"))?;
        let payload = self.blob(layer, MAX_PAYLOAD_BYTES).await?;
        key.verify(&payload, signature, digest).map_err(|error| invalid(error.to_string()))
    }

    async fn manifest(&self, reference: &str) -> Result<Answer, Fault> {
        let url = self.url(&format!("manifests/{reference}"))?;
        self.get(&url, Some(MANIFEST), MAX_MANIFEST_BYTES).await
    }

    async fn blob(&self, layer: &Layer, at_most: usize) -> Result<Bytes, Fault> {
        let digest = layer.sha256().map_err(invalid)?;
        let url = self.url(&format!("blobs/sha256:{digest}"))?;
        let bytes = self.get(&url, None, at_most).await?.ok()?;
        if ModuleDigest(Sha256::digest(&bytes).into()) != digest {
            return Err(invalid(
                "the registry gives other bytes than the manifest names: they have been tampered with",
            ));
        }
        Ok(bytes)
    }

    fn url(&self, path: &str) -> Result<Url, Fault> {
        let Repository { registry, name } = self.repository;
        Url::parse(&format!("{registry}/v2/{name}/{path}")).map_err(invalid)
    }

    /// Asks the registry; once more with a token, or with name and password, if that is what it wants.
    async fn get(&self, url: &Url, accept: Option<&'static str>, at_most: usize) -> Result<Answer, Fault> {
        let answer = self.get_with(url, accept, at_most).await?;
        // What somebody wants whom the registry has sent us to is none of the registry's business, and no use of its credentials.
        let is_asked = answer.status == StatusCode::UNAUTHORIZED && answer.origin == self.repository.registry;
        if !is_asked || self.authorization.initialized() {
            return Ok(answer);
        }
        self.authorization.get_or_try_init(|| self.authorize(&answer)).await?;
        self.get_with(url, accept, at_most).await
    }

    async fn get_with(&self, url: &Url, accept: Option<&'static str>, at_most: usize) -> Result<Answer, Fault> {
        let own = format!("/v2/{}/", self.repository.name);
        // A registry may move within its own place for this repository; to anywhere else only as the administrator says.
        let may_go = |to: &Url| (to.origin == url.origin && to.path.starts_with(&own)) || self.allowed.redirect(to);
        let authorization = self.authorization.get().map(String::as_str);
        self.web.get(&Ask { url, accept, authorization, at_most, may_go: &may_go }).await
    }

    /// The header that answers a challenge.
    async fn authorize(&self, answer: &Answer) -> Result<String, Fault> {
        match Challenge::of(&answer.headers) {
            Some(Challenge::Bearer { realm, service }) => self.token(&realm, service).await,
            Some(Challenge::Basic) => self.credentials.map(Credentials::basic).ok_or_else(|| {
                let message = format!(
                    "{} wants credentials: name a Secret of type kubernetes.io/dockerconfigjson under image.pullSecretRef",
                    self.repository.registry
                );
                Fault::lasting(Reason::FetchFailed, message)
            }),
            None => {
                let message = format!("{} wants credentials in a way that is not known here", self.repository.registry);
                Err(Fault::passing(Reason::FetchFailed, message))
            }
        }
    }

    /// A token, from where the registry says they are had.
    async fn token(&self, realm: &str, service: String) -> Result<String, Fault> {
        let scope = format!("repository:{}:pull", self.repository.name);
        let parameters = [("service", service), ("scope", scope)];
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let separator = if realm.contains('?') { '&' } else { '?' };
        let refuse = |why: String| Fault::lasting(Reason::RefNotPermitted, why);
        let url = Url::parse(&format!("{realm}{separator}{}", query.join("&"))).map_err(|reason| {
            refuse(format!("{} names no place for tokens that can be used: {reason}", self.repository.registry))
        })?;
        // Credentials are for the registry: wherever else it wants them to be sent is the administrator's to allow.
        let is_bare = url.origin.is_plain && !self.repository.registry.is_plain;
        if is_bare {
            return Err(refuse(format!(
                "{} has its tokens from {}, where credentials would go without TLS: have it name a place with TLS",
                self.repository.registry, url.origin
            )));
        }
        if url.origin != self.repository.registry && !self.allowed.tokens(&url) {
            return Err(refuse(format!(
                "{} has its tokens from {place}, which is not allowed: ask the administrator of the mesh to run the control plane \
                 with --allow-module-redirects '{place}'",
                self.repository.registry,
                place = format_args!("{}{}", url.origin, url.path),
            )));
        }
        let basic = self.credentials.map(Credentials::basic);
        let may_go = |to: &Url| to.origin == url.origin || self.allowed.redirect(to);
        let ask =
            Ask { url: &url, accept: None, authorization: basic.as_deref(), at_most: MAX_TOKEN_BYTES, may_go: &may_go };
        let bytes = self.web.get(&ask).await?.ok()?;
        let Token { token, access_token } = serde_json::from_slice(&bytes).map_err(|_| {
            Fault::passing(Reason::FetchFailed, format!("{} gives something else than a token", url.origin))
        })?;
        Ok(format!("Bearer {}", if token.is_empty() { access_token } else { token }))
    }
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

fn invalid(reason: impl Into<String>) -> Fault {
    Fault::lasting(Reason::InvalidRef, reason)
}

/// A value of a query.
fn encoded(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(byte).collect()
}
