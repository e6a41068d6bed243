//! Modules from a registry that people use: pushed by the command line, fetched by the control plane, and refused when they are not
//! what they should be, while the version before serves.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    secrets::RegistryAuth,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use serde_json::json;
use tempfile::TempDir;
use wasmesh_tests::{Backend, Folder, Mesh, Policy, Service, built, fresh_ip, process, runtime, sha256, until};

/// `me`, with the password `correct-horse`.
const HTPASSWD: &str = "me:$2y$04$abcdefghijklmnopqrstuuPoaPXzWjiVz4HaNq2LJXksWbO79E.S6\n";

/// Debian's docker-registry, with its files in a temporary folder; killed when dropped.
struct Registry {
    folder: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Registry {
    /// One without TLS for everybody.
    fn open() -> Self {
        Self::start(tempfile::tempdir().unwrap(), fresh_ip(), "")
    }

    /// One for `me` alone, with a certificate of an authority of its own.
    fn private() -> Self {
        let (folder, ip) = (tempfile::tempdir().unwrap(), fresh_ip());
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        write("ca.crt", &authority.self_signed(&authority_key).unwrap().pem());
        let issuer = Issuer::new(authority, authority_key);
        let server = CertificateParams::new(vec![ip.to_string()]).unwrap();
        write("tls.crt", &server.signed_by(&key, &issuer).unwrap().pem());
        write("tls.key", &key.serialize_pem());
        write("htpasswd", HTPASSWD);
        let dir = folder.path().display().to_string();
        let more = format!(
            "  tls: {{certificate: {dir}/tls.crt, key: {dir}/tls.key}}\nauth: {{htpasswd: {{realm: tests, path: {dir}/htpasswd}}}}\n"
        );
        Self::start(folder, ip, &more)
    }

    fn start(folder: TempDir, ip: impl Into<IpAddr>, more: &str) -> Self {
        let (dir, address) = (folder.path().display().to_string(), SocketAddr::new(ip.into(), 15_000));
        let configuration = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {dir}/data}}}}\n\
             http:\n  addr: {address}\n  secret: tests\n{more}"
        );
        fs::write(folder.path().join("config.yml"), configuration).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.path().join("config.yml"));
        // What it refuses it says loudly, and here much is refused.
        command.stderr(fs::File::create(folder.path().join("log")).unwrap());
        let process = command.spawn().expect("docker-registry: install it");
        let registry = Self { folder, address, process };
        until("the registry listens", || TcpStream::connect(address).is_ok());
        registry
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Docker's configuration with a password for this registry.
    fn docker_config(&self, password: &str) -> String {
        let auth = STANDARD.encode(format!("me:{password}"));
        json!({ "auths": { (self.address.to_string()): { "auth": auth } } }).to_string()
    }

    /// Pushes as an author does, and returns how an object names it.
    fn push(&self, module: &str, to: &str, options: &[&str]) -> Result<String, String> {
        let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built").join(module);
        let mut command = Command::new(process::command_line());
        // Nobody's own passwords.
        command.env("DOCKER_CONFIG", self.folder.path()).args(["policy", "push"]).arg(module);
        let output = command.arg(format!("oci://{}/{to}", self.address)).args(options).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        if !output.status.success() {
            return Err(err);
        }
        let reference = out.lines().next().unwrap_or_default().to_owned();
        assert!(out.contains(&format!("        reference: {reference}\n")), "{out}");
        Ok(reference)
    }

    /// Changes what the registry keeps of a blob, as whoever has its disk can.
    fn tamper(&self, digest: &str) {
        let path = self.file(&format!("data/docker/registry/v2/blobs/sha256/{}/{digest}/data", &digest[..2]));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_secret(folder: &Folder, name: &str, config: &str) {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name },
        "type": "kubernetes.io/dockerconfigjson",
        "data": { ".dockerconfigjson": STANDARD.encode(config) },
    });
    folder.write(&format!("secret-{name}.json"), &secret.to_string());
}

fn own(reference: &str, secret: Option<&str>) -> Policy {
    Policy::image("own", reference, secret).target("web")
}

