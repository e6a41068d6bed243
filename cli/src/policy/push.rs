//! `wasmesh policy push`: puts a policy into a registry, as the CNCF's specification of Wasm artefacts has it, and says how objects
//! name it there.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol, ImageLayer},
    secrets::RegistryAuth,
};
use serde_json::{Value, json};
use wasmesh_policy_host::Calls;

use super::load::load;
use crate::options;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const WASM_LAYER: &str = "application/wasm";
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a registry may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Checks the file as `policy check` does, pushes it, and prints what an object has to say.
pub(super) fn run(options: &options::PushPolicy) -> anyhow::Result<ExitCode> {
    load(&options.file, &options.config, Calls::DirectIfPossible)?;
    let wasm = fs::read(&options.file).with_context(|| format!("cannot read {}", options.file.display()))?;
    let target = Target::parse(&options.target, options.plain_http)?;
    let auth = credentials(options.docker_config.as_deref(), target.reference.resolve_registry())?;
    let client = client(options.ca.as_deref(), target.is_plain)?;
    let artefact = Artefact::new(wasm);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(artefact.push(&client, &target.reference, &auth)).map_err(|error| {
        let anonymous = if auth == RegistryAuth::Anonymous { ", or log in with `docker login`" } else { "" };
        anyhow!(
            "cannot push to {}: {}. Is it a registry, is its certificate trusted (--ca, --plain-http), and may you push there \
             (--docker-config{anonymous})?",
            options.target,
            wasmesh_telemetry::with_causes(&error)
        )
    })?;
    crate::commands::print(&target.told(&artefact))?;
    Ok(ExitCode::SUCCESS)
}

/// Where to.
struct Target {
    reference: Reference,
    is_plain: bool,
}

impl Target {
    fn parse(text: &str, plain_http: bool) -> anyhow::Result<Self> {
        let expected = "expected oci://HOST/REPOSITORY:TAG, such as oci://registry.example/team/own:1.0";
        let (is_plain, name) = match text.split_once("://") {
            Some(("oci", name)) => (plain_http, name),
            Some(("oci+http", name)) => (true, name),
            _ => bail!("{text:?} is no place in a registry: {expected}"),
        };
        // Without a host the library would think of Docker Hub.
        let has_host = name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
        let reference: Reference = name.parse().map_err(|error| anyhow!("{text:?}: {error}: {expected}"))?;
        ensure!(has_host && reference.digest().is_none(), "{text:?} is no place in a registry: {expected}");
        ensure!(
            name.ends_with(&format!(":{}", reference.tag().unwrap_or_default())),
            "{text:?} has no tag: {expected}"
        );
        ensure!(
            !matches!(reference.registry(), "docker.io" | "index.docker.io"),
            "the registry of Docker Hub is registry-1.docker.io: write oci://registry-1.docker.io/{}:TAG",
            reference.repository()
        );
        Ok(Self { reference, is_plain })
    }

    /// What is printed: how the artefact is named, and what an object says.
    fn told(&self, artefact: &Artefact) -> String {
        let scheme = if self.is_plain { "oci+http" } else { "oci" };
        let (host, repository) = (self.reference.registry(), self.reference.repository());
        let name = format!("{scheme}://{host}/{repository}@{}", artefact.digest);
        format!("{name}\n\nspec:\n  type: Wasm\n  wasm:\n    source:\n      image:\n        reference: {name}\n")
    }
}

/// What a registry is given: the same for the same file.
struct Artefact {
    wasm: ImageLayer,
    config: ImageLayer,
    manifest: String,
    /// The manifest's.
    digest: String,
}

impl Artefact {
    fn new(wasm: Vec<u8>) -> Self {
        let wasm = ImageLayer::new(wasm, WASM_LAYER.to_owned(), None);
        let config = json!({ "architecture": "wasm", "os": "wasip2", "layerDigests": [wasm.sha256_digest()] });
        let config = ImageLayer::new(config.to_string(), WASM_CONFIG.to_owned(), None);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(&config),
            "layers": [descriptor(&wasm)],
        });
        let manifest = manifest.to_string();
        let digest = ImageLayer::new(manifest.clone(), MANIFEST.to_owned(), None).sha256_digest();
        Self { wasm, config, manifest, digest }
    }

    async fn push(
        &self,
        client: &Client,
        to: &Reference,
        auth: &RegistryAuth,
    ) -> Result<(), oci_client::errors::OciDistributionError> {
        client.auth(to, auth, RegistryOperation::Push).await?;
        for blob in [&self.wasm, &self.config] {
            client.push_blob(to, blob.data.clone(), &blob.sha256_digest()).await?;
        }
        let media_type = MANIFEST.parse().map_err(|_| oci_client::errors::OciDistributionError::GenericError(None))?;
        client.push_manifest_raw(to, self.manifest.clone(), media_type).await?;
        Ok(())
    }
}

