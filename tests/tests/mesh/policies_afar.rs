//! Modules from web servers: what is good is fetched and serves, whatever is not is refused with its reason while the version before
//! goes on. Registries are in the rung `peers`.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use serde_json::json;
use wasmesh_tests::{Backend, Mesh, Policy, Scripted, Service, built, sha256, until};

/// A web server that says what a test has put under a path, and keeps what it was asked.
#[derive(Clone)]
struct Site {
    address: SocketAddr,
    pages: Arc<Mutex<HashMap<String, Page>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
enum Page {
    Is(Vec<u8>),
    /// The same of a server that takes its time.
    Slowly(Vec<u8>),
    /// A status and the rest of the head.
    Says(String),
    /// Ever more bytes, and no word of how many.
    Endless,
    /// Nothing, and the connection stays open.
    Silent,
    /// This challenge, unless the request has that authorization; then it is the other page.
    For {
        challenge: String,
        authorization: String,
        page: Box<Page>,
    },
}

impl Site {
    fn start() -> Self {
        let pages: Arc<Mutex<HashMap<String, Page>>> = Arc::default();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let server = {
            let (pages, heads) = (Arc::clone(&pages), Arc::clone(&heads));
            Scripted::start(move |mut connection| {
                let Some(head) = connection.request_head() else { return };
                let path = head[0].split(' ').nth(1).unwrap_or_default().to_owned();
                let page = pages.lock().unwrap().get(&path).cloned();
                let mut page = page.unwrap_or_else(|| Page::Says("404 Not Found\r\n".to_owned()));
                let head = head.join("\n").to_ascii_lowercase();
                if let Page::For { challenge, authorization, page: rest } = page {
                    let has_it = head.contains(&format!("authorization: {authorization}").to_ascii_lowercase());
                    let refusal = format!("401 Unauthorized\r\nwww-authenticate: {challenge}\r\n");
                    page = if has_it { *rest } else { Page::Says(refusal) };
                }
                heads.lock().unwrap().push(head);
                if matches!(page, Page::Slowly(_)) {
                    thread::sleep(Duration::from_millis(500));
                }
                match page {
                    Page::Is(bytes) | Page::Slowly(bytes) => {
                        let head =
                            format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", bytes.len());
                        let _ = connection.send([head.as_bytes(), &bytes].concat());
                    }
                    Page::Says(head) => {
                        let _ =
                            connection.send(format!("HTTP/1.1 {head}connection: close\r\ncontent-length: 0\r\n\r\n"));
                    }
                    Page::Endless => {
                        let _ = connection.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                        while connection.send([7; 65_536]).is_ok() {}
                    }
                    // The other side gives up, and that is all there is to read.
                    Page::Silent => while connection.request_head().is_some() {},
                    Page::For { .. } => unreachable!("one challenge is enough"),
                }
            })
        };
        Self { address: server.address(), pages, heads }
    }

