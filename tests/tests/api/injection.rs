//! Pods are meshed as they are made: by the shipped configuration, called by the real API server, in a control plane that may do
//! what the shipped roles allow.
#![allow(clippy::needless_pass_by_value, reason = "callers make what they pass in place")]

use std::{process::Output, sync::OnceLock};

use serde_json::{Value, json};
use wasmesh_tests::{
    eventually,
    kube::{ApiServer, Installation},
    process::Process,
};

use crate::mesh::{Shared, shared};

const NAMESPACE: &str = "wasmesh-system";
const CONTROL_PLANE: &str = "wasmesh-control-plane";

/// The shared mesh, once the API server calls its webhook.
pub(crate) fn hooked() -> &'static Shared {
    static HOOKED: OnceLock<()> = OnceLock::new();
    HOOKED.get_or_init(|| {
        let Shared { installation, control_plane } = shared();
        hook(installation, control_plane);
    });
    shared()
}

/// Leads the API server to this control plane, and waits until it goes there.
#[track_caller]
fn hook(installation: &Installation<'_>, control_plane: &Process) {
    let server = installation.server;
    server.lead(NAMESPACE, CONTROL_PLANE, 443, control_plane.address("webhook"));
    let namespace = meshed(server, "hook");
    eventually("the API server calls the webhook", || is_meshed(&dry_run(server, &namespace, json!({}))).then_some(()));
}

/// A namespace whose pods are meshed.
#[track_caller]
pub(crate) fn meshed(server: &ApiServer, name: &str) -> String {
    let namespace = server.namespace(name);
    server.kubectl(&["label", "namespace", &namespace, "wasmesh.io/inject=enabled"], "");
    namespace
}

/// A pod of one container, with these members of its metadata and its spec.
pub(crate) fn pod(changes: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app" },
        "spec": { "containers": [{ "name": "app", "image": "none" }] },
    });
    for part in ["metadata", "spec"] {
        if let Some(Value::Object(members)) = changes.get(part) {
            pod[part].as_object_mut().unwrap().extend(members.clone());
        }
    }
    pod
}

pub(crate) fn create(server: &ApiServer, namespace: &str, pod: &Value, options: &[&str]) -> Output {
    let args = [&["--namespace", namespace, "create", "--output=json", "--filename=-"], options].concat();
    server.try_kubectl(&args, &pod.to_string())
}

