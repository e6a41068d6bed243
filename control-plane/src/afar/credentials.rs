//! Credentials of registries, as Kubernetes keeps them: a Secret of type `kubernetes.io/dockerconfigjson`.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::Deserialize;

use wasmesh_core::afar::Repository;

/// The type of the Secret, and its key.
const TYPE: &str = "kubernetes.io/dockerconfigjson";
const KEY: &str = ".dockerconfigjson";

/// What Docker Hub goes by: that of its registry, and those that tools write credentials under.
const HUB: &str = "registry-1.docker.io";
const HUB_TOO: [&str; 2] = ["index.docker.io", "docker.io"];

/// Names a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName {
    /// The namespace, that of the policy.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// The part of a Secret that matters here. It is never shown.
#[derive(Clone, PartialEq)]
pub struct PullSecret {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// What is under its key, if it is of that type and has it.
    config: Option<Vec<u8>>,
}

/// A name and a password, as HTTP wants them: in Base64, with a colon between. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials(String);

impl PullSecret {
    /// What matters of a Secret.
    pub fn of(Secret { metadata, data, type_, .. }: Secret) -> Self {
        let config = data.and_then(|mut data| data.remove(KEY)).map(|bytes| bytes.0);
        Self { metadata, config: config.filter(|_| type_.as_deref() == Some(TYPE)) }
    }

    /// What it has for a registry; the most specific path wins.
    ///
    /// # Errors
    /// When it is no Secret of that type, is broken, or has nothing for this registry.
    pub fn credentials(&self, repository: &Repository) -> Result<Credentials, String> {
        let config = self.config.as_ref().ok_or_else(|| {
            format!("it is not of type {TYPE} with a key {KEY}: make it with `kubectl create secret docker-registry`")
        })?;
        let config: Config = serde_json::from_slice(config)
            .map_err(|_| format!("its {KEY} is not the JSON of Docker's configuration"))?;
        let entries = config.auths.iter().filter_map(|(key, entry)| Some((specificity(key, repository)?, entry)));
        let (_, entry) = entries
            .max_by_key(|(length, _)| *length)
            .ok_or_else(|| format!("it has no credentials for {}: add them", repository.registry.authority()))?;
        entry.credentials().ok_or_else(|| {
            format!("its entry for {} has neither auth nor username and password", repository.registry.authority())
        })
    }
}

impl Credentials {
    /// As a header says it.
    pub fn basic(&self) -> String {
        format!("Basic {}", self.0)
    }
}

impl<'de> Deserialize<'de> for PullSecret {
    /// Reads a Secret as it is written; whatever else it holds is dropped.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Written {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(default)]
            data: Option<Data<ByteString>>,
            #[serde(default)]
            string_data: Option<Data<String>>,
            #[serde(default, rename = "type")]
            kind: String,
        }
        #[derive(Deserialize)]
        struct Data<T> {
            #[serde(rename = ".dockerconfigjson")]
            config: Option<T>,
        }
        let Written { metadata, data, string_data, kind } = Written::deserialize(deserializer)?;
        let (data, text) = (data.and_then(|data| data.config), string_data.and_then(|data| data.config));
        let config = text.map(String::into_bytes).or_else(|| data.map(|bytes| bytes.0));
        Ok(Self { metadata, config: config.filter(|_| kind == TYPE) })
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Entry {
    fn credentials(&self) -> Option<Credentials> {
        let has_both = STANDARD.decode(&self.auth).is_ok_and(|pair| pair.contains(&b':'));
        if has_both {
            return Some(Credentials(self.auth.clone()));
        }
        let pair = format!("{}:{}", self.username, self.password);
        (!self.username.is_empty()).then(|| Credentials(STANDARD.encode(pair)))
    }
}

/// How much of a repository's name a key of the configuration has, if it is for that repository: `HOST`, `HOST/PATH`, or a URL
/// as Docker writes it, whose path is the version of a protocol.
fn specificity(key: &str, repository: &Repository) -> Option<usize> {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let authority = repository.registry.authority();
    let is_hub = authority == HUB && HUB_TOO.iter().any(|name| host.eq_ignore_ascii_case(name));
    let is_registry = is_hub || host.eq_ignore_ascii_case(&authority);
    let rest = repository.name.strip_prefix(path)?;
    (is_registry && (path.is_empty() || rest.is_empty() || rest.starts_with('/'))).then_some(path.len())
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret {}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PullSecret({:?})", self.metadata.name)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(config: &serde_json::Value) -> PullSecret {
        serde_json::from_value(json!({
            "metadata": { "name": "pull" },
            "type": "kubernetes.io/dockerconfigjson",
            "data": { ".dockerconfigjson": STANDARD.encode(config.to_string()) },
        }))
        .unwrap()
    }

    fn found(secret: &PullSecret, repository: &str) -> Result<String, String> {
        let credentials = secret.credentials(&Repository::parse(repository, false).unwrap())?;
        Ok(String::from_utf8(STANDARD.decode(credentials.0).unwrap()).unwrap())
    }

    #[test]
    fn the_most_specific_entry_counts() {
        let auth = |pair: &str| json!({ "auth": STANDARD.encode(pair) });
        let secret = secret(&json!({ "auths": {
            "r.example": auth("all:1"),
            "r.example/team": auth("team:2"),
            "https://old.example/v1/": { "username": "old", "password": "3" },
            "r.example:5000": auth("port:4"),
            "broken.example": { "auth": "!" },
            "https://index.docker.io/v1/": auth("hub:5"),
        }}));
        assert_eq!(found(&secret, "r.example/own").as_deref(), Ok("all:1"));
        assert_eq!(found(&secret, "r.example/team/own").as_deref(), Ok("team:2"));
        assert_eq!(found(&secret, "r.example/teams/own").as_deref(), Ok("all:1"));
        assert_eq!(found(&secret, "old.example/own").as_deref(), Ok("old:3"));
        assert_eq!(found(&secret, "r.example:5000/own").as_deref(), Ok("port:4"));
        assert_eq!(found(&secret, "registry-1.docker.io/me/own").as_deref(), Ok("hub:5"));
        assert!(found(&secret, "r.example:5001/own").unwrap_err().contains("no credentials for r.example:5001"));
        assert!(found(&secret, "broken.example/own").unwrap_err().contains("neither auth nor username"));
    }

    #[test]
    fn what_is_no_such_secret_says_so_and_shows_nothing() {
        let opaque: PullSecret = serde_json::from_value(json!({ "data": { "password": "cHN0" } })).unwrap();
        assert!(found(&opaque, "r.example/own").unwrap_err().contains("kubectl create secret docker-registry"));
        let written = |kind: &str| {
            let secret = json!({ "type": kind, "stringData": { ".dockerconfigjson": "secret stuff" } });
            serde_json::from_value::<PullSecret>(secret).unwrap()
        };
        assert!(found(&written("Opaque"), "r.example/own").unwrap_err().contains("is not of type"));
        let text = written(TYPE);
        let reason = found(&text, "r.example/own").unwrap_err();
        assert!(reason.contains("is not the JSON") && !reason.contains("stuff"), "{reason}");
        assert!(!format!("{text:?}").contains("stuff"));
    }
}