    fn put(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// As a registry: an artefact with this layer, of which the name is given.
    fn put_artefact(&self, layer: &[u8], blob: impl FnOnce(&str) -> Page, guard: impl Fn(Page) -> Page) -> String {
        let digest = sha256(layer);
        let layers =
            [json!({ "mediaType": "application/wasm", "size": layer.len(), "digest": format!("sha256:{digest}") })];
        let manifest = json!({ "schemaVersion": 2, "layers": layers }).to_string().into_bytes();
        let path = format!("/v2/own/blobs/sha256:{digest}");
        self.put(&path, guard(blob(&path)));
        let name = sha256(&manifest);
        self.put(&format!("/v2/own/manifests/sha256:{name}"), guard(Page::Is(manifest)));
        format!("oci+http://{}/own@sha256:{name}", self.address)
    }

    /// Whether anything was asked with this in its head.
    fn was_asked(&self, word: &str) -> bool {
        self.heads.lock().unwrap().iter().any(|head| head.contains(word))
    }

    fn pattern(&self, under: &str) -> String {
        format!("--allow-modules=http://{}{under}*", self.address)
    }

    fn redirects(&self, under: &str) -> String {
        format!("--allow-module-redirects=http://{}{under}*", self.address)
    }
}

/// A policy for `web` whose module is had from there, and is this one.
fn from(url: &str, module: &[u8]) -> Policy {
    Policy::http("own", url, module).target("web")
}

#[test]
fn a_module_from_a_web_server_serves_and_nothing_that_is_wrong_takes_its_place() {
    let (site, elsewhere) = (Site::start(), Site::start());
    let (rust, c) = (built("rust/round-robin.wasm"), built("c/round-robin.wasm"));
    let backends = Backend::several::<2>();
    let services = [Service::new("web").policy("random").endpoints(&backends)];
    let allowed = site.pattern("/team/");
    let mesh = Mesh::administered(&[&allowed, "--module-timeout=0.5"], &["--workers=1"], services);
    mesh.spread("http://web/", 4);

    // What is not there yet is fetched when it is.
    mesh.folder.put_policy(&from(&site.url("/team/own.wasm"), &rust));
    until("it is not there", || {
        let status = mesh.policy_status();
        let message = status["resolved_refs"]["message"].as_str().unwrap_or_default();
        status["resolved_refs"]["reason"] == "RefNotFound" && message.contains("put it there")
    });
    site.put("/team/own.wasm", Page::Is(rust.clone()));
    mesh.wait_module(&rust);

    let mut tampered = c.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let mut large = c.clone();
    large.resize((4 << 20) + 1, 0);
    let to = |url: String| Page::Says(format!("302 Found\r\nlocation: {url}\r\n"));
    elsewhere.put("/team/own.wasm", Page::Is(c.clone()));
    site.put("/other/own.wasm", Page::Is(c.clone()));
    let place = format!("http://{}", elsewhere.address);
    let ask_for = format!("--allow-module-redirects '{place}/*'");
    for (page, reason, words) in [
        (Page::Is(tampered), "InvalidRef", vec!["its SHA-256 is", "not what was meant"]),
        (Page::Is(b"<html>".to_vec()), "InvalidRef", vec!["not WebAssembly"]),
        (Page::Is(large), "InvalidRef", vec!["more than 4194304 bytes"]),
        (Page::Endless, "InvalidRef", vec!["more than 4194304 bytes"]),
        (Page::Silent, "FetchFailed", vec!["within 0.5 s (--module-timeout)", "is it up"]),
        (Page::Says("503 Service Unavailable\r\n".to_owned()), "FetchFailed", vec!["503", "tried again"]),
        (to(elsewhere.url("/team/own.wasm")), "RefNotPermitted", vec!["redirects to", &place, &ask_for]),
        (to("/other/own.wasm".to_owned()), "RefNotPermitted", vec!["nothing there is allowed"]),
        (to("/team/../other/own.wasm".to_owned()), "RefNotPermitted", vec!["cannot be used"]),
        (to("/team/next.wasm".to_owned()), "FetchFailed", vec!["more than 5 times"]),
    ] {
        site.put("/team/next.wasm", page);
        mesh.folder.put_policy(&from(&site.url("/team/next.wasm"), &c));
        mesh.wait_refused(reason, &words, &rust);
        // The version before goes on: alternately, as round-robin does.
        let tally = mesh.spread("http://web/", 10);
        assert!(backends.iter().all(|backend| tally[backend] == 5), "{words:?}: {tally:?}");
        // Another object, or what cannot pass would not be tried again.
        mesh.folder.put_policy(&from(&site.url("/team/own.wasm"), &rust));
        until("all is well again", || mesh.policy_status()["resolved_refs"]["status"] == true);
    }
    for url in [
        elsewhere.url("/team/own.wasm"),
        site.url("/other/own.wasm"),
        format!("http://{}@{}/team/own.wasm", site.address, elsewhere.address),
        site.url("/team/../other/own.wasm"),
        site.url("/team/%2e%2e/other/own.wasm"),
    ] {
        mesh.folder.put_policy(&from(&url, &c));
        let told = || {
            let status = mesh.policy_status();
            let is_bad = |condition: &str| status[condition]["status"] == false;
            let is_here = status["serving"]["program"]["module"] == sha256(&rust);
            (is_bad("resolved_refs") || is_bad("accepted")) && is_here
        };
        until(&format!("{url} is refused"), told);
        mesh.folder.put_policy(&from(&site.url("/team/own.wasm"), &rust));
        until("all is well again", || mesh.policy_status()["resolved_refs"]["status"] == true);
    }

    // Within what is allowed it may redirect.
    site.put("/team/next.wasm", to(site.url("/team/real.wasm")));
    site.put("/team/real.wasm", Page::Is(c.clone()));
    mesh.folder.put_policy(&from(&site.url("/team/next.wasm"), &c));
    mesh.wait_module(&c);
}

#[test]
fn without_a_word_of_the_administrator_nothing_is_fetched() {
    let site = Site::start();
    let module = built("rust/round-robin.wasm");
    site.put("/own.wasm", Page::Is(module.clone()));
    let backends = Backend::several::<2>();
    let mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    mesh.folder.put_policy(&from(&site.url("/own.wasm"), &module));
    let ask_for = format!(
        "no module from afar is allowed in this mesh: ask its administrator to run the control plane with --allow-modules '{}'",
        site.url("/own.wasm")
    );
    until("it is refused", || {
        let condition = mesh.policy_status()["resolved_refs"].clone();
        condition["reason"] == "RefNotPermitted"
            && condition["message"].as_str().is_some_and(|why| why.contains(&ask_for))
    });
    let unsure = from(&site.url("/own.wasm"), &module).set("/wasm/sha256", "".into());
    mesh.folder.put_policy(&unsure);
    until("a URL needs a digest", || {
        let condition = mesh.policy_status()["accepted"].clone();
        condition["message"].as_str().is_some_and(|why| why.contains("spec.wasm.sha256: is missing"))
    });
}

#[test]
fn a_candidate_may_come_from_afar_and_a_restart_fetches_before_it_serves() {
    let site = Site::start();
    let (rust, c) = (built("rust/round-robin.wasm"), built("c/round-robin.wasm"));
    site.put("/rust.wasm", Page::Is(rust.clone()));
    site.put("/c.wasm", Page::Is(c.clone()));
    let backends = Backend::several::<2>();
    let allowed = site.pattern("/");
    let services = [Service::new("web").endpoints(&backends)];
    let mut mesh = Mesh::administered(&[&allowed], &["--workers=1"], services);
    mesh.spread("http://web/", 2);
    let next = json!({ "source": { "http": { "url": site.url("/c.wasm") } }, "sha256": sha256(&c) });
    let candidate = json!({ "mode": "Shadow", "wasm": next });
    mesh.folder.put_policy(&from(&site.url("/rust.wasm"), &rust).set("/candidate", candidate));
    mesh.wait_module(&rust);
    mesh.wait_module(&c);

    // As servers far away do: who does not wait for them publishes without.
    site.put("/rust.wasm", Page::Slowly(rust.clone()));
    mesh.control_plane.restart();
    // Ready means that there is a snapshot: its very first has the module.
    assert_eq!(mesh.policy_status()["serving"]["program"]["module"], sha256(&rust));
}

#[test]
fn a_broken_signature_hides_no_good_one() {
    let (site, key) = (Site::start(), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let public = folder.path().join("cosign.pub");
    fs::write(&public, key.public_key_pem()).unwrap();
    let rust = built("rust/round-robin.wasm");
    let backends = Backend::several::<2>();
    let allowed = format!("--allow-modules=oci+http://{}/*", site.address);
    let key_option = format!("--module-cosign-key={}", public.display());
    let services = [Service::new("web").endpoints(&backends)];
    let mesh = Mesh::administered(&[&allowed, &key_option], &["--workers=1"], services);
    mesh.spread("http://web/", 2);

    let reference = site.put_artefact(&rust, |_| Page::Is(rust.clone()), |page| page);
    let (_, image) = reference.split_once("@sha256:").unwrap();
    let critical = json!({
        "identity": { "docker-reference": "" },
        "image": { "docker-manifest-digest": format!("sha256:{image}") },
        "type": "cosign container image signature",
    });
    let payload = json!({ "critical": critical }).to_string().into_bytes();
    let layer = |digest: &str, signature: &str| {
        json!({
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": 1, "digest": format!("sha256:{digest}"),
            "annotations": { "dev.cosignproject.cosign/signature": signature },
        })
    };
    let good = layer(&sha256(&payload), &STANDARD.encode(key.sign(&payload).unwrap()));
    site.put(&format!("/v2/own/blobs/sha256:{}", sha256(&payload)), Page::Is(payload));
    // One whose payload is not there, before and behind it, and more than are looked at before that.
    let bad = layer(&"ab".repeat(32), "AAAA");
    let layers = [vec![bad.clone(); 20], vec![good, bad]].concat();
    let signatures = json!({ "schemaVersion": 2, "layers": layers }).to_string().into_bytes();
    site.put(&format!("/v2/own/manifests/sha256-{image}.sig"), Page::Is(signatures));
    mesh.folder.put_policy(&Policy::image("own", &reference, None).target("web"));
    mesh.wait_module(&rust);
}

/// A mesh with a module that serves, and with this list.
fn serving(site: &Site, module: &[u8], more: &[&str], backends: &[Backend]) -> Mesh {
    let allowed = [format!("--allow-modules=oci+http://{}/*", site.address), site.pattern("/first/")];
    let options: Vec<_> = allowed.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let mesh = Mesh::administered(&options, &["--workers=1"], [Service::new("web").endpoints(backends)]);
    mesh.spread("http://web/", 2);
    site.put("/first/own.wasm", Page::Is(module.to_vec()));
    mesh.folder.put_policy(&from(&site.url("/first/own.wasm"), module));
    mesh.wait_module(module);
    mesh
}

#[test]
fn a_registry_that_is_not_what_it_says_is_refused() {
    let (rust, c) = (built("rust/round-robin.wasm"), built("c/round-robin.wasm"));
    let backends = Backend::several::<2>();
    for (what, reason, words) in [
        ("tampered", "InvalidRef", "have been tampered with"),
        ("endless", "InvalidRef", "more than 4194304 bytes"),
        ("silent", "FetchFailed", "within 0.5 s (--module-timeout)"),
        ("elsewhere", "RefNotPermitted", "redirects to"),
        ("out", "RefNotPermitted", "redirects to"),
        ("absent", "RefNotFound", "404"),
        ("basic", "FetchFailed", "image.pullSecretRef"),
        ("tokens", "RefNotPermitted", "has its tokens from"),
    ] {
        let (site, elsewhere) = (Site::start(), Site::start());
        let mesh = serving(&site, &rust, &["--module-timeout=0.5"], &backends);
        let moved = |url: String| Page::Says(format!("307 Temporary Redirect\r\nlocation: {url}\r\n"));
        let blob = |path: &str| match what {
            "tampered" => Page::Is([&c[..c.len() - 1], &[!c[c.len() - 1]]].concat()),
            "endless" => Page::Endless,
            "silent" => Page::Silent,
            "elsewhere" => {
                elsewhere.put(path, Page::Is(c.clone()));
                moved(elsewhere.url(path))
            }
            "out" => moved("/v2/own/../other".to_owned()),
            "absent" => Page::Says("404 Not Found\r\n".to_owned()),
            _ => Page::Is(c.clone()),
        };
        let realm = elsewhere.url("/token");
        let guard = |page: Page| match what {
            "basic" => challenge("basic realm=\"r\"", "basic x", page),
            "tokens" => challenge(&format!("bearer realm=\"{realm}\",service=\"s\""), "bearer x", page),
            _ => page,
        };
        let reference = site.put_artefact(&c, blob, guard);
        mesh.folder.put_policy(&Policy::image("own", &reference, None).target("web"));
        mesh.wait_refused(reason, &[words], &rust);
        let tally = mesh.spread("http://web/", 10);
        assert!(backends.iter().all(|backend| tally[backend] == 5), "{what}: {tally:?}");
        assert!(elsewhere.heads.lock().unwrap().is_empty(), "{what}: it was asked");
    }
}

fn challenge(challenge: &str, authorization: &str, page: Page) -> Page {
    Page::For { challenge: challenge.to_owned(), authorization: authorization.to_owned(), page: Box::new(page) }
}

#[test]
fn tokens_and_blobs_may_be_elsewhere_if_the_administrator_says_so() {
    let (rust, c) = (built("rust/round-robin.wasm"), built("c/round-robin.wasm"));
    let backends = Backend::several::<2>();
    let (site, tokens, blobs) = (Site::start(), Site::start(), Site::start());
    let allowed = [tokens.redirects("/"), blobs.redirects("/store/")];
    let mesh = serving(&site, &rust, &[&allowed[0], &allowed[1]], &backends);
    write_secret(&mesh, &site);
    let token = Page::Is(br#"{"token":"of-the-service"}"#.to_vec());
    tokens.put("/token?service=a%20b&scope=repository%3Aown%3Apull", challenge("basic", "basic bWU6c2VjcmV0", token));
    let realm = format!("Bearer realm=\"{}\",service=\"a b\"", tokens.url("/token"));
    let reference = site.put_artefact(
        &c,
        |_| Page::Says(format!("307 Temporary Redirect\r\nlocation: {}\r\n", blobs.url("/store/x?signature=y"))),
        |page| challenge(&realm, "bearer of-the-service", page),
    );
    blobs.put("/store/x?signature=y", Page::Is(c.clone()));
    mesh.folder.put_policy(&Policy::image("own", &reference, Some("pull")).target("web"));
    mesh.wait_module(&c);
    assert!(tokens.was_asked("authorization: basic") && site.was_asked("authorization: bearer"));
    assert!(!site.was_asked("authorization: basic") && !blobs.was_asked("authorization"));

    // No policy may name what servers may redirect to.
    mesh.folder.put_policy(&from(&blobs.url("/store/x"), &rust));
    mesh.wait_refused("RefNotPermitted", &["ask its administrator"], &c);
}

#[test]
fn credentials_are_for_the_registry_and_for_nobody_whom_it_redirects_to() {
    let (rust, c) = (built("rust/round-robin.wasm"), built("c/round-robin.wasm"));
    let backends = Backend::several::<2>();
    let (site, blobs) = (Site::start(), Site::start());
    let mesh = serving(&site, &rust, &[&blobs.redirects("/")], &backends);
    write_secret(&mesh, &site);
    let realm = format!("Bearer realm=\"{}\",service=\"s\"", blobs.url("/token"));
    blobs.put("/store/x", challenge(&realm, "bearer x", Page::Is(c.clone())));
    let moved = format!("307 Temporary Redirect\r\nlocation: {}\r\n", blobs.url("/store/x"));
    let reference = site.put_artefact(&c, |_| Page::Says(moved), |page| page);
    mesh.folder.put_policy(&Policy::image("own", &reference, Some("pull")).target("web"));
    mesh.wait_refused("FetchFailed", &[&blobs.address.to_string(), "401"], &rust);
    assert!(!blobs.was_asked("/token") && !blobs.was_asked("authorization") && !site.was_asked("authorization"));
}

/// Gives the policies of a mesh a Secret, `pull`, with credentials for this registry: `me:secret`.
fn write_secret(mesh: &Mesh, site: &Site) {
    let config = json!({ "auths": { (site.address.to_string()): { "auth": "bWU6c2VjcmV0" } } });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "pull" }, "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": config.to_string() },
    });
    mesh.folder.write("secret.json", &secret.to_string());
}