#[test]
fn a_policy_is_pushed_fetched_and_served_and_nothing_else_takes_its_place() {
    let registry = Registry::private();
    let config = registry.file("config.json");
    let ca = registry.file("ca.crt");
    let (config, ca) = (config.to_str().unwrap(), ca.to_str().unwrap());
    let with_all = ["--ca", ca, "--docker-config", config];
    fs::write(config, registry.docker_config("correct-horse")).unwrap();
    let (rust, c) = (built("rust/round-robin.wasm"), built("c/round-robin.wasm"));
    let good = registry.push("rust/round-robin.wasm", "team/own:1", &with_all).unwrap();
    assert_eq!(registry.push("rust/round-robin.wasm", "team/own:2", &with_all).unwrap(), good, "the same file");
    let next = registry.push("c/round-robin.wasm", "team/own:3", &with_all).unwrap();
    let outside = registry.push("c/round-robin.wasm", "other/own:1", &with_all).unwrap();
    let refused = registry.push("hostile/no-export.wasm", "team/own:4", &with_all).unwrap_err();
    assert!(refused.contains("no-export.wasm"), "{refused}");
    let refused = registry.push("rust/round-robin.wasm", "team/own:1", &["--docker-config", config]).unwrap_err();
    assert!(refused.contains("cannot push to") && refused.contains("--ca"), "{refused}");

    let backends = Backend::several::<2>();
    let allowed = format!("--allow-modules=oci://{}/team/*", registry.address);
    let options = [allowed.as_str(), "--module-ca", ca];
    let mesh = Mesh::administered(&options, &["--workers=1"], [Service::new("web").endpoints(&backends)]);
    mesh.spread("http://web/", 2);
    write_secret(&mesh.folder, "pull", &registry.docker_config("correct-horse"));
    write_secret(&mesh.folder, "wrong", &registry.docker_config("wrong-horse"));
    write_secret(&mesh.folder, "elsewhere", r#"{"auths":{"registry.example":{"auth":"bWU6eA=="}}}"#);
    mesh.folder.put_policy(&own(&good, Some("pull")));
    mesh.wait_module(&rust);

    registry.tamper(&sha256(&c));
    let unknown = format!("{}{}", &next[..next.len() - 64], "ab".repeat(32));
    for (reference, secret, reason, words) in [
        (&next, None, "FetchFailed", vec!["wants credentials", "image.pullSecretRef"]),
        (
            &next,
            Some("missing"),
            "RefNotFound",
            vec!["there is no Secret missing", "kubectl create secret docker-registry"],
        ),
        (&next, Some("elsewhere"), "InvalidRef", vec!["Secret default/elsewhere: it has no credentials for"]),
        (&next, Some("wrong"), "FetchFailed", vec!["401 Unauthorized", "it wants credentials, or others"]),
        (&unknown, Some("pull"), "RefNotFound", vec!["404 Not Found"]),
        (&outside, Some("pull"), "RefNotPermitted", vec!["--allow-modules 'oci://", "/other/own'"]),
        (&next, Some("pull"), "InvalidRef", vec!["have been tampered with"]),
    ] {
        mesh.folder.put_policy(&own(reference, secret));
        mesh.wait_refused(reason, &words, &rust);
        let tally = mesh.spread("http://web/", 10);
        assert!(backends.iter().all(|backend| tally[backend] == 5), "{words:?}: {tally:?}");
    }

    // A Secret that is mended is used by the next attempt. (It is the same change of a byte that mends what was tampered with.)
    registry.tamper(&sha256(&c));
    mesh.folder.put_policy(&own(&next, Some("wrong")));
    mesh.wait_refused("FetchFailed", &["401"], &rust);
    write_secret(&mesh.folder, "wrong", &registry.docker_config("correct-horse"));
    mesh.wait_module(&c);

    // Whoever is not told of the authority does not trust it.
    let strict = Mesh::administered(&[&allowed], &["--workers=1"], [Service::new("web").endpoints(&backends)]);
    write_secret(&strict.folder, "pull", &registry.docker_config("correct-horse"));
    strict.folder.put_policy(&own(&good, Some("pull")));
    until("its certificate is refused", || {
        let message = strict.policy_status()["resolved_refs"]["message"].to_string();
        message.contains("--module-ca") && message.contains("certificate")
    });
}

/// Signs as `cosign sign --key` does.
fn sign(registry: &Registry, reference: &str, key: &KeyPair) {
    let (name, digest) = reference.split_once('@').unwrap();
    let critical = json!({
        "identity": { "docker-reference": name },
        "image": { "docker-manifest-digest": digest },
        "type": "cosign container image signature",
    });
    let payload = json!({ "critical": critical, "optional": null }).to_string().into_bytes();
    let signature = STANDARD.encode(key.sign(&payload).unwrap());
    let annotations = [("dev.cosignproject.cosign/signature".to_owned(), signature)].into();
    let media_type = "application/vnd.dev.cosign.simplesigning.v1+json".to_owned();
    let layers = [ImageLayer::new(payload, media_type, Some(annotations))];
    let target: Reference = format!("{}/team/own:{}.sig", registry.address, digest.replace(':', "-")).parse().unwrap();
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let client = Client::try_from(config).unwrap();
    let pushed = client.push(&target, &layers, Config::oci_v1("{}", None), &RegistryAuth::Anonymous, None);
    runtime().block_on(pushed).unwrap();
}

#[test]
fn only_what_the_administrators_key_has_signed_is_taken() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let registry = Registry::open();
    let (rust, c) = (built("rust/round-robin.wasm"), built("c/round-robin.wasm"));
    let good = registry.push("rust/round-robin.wasm", "team/own:1", &["--plain-http"]).unwrap();
    let next = registry.push("c/round-robin.wasm", "team/own:2", &["--plain-http"]).unwrap();
    let [key, other] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let public = registry.file("cosign.pub");
    fs::write(&public, key.public_key_pem()).unwrap();
    sign(&registry, &good, &key);

    let backends = Backend::several::<2>();
    let allowed = format!("--allow-modules=oci+http://{}/*", registry.address);
    let options = [allowed.as_str(), "--module-cosign-key", public.to_str().unwrap()];
    let mesh = Mesh::administered(&options, &["--workers=1"], [Service::new("web").endpoints(&backends)]);
    mesh.spread("http://web/", 2);
    mesh.folder.put_policy(&own(&good, None));
    mesh.wait_module(&rust);

    mesh.folder.put_policy(&own(&next, None));
    mesh.wait_refused("InvalidRef", &["it has no signature", "cosign sign --key"], &rust);
    sign(&registry, &next, &other);
    mesh.wait_refused("InvalidRef", &["it is by another key"], &rust);
    sign(&registry, &next, &key);
    mesh.wait_module(&c);
}
