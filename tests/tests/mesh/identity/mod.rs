//! Proxies that have to say who they are, and control planes that have to.

mod authority;
mod office;

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use wasmesh_control_plane::{
    identity::{Authenticator, TokenChecker},
    server::Door,
};
use wasmesh_tests::{
    Backend, ControlPlane, EndpointManifest, FakeProxy, Folder, Load, Policy, Proxy, Service, hello, until,
};

use self::{authority::Authority, office::Office};

/// A mesh whose proxies have to show tokens.
struct Guarded {
    folder: Folder,
    office: Arc<Office>,
    authority: Arc<Authority>,
    control_plane: ControlPlane,
    /// What a pod would find in its volumes.
    volume: TempDir,
}

impl Guarded {
    /// The node `node-a` is in zone `a`, and so on.
    fn with(services: &[Service], options: &[&str]) -> Self {
        let (folder, office, authority) = (Folder::default(), Office::new(), Arc::new(Authority::new()));
        folder.put(services);
        for zone in ["a", "b"] {
            folder.write(&format!("node-{zone}.json"), &node(zone).to_string());
        }
        let (issuer, reviewer) = (Arc::clone(&authority), Arc::clone(&office));
        let door = move |address: SocketAddr| Door {
            tls: Some(issuer.server(address)),
            // As after any start: nothing is known of any token.
            authenticator: Authenticator::Tokens(Arc::new(TokenChecker::new(reviewer.clone()))),
        };
        let control_plane = ControlPlane::behind(door, folder.path(), options);
        let volume = tempfile::tempdir().unwrap();
        fs::write(volume.path().join("ca.crt"), authority.pem()).unwrap();
        Self { folder, office, authority, control_plane, volume }
    }

    fn of(services: &[Service]) -> Self {
        Self::with(services, &[])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.volume.path().join(name)
    }

    fn give_token(&self, token: &str) {
        let aside = self.file(".new");
        fs::write(&aside, token).unwrap();
        fs::rename(aside, self.file("token")).unwrap();
    }

    fn proxy(&self, name: &str, options: &[&str]) -> Proxy {
        let ca = format!("--control-plane-ca={}", self.file("ca.crt").display());
        let token = format!("--token={}", self.file("token").display());
        let name = format!("--name={name}");
        let defaults = [&*name, "--namespace=shop", &ca, &token];
        Proxy::start(&self.control_plane.url(), &[&defaults, options].concat())
    }

    fn refused(&self, reason: &str) -> f64 {
        self.control_plane.admin().metric("wasmesh_control_plane_refused_total", &[("reason", reason)])
    }
}

/// `node-a` in zone `a`, for instance.
fn node(zone: &str) -> Value {
    let labels = json!({ "topology.kubernetes.io/zone": zone });
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("node-{zone}"), "labels": labels } })
}

/// Waits until a proxy shows an error with this text in it.
#[track_caller]
fn wait_error(proxy: &Proxy, text: &str) {
    let mut last = Value::Null;
    until(&format!("an error with {text:?}"), || {
        last = proxy.snapshot()["last_error"].clone();
        last.as_str().is_some_and(|error| error.contains(text))
    });
}

fn for_zone(backend: &Backend, zone: &str) -> EndpointManifest {
    EndpointManifest::from(backend).for_zone(zone)
}

#[test]
fn a_proxy_is_its_pod_and_stands_in_its_nodes_zone_whatever_it_claims() {
    let [a, b] = Backend::several();
    let web = Service::new("web").endpoint(for_zone(&a, "a")).endpoint(for_zone(&b, "b"));
    let mesh = Guarded::of(&[web]);
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    let proxy = mesh.proxy("client-1", &["--node-name=node-b", "--zone=b"]);
    mesh.control_plane.wait_current("shop/client-1");
    let stream = mesh.control_plane.stream("shop/client-1").unwrap();
    assert_eq!(
        (&stream["namespace"], &stream["node"], &stream["zone"]),
        (&"shop".into(), &"node-a".into(), &"a".into())
    );
    for _ in 0..20 {
        assert_eq!(proxy.get("http://web.default/").backend(), a.address());
    }
    assert_eq!(mesh.office.reviews(), 1);
}