/// What would become of such a pod.
#[track_caller]
fn dry_run(server: &ApiServer, namespace: &str, changes: Value) -> Value {
    let output = create(server, namespace, &pod(changes), &["--dry-run=server"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Makes a pod; what became of it, and what was said about it.
#[track_caller]
fn made(server: &ApiServer, namespace: &str, changes: Value) -> (Value, String) {
    let output = create(server, namespace, &pod(changes), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

fn init_containers(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    containers.map(|container| container["name"].as_str().unwrap()).collect()
}

fn is_meshed(pod: &Value) -> bool {
    init_containers(pod).first() == Some(&"wasmesh-proxy")
}

fn marked(value: &str) -> Value {
    json!({ "metadata": { "labels": { "wasmesh.io/inject": value } } })
}

#[test]
fn a_webhook_that_asks_who_calls_is_shown_it() {
    let mut server = ApiServer::start();
    server.start_controllers();
    let installation = Installation::on(&server);
    let ca = server.webhook_client_ca().display().to_string();
    let closed = installation.control_plane("closed", &["--webhook-client-ca", &ca]);
    eventually("the control plane is ready", || closed.admin().is_ready().then_some(()));
    hook(&installation, &closed);
    // Whoever shows nothing is not heard.
    let address = closed.address("webhook").to_string();
    let stranger = std::process::Command::new("curl")
        .args([
            "-q",
            "--insecure",
            "--silent",
            "--max-time",
            "30",
            "--data",
            "{}",
            &format!("https://{address}/inject"),
        ])
        .output()
        .expect("curl");
    assert!(!stranger.status.success() && stranger.stdout.is_empty(), "{stranger:?}");
    assert!(closed.admin().metric("wasmesh_injector_handshake_failures_total", &[]) >= 1.0);
}

#[test]
fn a_pod_of_a_meshed_namespace_has_sidecars_before_all_else() {
    let server = hooked().installation.server;
    let namespace = meshed(server, "inject");
    let (pod, said) = made(
        server,
        &namespace,
        json!({ "spec": {
        "initContainers": [{ "name": "migrate", "image": "none" }],
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000 },
    } }),
    );
    assert_eq!(init_containers(&pod), ["wasmesh-proxy", "wasmesh-capture", "migrate"]);
    assert_eq!(said, "");
    let proxy = &pod["spec"]["initContainers"][0];
    assert_eq!(proxy["restartPolicy"], "Always");
    let bundle = proxy["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "WASMESH_CA_BUNDLE");
    assert_eq!(bundle.unwrap()["value"], hooked().installation.ca_bundle());
    // The token of the pod's account is the application's.
    for sidecar in &pod["spec"]["initContainers"].as_array().unwrap()[..2] {
        assert!(!sidecar["volumeMounts"].to_string().contains("kube-api-access"), "{sidecar:#}");
    }
    // The ranges that the API server has, of both families.
    let capture = pod["spec"]["initContainers"][1]["args"].to_string();
    assert!(capture.contains("--service-cidr=10.96.0.0/16,fd00:10:96::/112"), "{capture}");
    assert_eq!(pod["metadata"]["annotations"]["wasmesh.io/injected"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_label_of_a_pod_beats_that_of_its_namespace() {
    let server = hooked().installation.server;
    let (inside, outside) = (meshed(server, "label"), server.namespace("label"));
    assert!(!is_meshed(&dry_run(server, &outside, json!({}))));
    assert!(!is_meshed(&dry_run(server, &inside, marked("disabled"))));
    assert!(is_meshed(&dry_run(server, &outside, marked("enabled"))));
    assert!(is_meshed(&dry_run(server, &inside, marked("enabled"))));
    eventually("a label that means nothing leaves it to the namespace", || {
        is_meshed(&dry_run(server, &inside, marked("yes"))).then_some(())
    });
    let (pod, said) = made(server, &outside, marked("yes"));
    assert!(
        !is_meshed(&pod) && said.contains("Warning: wasmesh: label wasmesh.io/inject: \"yes\" means nothing"),
        "{said}"
    );
}

#[test]
fn what_the_cluster_stands_on_is_never_touched() {
    let server = hooked().installation.server;
    for namespace in ["kube-system", NAMESPACE] {
        let restricted = restricted();
        let mut changes = marked("enabled");
        changes["spec"] = restricted["spec"].clone();
        assert!(!is_meshed(&dry_run(server, namespace, changes)), "{namespace}");
    }
}

/// What Pod Security's strictest level demands.
fn restricted() -> Value {
    json!({ "spec": {
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": [{
            "name": "app",
            "image": "none",
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
    } })
}

#[test]
fn where_net_admin_is_forbidden_a_pod_is_made_without_capture() {
    let server = hooked().installation.server;
    for level in ["baseline", "restricted"] {
        let namespace = meshed(server, level);
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        server.kubectl(&["label", "namespace", &namespace, &label], "");
        let (pod, said) = eventually("the level is known", || {
            let made = made(server, &namespace, with_generated_name(restricted()));
            (init_containers(&made.0).len() == 1).then_some(made)
        });
        assert_eq!(init_containers(&pod), ["wasmesh-proxy"]);
        assert!(said.contains("forbids NET_ADMIN") && said.contains("http_proxy=http://127.0.0.1:19002"), "{said}");
    }
}

fn with_generated_name(mut changes: Value) -> Value {
    changes["metadata"] = json!({ "name": null, "generateName": "app-" });
    changes
}

#[test]
fn pods_that_cannot_be_meshed_are_made_as_they_are_and_that_is_said() {
    let server = hooked().installation.server;
    let namespace = meshed(server, "alone");
    let sidecar = json!([{ "name": "app", "image": "none" }, { "name": "istio-proxy", "image": "none" }]);
    for (name, spec, reason) in [
        ("host", json!({ "hostNetwork": true }), "hostNetwork"),
        ("istio", json!({ "containers": sidecar }), "the sidecar of Istio"),
        ("windows", json!({ "os": { "name": "windows" } }), "Windows"),
    ] {
        let (pod, said) = made(server, &namespace, json!({ "metadata": { "name": name }, "spec": spec }));
        assert_eq!(init_containers(&pod), [""; 0], "{name}");
        assert!(
            said.contains("Warning: wasmesh: this pod stays outside of the mesh") && said.contains(reason),
            "{said}"
        );
    }
}

#[test]
fn a_pod_that_runs_as_the_proxy_is_refused() {
    let server = hooked().installation.server;
    let namespace = meshed(server, "refused");
    let output =
        create(server, &namespace, &pod(json!({ "spec": { "securityContext": { "runAsUser": 19000 } } })), &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("wasmesh: container \"app\" runs as user 19000"), "{said}");
}

#[test]
fn a_pod_is_meshed_once() {
    let server = hooked().installation.server;
    let namespace = meshed(server, "once");
    let (first, _) = made(server, &namespace, json!({}));
    let mut copy = first.clone();
    copy["metadata"] = json!({ "name": "copy", "annotations": first["metadata"]["annotations"] });
    copy["spec"].as_object_mut().unwrap().remove("nodeName");
    let output = create(server, &namespace, &copy, &[]);
    assert!(output.status.success(), "{output:?}");
    let copy: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(init_containers(&copy), init_containers(&first));
    assert_eq!(copy["spec"]["volumes"], first["spec"]["volumes"]);
}

#[test]
fn owners_of_pods_hear_of_it_in_an_event() {
    let server = hooked().installation.server;
    let namespace = meshed(server, "owner");
    let labels = json!({ "app": "web" });
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "hostNetwork": true, "containers": [{ "name": "app", "image": "none" }] },
            },
        },
    });
    server.apply(&deployment.to_string());
    let args = ["--namespace", &namespace, "get", "events", "--field-selector=reason=NotInjected", "--output=json"];
    let event = eventually("there is an event", || {
        let events: Value = serde_json::from_str(&server.kubectl(&args, "")).unwrap();
        events["items"].get(0).cloned()
    });
    assert_eq!(event["involvedObject"]["kind"], "ReplicaSet");
    assert!(event["message"].as_str().unwrap().contains("hostNetwork"), "{event:#}");
}

#[test]
fn what_a_deployment_makes_is_meshed() {
    let server = hooked().installation.server;
    let namespace = meshed(server, "rolled");
    server.kubectl(&["--namespace", &namespace, "create", "deployment", "web", "--image=none", "--replicas=3"], "");
    eventually("three meshed pods are there", || {
        let pods = server.kubectl(&["--namespace", &namespace, "get", "pods", "--output=json"], "");
        let pods: Value = serde_json::from_str(&pods).unwrap();
        let pods = pods["items"].as_array().unwrap();
        (pods.len() == 3 && pods.iter().all(is_meshed)).then_some(())
    });
}

/// The bundles of a webhook's configuration.
fn bundles(server: &ApiServer) -> Vec<String> {
    let template = "--output=jsonpath={range .webhooks[*]}{.clientConfig.caBundle}{\"\\n\"}{end}";
    let said = server.kubectl(&["get", "mutatingwebhookconfiguration", "wasmesh-injector", template], "");
    said.lines().map(str::to_owned).collect()
}

#[test]
fn replicas_agree_and_what_is_lost_comes_back() {
    let mut server = ApiServer::start();
    server.start_controllers();
    let installation = Installation::on(&server);
    let kubeconfig = installation.kubeconfig();
    // Both find nothing and begin at once.
    let first = Installation::control_plane_of(&kubeconfig, "first", &[]);
    let mut second = Installation::control_plane_of(&kubeconfig, "second", &[]);
    for control_plane in [&first, &second] {
        eventually("the control plane is ready", || control_plane.admin().is_ready().then_some(()));
    }
    let bundle = installation.ca_bundle();
    let written = |what: &str| {
        eventually(what, || {
            let bundles = bundles(&server);
            (bundles.len() == 2 && bundles.iter().all(|it| !it.is_empty() && *it == bundles[0]))
                .then(|| bundles[0].clone())
        })
    };
    let in_configuration = written("the leader has written the bundle");

    // What a replacement by `kubectl replace` does.
    let webhook = include_str!("../../../deploy/webhook.yaml");
    server.kubectl(&["replace", "--filename=-"], webhook);
    assert_eq!(written("the leader has written it again"), in_configuration);

    // Whichever is asked, the API server trusts it.
    for control_plane in [&first, &second] {
        hook(&installation, control_plane);
    }

    // One that leaves answers until everybody has heard of it.
    let namespace = meshed(&server, "alone");
    second.terminate();
    assert!(is_meshed(&dry_run(&server, &namespace, json!({}))));
    assert!(second.wait().success());

    server.kubectl(&["--namespace", NAMESPACE, "delete", "secret", "wasmesh-ca"], "");
    eventually("the Secret is there again", || {
        let get = ["--namespace", NAMESPACE, "get", "secret", "wasmesh-ca"];
        server.try_kubectl(&get, "").status.success().then_some(())
    });
    assert_eq!(installation.ca_bundle(), bundle, "running sidecars trust it");

    // Without any replica pods are made all the same.
    drop(first);
    assert!(!is_meshed(&dry_run(&server, &namespace, json!({}))));

    // What was damaged is made anew, and the API server trusts that.
    server.kubectl(
        &[
            "--namespace",
            NAMESPACE,
            "patch",
            "secret",
            "wasmesh-ca",
            "--patch",
            r#"{"stringData": {"ca.crt": "nonsense"}}"#,
        ],
        "",
    );
    let third = installation.ready_control_plane("third", &[]);
    assert_ne!(installation.ca_bundle(), bundle);
    hook(&installation, &third);
    assert_ne!(written("the leader has written the new one"), in_configuration);
}