fn descriptor(blob: &ImageLayer) -> Value {
    json!({ "mediaType": blob.media_type, "digest": blob.sha256_digest(), "size": blob.data.len() })
}

fn client(ca: Option<&Path>, is_plain: bool) -> anyhow::Result<Client> {
    // The library takes what the process has. An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authorities = match ca {
        Some(path) => {
            let data = fs::read(path).with_context(|| format!("cannot read {} (--ca)", path.display()))?;
            vec![Certificate { encoding: CertificateEncoding::Pem, data }]
        }
        None => Vec::new(),
    };
    let config = ClientConfig {
        protocol: if is_plain { ClientProtocol::Http } else { ClientProtocol::Https },
        extra_root_certificates: authorities,
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(SILENCE),
        user_agent: concat!("wasmesh/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(config).context("TLS cannot be set up: is the file of --ca a certificate in PEM?")
}

/// What Docker's configuration has for a registry, with the help of the programs that it names.
fn credentials(file: Option<&Path>, registry: &str) -> anyhow::Result<RegistryAuth> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => match default_config().filter(|path| path.exists()) {
            Some(path) => path,
            None => return Ok(RegistryAuth::Anonymous),
        },
    };
    let opened = File::open(&path).with_context(|| format!("cannot read {} (--docker-config)", path.display()))?;
    match get_credential_from_reader(opened, registry) {
        Ok(DockerCredential::UsernamePassword(name, password)) => Ok(RegistryAuth::Basic(name, password)),
        Ok(DockerCredential::IdentityToken(_)) => {
            bail!(
                "{} has an identity token for {registry}, which is not supported: log in with a password or an access token",
                path.display()
            )
        }
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        Err(error) => {
            bail!("{} (--docker-config) has no credentials for {registry} that can be used: {error}", path.display())
        }
    }
}

fn default_config() -> Option<PathBuf> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    Some(folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".docker")))?.join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_a_repository_and_a_tag() {
        let told = |text: &str| {
            let artefact = Artefact { digest: "sha256:ab".to_owned(), ..Artefact::new(b"wasm".to_vec()) };
            let text = Target::parse(text, false).map(|target| target.told(&artefact));
            text.map_or_else(|error| error.to_string(), |text| text.lines().next().unwrap_or_default().to_owned())
        };
        assert_eq!(told("oci://r.example/team/own:1.0"), "oci://r.example/team/own@sha256:ab");
        assert_eq!(told("oci+http://127.0.0.1:5000/own:1.0"), "oci+http://127.0.0.1:5000/own@sha256:ab");
        assert_eq!(told("oci://localhost/own:1"), "oci://localhost/own@sha256:ab");
        for text in
            ["r.example/own:1", "https://r.example/own:1", "oci://own:1", "oci://team/own:1", "oci://r.example:1"]
        {
            assert!(told(text).contains("expected oci://HOST/REPOSITORY:TAG"), "{}", told(text));
        }
        assert!(told("oci://r.example/own").contains("no tag"));
        assert!(told("oci://r.example/Own:1").contains("expected"));
        assert!(told("oci://docker.io/me/own:1").contains("write oci://registry-1.docker.io/me/own:TAG"));
    }

    #[test]
    fn the_same_file_is_the_same_artefact() {
        let [one, other] = [b"wasm".to_vec(), b"wasm".to_vec()].map(Artefact::new);
        assert_eq!((&one.digest, &one.manifest), (&other.digest, &other.manifest));
        let manifest: Value = serde_json::from_str(&one.manifest).unwrap();
        assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
        assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
        assert_eq!(manifest["layers"][0]["size"], 4);
    }

    #[test]
    fn credentials_are_those_of_docker() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), r#"{"auths":{"r.example":{"auth":"bWU6c2VjcmV0"},"bad.example":{"auth":"!"}}}"#)
            .unwrap();
        let found = |registry: &str| credentials(Some(file.path()), registry);
        assert_eq!(found("r.example").unwrap(), RegistryAuth::Basic("me".to_owned(), "secret".to_owned()));
        assert_eq!(found("other.example").unwrap(), RegistryAuth::Anonymous);
        assert!(found("bad.example").unwrap_err().to_string().contains("bad.example"));
        assert!(
            credentials(Some(Path::new("/nowhere/x.json")), "r").unwrap_err().to_string().contains("--docker-config")
        );
    }
}