#[test]
fn a_proxy_whose_node_comes_to_stand_in_another_zone_is_told() {
    let [a, b, c] = Backend::several();
    let web = Service::new("web").endpoint(for_zone(&a, "a")).endpoint(for_zone(&b, "b"));
    let mesh = Guarded::of(&[web, Service::new("anywhere").endpoint(&c)]);
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    let proxy = mesh.proxy("client-1", &[]);
    mesh.control_plane.wait_current("shop/client-1");
    assert_eq!(proxy.get("http://web.default/").backend(), a.address());
    assert_eq!(proxy.get("http://anywhere.default/").backend(), c.address());
    let load = Load::start(proxy.http(), "http://anywhere.default/", 2);
    let zone = || mesh.control_plane.stream("shop/client-1").map(|stream| stream["zone"].clone());

    // A zone that is not known any more moves nobody.
    let mut unlabelled = node("a");
    unlabelled["metadata"]["labels"] = json!({});
    mesh.folder.write("node-a.json", &unlabelled.to_string());
    mesh.folder.put_policy(&Policy::builtin("seen", "Random").target("anywhere"));
    until("what came with it is published", || {
        mesh.control_plane.admin().json("/debug/policies")["policies"][0].is_object()
    });
    mesh.control_plane.wait_current("shop/client-1");
    assert_eq!(zone(), Some("a".into()));

    let mut moved = node("b");
    moved["metadata"]["name"] = json!("node-a");
    mesh.folder.write("node-a.json", &moved.to_string());
    until("it stands in the other zone", || zone() == Some("b".into()));
    until("it chooses from there", || proxy.get("http://web.default/").backend() == b.address());
    assert!(proxy.snapshot()["last_error"].is_null(), "nothing was lost");
    load.finish_without_error();
}

#[test]
fn whoever_cannot_say_who_they_are_is_turned_away_until_they_can() {
    let mesh = Guarded::of(&[Service::new("web")]);
    let proxy = mesh.proxy("client-2", &[]);
    wait_error(&proxy, "cannot read the token");
    mesh.give_token("nonsense");
    let before = mesh.refused("malformed");
    wait_error(&proxy, "none of a ServiceAccount");
    assert!(mesh.refused("malformed") > before);
    let strange = Office::new().issue("shop", "client-2", "node-a");
    mesh.give_token(&strange);
    wait_error(&proxy, "does not accept the token: invalid bearer token");
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    wait_error(&proxy, "says that it is shop/client-2, its token is of shop/client-1");
    mesh.give_token(&mesh.office.issue("web", "client-2", "node-a"));
    wait_error(&proxy, "its token is of web/client-2");
    assert!(mesh.control_plane.stream("shop/client-2").is_none());
    mesh.give_token(&mesh.office.issue("shop", "client-2", "node-a"));
    mesh.control_plane.wait_current("shop/client-2");
}

#[test]
fn an_address_that_brings_bad_tokens_costs_few_questions_and_no_proxy_its_stream() {
    let mesh = Guarded::of(&[Service::new("web")]);
    let open = |token: &str| {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(mesh.authority.pem()));
        FakeProxy::over(Endpoint::from_shared(mesh.control_plane.url()).unwrap().tls_config(tls).unwrap(), token)
    };
    let known = mesh.office.issue("shop", "known", "node-a");
    drop(open(&known).expect("a stream"));
    let strangers = Office::new();
    let refuse =
        |n: usize| open(&strangers.issue("shop", &format!("stranger-{n}"), "node-a")).err().expect("a refusal");
    let refusals: Vec<_> = (0..60).map(refuse).collect();
    assert!(refusals[0].message().contains("invalid bearer token"), "{}", refusals[0]);
    let throttled: Vec<_> = refusals.iter().filter(|refusal| refusal.message().contains("too many tokens")).collect();
    assert!(throttled.len() > 20, "{} are", throttled.len());
    assert_eq!(throttled[0].code(), tonic::Code::Unavailable, "come again: it may be somebody else's fault");
    assert_eq!(mesh.office.reviews(), 1 + refusals.len() - throttled.len(), "nobody is asked about the others");
    assert!(open(&known).is_ok(), "those that were known come in as ever");
    let new = mesh.office.issue("shop", "new", "node-a");
    until("one that was not comes in as well, when some are forgotten", || open(&new).is_ok());
}

#[test]
fn a_control_plane_that_cannot_say_who_it_is_gets_no_token() {
    let mesh = Guarded::of(&[Service::new("web")]);
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    fs::write(mesh.file("ca.crt"), Authority::new().pem()).unwrap();
    let proxy = mesh.proxy("client-1", &[]);
    wait_error(&proxy, "another CA than the one trusted here");
    assert_eq!(mesh.office.reviews(), 0);
    // The file is read anew for each connection.
    fs::write(mesh.file("ca.crt"), mesh.authority.pem()).unwrap();
    mesh.control_plane.wait_current("shop/client-1");
}

