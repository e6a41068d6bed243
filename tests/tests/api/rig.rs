//! The ground under all others: the server is what it says, its controllers work, and it can be away.

use std::net::TcpListener;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use wasmesh_tests::{
    eventually, fresh_ip,
    kube::{ApiServer, FakePod},
    runtime,
};

fn web(namespace: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "namespace": namespace, "name": "web" },
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "selector": { "app": "web" },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http-web" }],
        },
    })
    .to_string()
}

#[test]
fn the_version_is_that_of_the_modules() {
    let go_mod = include_str!("../../kube-assets/go.mod");
    let version = go_mod.lines().find_map(|line| line.strip_prefix("require k8s.io/kubernetes ")).unwrap();
    let said = ApiServer::shared().kubectl(&["version", "--output=json"], "");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!([&said["clientVersion"]["gitVersion"], &said["serverVersion"]["gitVersion"]], [version, version]);
}

#[test]
fn pods_of_a_service_become_its_endpoints_in_both_families() {
    let server = ApiServer::shared();
    let namespace = server.namespace("slices");
    server.node("slices-a", Some("zone-a"));
    server.node("slices-b", Some("zone-b"));
    server.apply(&web(&namespace));
    for (name, node, ips) in [
        ("web-1", "slices-a", ["10.244.1.1", "fd00:10:244::1:1"]),
        ("web-2", "slices-b", ["10.244.2.1", "fd00:10:244::2:1"]),
    ] {
        let labels = &[("app", "web")];
        let ports = &[("http-web", 8080)];
        server.pod(&FakePod { namespace: &namespace, name, node, labels, annotations: &[], ips: &ips, ports });
    }
    // The second is not ready any more.
    server.report(&namespace, "web-2", &["10.244.2.1", "fd00:10:244::2:1"], false);
    let expected = json!([
        ["10.244.1.1", "zone-a", true, 8080],
        ["10.244.2.1", "zone-b", false, 8080],
        ["fd00:10:244::1:1", "zone-a", true, 8080],
        ["fd00:10:244::2:1", "zone-b", false, 8080],
    ]);
    let mut last = Value::Null;
    eventually("the controller has written both slices", || {
        let slices = server.kubectl(&["--namespace", &namespace, "get", "endpointslices", "--output=json"], "");
        last = endpoints(&serde_json::from_str(&slices).unwrap());
        (last == expected).then_some(())
    });
}

/// Address, zone, readiness and port of each, in order.
fn endpoints(slices: &Value) -> Value {
    let mut endpoints = Vec::new();
    for slice in slices["items"].as_array().unwrap() {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let port = &slice["ports"][0]["port"];
            endpoints.push(json!([endpoint["addresses"][0], endpoint["zone"], endpoint["conditions"]["ready"], port]));
        }
    }
    endpoints.sort_by_key(Value::to_string);
    endpoints.into()
}

#[test]
fn a_token_is_good_for_its_audience_only() {
    let server = ApiServer::shared();
    let namespace = server.namespace("tokens");
    server.node("tokens", None);
    let ips = &["10.244.3.1"];
    let name = "client";
    server.pod(&FakePod {
        namespace: &namespace,
        name,
        node: "tokens",
        labels: &[],
        annotations: &[],
        ips,
        ports: &[],
    });
    let bound = ["--bound-object-kind=Pod", "--bound-object-name=client"];
    let token = server.token(&namespace, "default", "wasmesh", &bound);
    let review = |audience: &str| -> Value {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": [audience] },
        });
        let said = server.kubectl(&["create", "--filename", "-", "--output=json"], &review.to_string());
        serde_json::from_str::<Value>(&said).unwrap()["status"].take()
    };
    let good = review("wasmesh");
    assert_eq!(good["authenticated"], true, "{good}");
    assert_eq!(good["user"]["username"], format!("system:serviceaccount:{namespace}:default"));
    assert_eq!(good["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["client"]));
    assert_eq!(good["user"]["extra"]["authentication.kubernetes.io/node-name"], json!(["tokens"]));
    assert_eq!(review("another")["authenticated"], Value::Null);
}

#[test]
fn an_account_may_do_what_it_was_given_and_nothing_more() {
    let server = ApiServer::shared();
    let namespace = server.namespace("accounts");
    let kubeconfig = server.account_kubeconfig(&namespace, "default");
    let get = ["--namespace", &namespace, "get", "configmaps"];
    let refused = server.try_kubectl_as(&kubeconfig, &get, "");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Forbidden"), "{refused:?}");
    let account = format!("--serviceaccount={namespace}:default");
    server.kubectl(&["--namespace", &namespace, "create", "rolebinding", "view", "--clusterrole=view", &account], "");
    eventually("the account may see", || server.try_kubectl_as(&kubeconfig, &get, "").status.success().then_some(()));
}

#[test]
fn a_server_that_was_away_is_where_it_was_and_knows_what_it_knew() {
    let mut server = ApiServer::start();
    let client = server.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    server.apply(r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "kept"}}"#);
    server.stop();
    assert!(runtime().block_on(namespaces.list(&ListParams::default())).is_err());
    server.resume();
    let kept = runtime().block_on(Api::<ConfigMap>::namespaced(client, "default").get("kept")).unwrap();
    assert_eq!(kept.metadata.name.as_deref(), Some("kept"));
}

#[test]
fn a_webhook_is_called_where_the_test_has_its_service_listen() {
    let server = ApiServer::shared();
    let namespace = server.namespace("webhook");
    let hook = TcpListener::bind((fresh_ip(), 0)).unwrap();
    server.apply(&web(&namespace));
    server.lead(&namespace, "web", 80, hook.local_addr().unwrap());
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": namespace },
        "webhooks": [{
            "name": "rig.wasmesh.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 5,
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }],
            "clientConfig": { "service": { "namespace": namespace, "name": "web", "port": 80, "path": "/" } },
        }],
    });
    server.apply(&configuration.to_string());
    hook.set_nonblocking(true).unwrap();
    // It takes a moment to know of the webhook, and then refuses what nobody looked at.
    let mut made = 0;
    eventually("the API server calls", || {
        made += 1;
        let name = format!("made-{made}");
        let output = server.try_kubectl(&["--namespace", &namespace, "create", "configmap", &name], "");
        assert_eq!(hook.accept().is_ok(), !output.status.success(), "{output:?}");
        (!output.status.success()).then_some(())
    });
    server.kubectl(&["delete", "validatingwebhookconfiguration", &namespace], "");
}
