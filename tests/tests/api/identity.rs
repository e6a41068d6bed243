//! Tokens that the real API server issues and reviews.

use std::{fs, path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use tempfile::TempDir;
use wasmesh_control_plane::{
    identity::{Authenticator, KubernetesReviewer, TokenChecker},
    server::Door,
};
use wasmesh_tests::{
    ControlPlane, Folder, Proxy, Service,
    kube::{ApiServer, FakePod},
    runtime, until,
};

const ROLE: &str = include_str!("../../../deploy/clusterrole.yaml");
const AUDIENCE: &str = "wasmesh";

/// A control plane that asks the API server who its proxies are, and may do what the shipped role says.
struct Guarded<'a> {
    server: &'a ApiServer,
    namespace: String,
    control_plane: ControlPlane,
    _folder: Folder,
    volume: TempDir,
}

impl<'a> Guarded<'a> {
    fn of(server: &'a ApiServer, name: &str, options: &[&str]) -> Self {
        let namespace = server.namespace(name);
        server.node(&namespace, Some("zone-of-it"));
        server.kubectl(&["--namespace", &namespace, "create", "serviceaccount", "control-plane"], "");
        server.apply(ROLE);
        let account = format!("--serviceaccount={namespace}:control-plane");
        let role = "--clusterrole=wasmesh-control-plane";
        server.kubectl(&["create", "clusterrolebinding", &namespace, role, &account], "");
        let client = server.client_of(&server.account_kubeconfig(&namespace, "control-plane"), runtime());
        let folder = Folder::default();
        folder.put(&[Service::new("web")]);
        let labels = json!({ "topology.kubernetes.io/zone": "zone-of-it" });
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": namespace, "labels": labels } });
        folder.write("node.json", &node.to_string());
        let door = move |_| {
            let reviewer = KubernetesReviewer::new(client.clone());
            let authenticator = Authenticator::Tokens(Arc::new(TokenChecker::new(Arc::new(reviewer))));
            Door { tls: None, authenticator }
        };
        let control_plane = ControlPlane::behind(door, folder.path(), options);
        Self { server, namespace, control_plane, _folder: folder, volume: tempfile::tempdir().unwrap() }
    }

    fn pod(&self, name: &str, ip: &str) {
        let (namespace, ips) = (&self.namespace, &[ip]);
        let (labels, annotations, ports) = (&[], &[], &[]);
        self.server.pod(&FakePod { namespace, name, node: namespace, labels, annotations, ips, ports });
    }

    /// A token as the kubelet would ask for.
    fn token_of(&self, pod: &str, audience: &str) -> String {
        let name = format!("--bound-object-name={pod}");
        self.server.token(&self.namespace, "default", audience, &["--bound-object-kind=Pod", &name])
    }

    fn token_file(&self, pod: &str) -> PathBuf {
        self.volume.path().join(pod)
    }

    fn give(&self, pod: &str, token: &str) {
        let aside = self.volume.path().join(".new");
        fs::write(&aside, token).unwrap();
        fs::rename(aside, self.token_file(pod)).unwrap();
    }

    fn proxy(&self, pod: &str) -> Proxy {
        let (name, namespace) = (format!("--name={pod}"), format!("--namespace={}", self.namespace));
        let token = format!("--token={}", self.token_file(pod).display());
        Proxy::start(&self.control_plane.url(), &[&name, &namespace, &token])
    }

    #[track_caller]
    fn wait_current(&self, pod: &str) {
        self.control_plane.wait_current(&format!("{}/{pod}", self.namespace));
    }
}

#[track_caller]
fn wait_error(proxy: &Proxy, text: &str) {
    until(&format!("an error with {text:?}"), || match &proxy.snapshot()["last_error"] {
        Value::String(error) => error.contains(text),
        _ => false,
    });
}

#[test]
fn a_pod_is_known_by_its_bound_token_and_stands_on_its_node() {
    let mesh = Guarded::of(ApiServer::shared(), "identity", &[]);
    mesh.pod("web-1", "10.244.9.1");
    mesh.give("web-1", &mesh.token_of("web-1", AUDIENCE));
    let _proxy = mesh.proxy("web-1");
    mesh.wait_current("web-1");
    let stream = mesh.control_plane.stream(&format!("{}/web-1", mesh.namespace)).unwrap();
    assert_eq!([&stream["node"], &stream["zone"]], [&*mesh.namespace, "zone-of-it"]);
}

#[test]
fn other_tokens_are_worth_nothing() {
    let mesh = Guarded::of(ApiServer::shared(), "strangers", &[]);
    mesh.pod("web-1", "10.244.9.2");
    mesh.pod("web-2", "10.244.9.3");
    mesh.give("web-1", &mesh.token_of("web-1", "https://kubernetes.default.svc"));
    let proxy = mesh.proxy("web-1");
    wait_error(&proxy, "for audience https://kubernetes.default.svc, not wasmesh");
    mesh.give("web-1", &mesh.server.token(&mesh.namespace, "default", AUDIENCE, &[]));
    wait_error(&proxy, "not bound to a pod");
    mesh.give("web-1", &mesh.token_of("web-2", AUDIENCE));
    wait_error(&proxy, "its token is of");
    let good = mesh.token_of("web-1", AUDIENCE);
    // Signed by nobody.
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    mesh.give("web-1", &format!("{signed}.{other}{}", &signature[1..]));
    wait_error(&proxy, "does not accept the token: ");
    mesh.give("web-1", &good);
    mesh.wait_current("web-1");
}

#[test]
fn the_token_of_a_pod_that_was_deleted_is_worth_nothing() {
    let mesh = Guarded::of(ApiServer::shared(), "deleted", &[]);
    mesh.pod("web-1", "10.244.9.4");
    mesh.give("web-1", &mesh.token_of("web-1", AUDIENCE));
    let delete = ["--namespace", &mesh.namespace, "delete", "pod", "web-1", "--force", "--grace-period=0"];
    mesh.server.kubectl(&delete, "");
    let proxy = mesh.proxy("web-1");
    wait_error(&proxy, "does not accept the token: ");
}

#[test]
fn while_the_api_server_is_away_those_it_knew_stay_and_others_wait() {
    let mut server = ApiServer::start();
    server.start_controllers();
    let stop = {
        let mesh = Guarded::of(&server, "away", &["--stream-life=2"]);
        mesh.pod("known", "10.244.9.5");
        mesh.pod("new", "10.244.9.6");
        for pod in ["known", "new"] {
            mesh.give(pod, &mesh.token_of(pod, AUDIENCE));
        }
        let known = mesh.proxy("known");
        mesh.wait_current("known");
        (mesh.namespace.clone(), mesh.control_plane, mesh._folder, mesh.volume, known)
    };
    let (namespace, control_plane, _folder, volume, known) = stop;
    server.stop();
    let token = format!("--token={}", volume.path().join("new").display());
    let new = Proxy::start(&control_plane.url(), &["--name=new", &format!("--namespace={namespace}"), &token]);
    wait_error(&new, "cannot be checked now, come again");
    // Its stream comes to its end meanwhile, and the next one is opened without a question.
    let age = || control_plane.stream(&format!("{namespace}/known")).and_then(|it| it["connected_seconds"].as_u64());
    until("the stream is a second old", || age() == Some(1));
    until("it is another one", || {
        assert!(known.snapshot()["last_error"].is_null());
        age() == Some(0)
    });
    server.resume();
    control_plane.wait_current(&format!("{namespace}/new"));
}