#[test]
fn what_does_not_speak_tls_is_cut_off_and_keeps_nobody_out() {
    // Both ends of each are in this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    // All that one address may have are silent, and begin a handshake that does not end.
    let mesh = Guarded::with(&[Service::new("web")], &["--max-connections-per-source=600"]);
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    let silent: Vec<_> =
        (0..600).map(|_| std::net::TcpStream::connect(mesh.control_plane.discovery()).unwrap()).collect();
    let plain = Proxy::start(&format!("http://{}", mesh.control_plane.discovery()), &[]);
    until("the plain one fails", || plain.snapshot()["last_error"].is_string());
    let _proxy = mesh.proxy("client-1", &[]);
    mesh.control_plane.wait_current("shop/client-1");
    drop(silent);
}

#[test]
fn a_connection_whose_stream_has_ended_gives_way() {
    let mesh = Guarded::with(&[Service::new("web")], &["--max-connections=1"]);
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(mesh.authority.pem()));
    let endpoint = Endpoint::from_shared(mesh.control_plane.url()).unwrap().tls_config(tls).unwrap();
    let idle = FakeProxy::over(endpoint, &mesh.office.issue("shop", "client-1", "node-a")).expect("a stream");
    mesh.give_token(&mesh.office.issue("shop", "client-2", "node-a"));
    // The connection stays open, and answers pings; only its stream ends.
    let _idle = idle.hang_up();
    let _proxy = mesh.proxy("client-2", &[]);
    mesh.control_plane.wait_current("shop/client-2");
}

#[test]
fn a_stream_without_a_token_is_not_opened_and_no_module_is_given() {
    let (folder, office) = (Folder::default(), Office::new());
    folder.put(&[Service::new("web")]);
    let checker = Arc::new(TokenChecker::new(office));
    let door = move |_| Door { tls: None, authenticator: Authenticator::Tokens(checker.clone()) };
    let control_plane = ControlPlane::behind(door, folder.path(), &[]);
    let refused = FakeProxy::try_open(control_plane.discovery(), hello("shop/client-1", &[])).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused}");
    assert!(refused.message().contains("--token"), "{refused}");
    let refused = FakeProxy::try_module(control_plane.discovery(), &[7; 32]).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused}");
}

#[test]
fn a_module_is_fetched_with_the_token() {
    let backends = Backend::several::<2>();
    let mesh = Guarded::of(&[Service::new("web").endpoints(&backends)]);
    mesh.folder.put_policy(&Policy::wasm("own", "rust/round-robin.wasm").target("web"));
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    let proxy = mesh.proxy("client-1", &[]);
    until("the policy is programmed", || {
        proxy.get("http://web.default/");
        mesh.control_plane.admin().json("/debug/policies")["policies"][0]["proxies"]["programmed"] == 1
    });
}

#[test]
fn streams_end_in_time_and_are_opened_anew_without_a_loss() {
    let backends = Backend::several::<2>();
    let mesh = Guarded::with(&[Service::new("web").endpoints(&backends)], &["--stream-life=3"]);
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    let proxy = mesh.proxy("client-1", &[]);
    mesh.control_plane.wait_current("shop/client-1");
    let load = Load::start(proxy.http(), "http://web.default/", 2);
    for _ in 0..2 {
        let age = || mesh.control_plane.stream("shop/client-1").and_then(|it| it["connected_seconds"].as_u64());
        until("the stream is two seconds old", || age() == Some(2));
        until("it is another one", || {
            let snapshot = proxy.snapshot();
            assert!(snapshot["last_error"].is_null() && snapshot["connected_to"].is_string(), "{snapshot}");
            age() == Some(0)
        });
    }
    load.wait_answered(100);
    load.finish_without_error();
}

#[test]
fn while_tokens_cannot_be_checked_nothing_is_lost() {
    let [a, b] = Backend::several();
    let mut mesh = Guarded::of(&[Service::new("web").endpoint(&a)]);
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    let proxy = mesh.proxy("client-1", &[]);
    mesh.control_plane.wait_current("shop/client-1");
    let load = Load::start(proxy.http(), "http://web.default/", 2);
    load.wait_answered(100);
    mesh.office.set_down(true);
    mesh.folder.put(&[Service::new("web").endpoint(&b)]);
    // It comes back without any memory of tokens.
    mesh.control_plane.restart();
    wait_error(&proxy, "cannot be checked now, come again: connection refused");
    load.next_phase();
    load.wait_answered(100);
    mesh.office.set_down(false);
    mesh.control_plane.wait_current("shop/client-1");
    until("the change has come", || b.requests() > 0);
    load.finish_without_error();
}

#[test]
fn the_token_of_a_pod_that_is_gone_is_worth_nothing() {
    let mesh = Guarded::of(&[Service::new("web")]);
    mesh.give_token(&mesh.office.issue("shop", "client-1", "node-a"));
    mesh.office.revoke_all();
    let proxy = mesh.proxy("client-1", &[]);
    wait_error(&proxy, "the pod is gone");
}
