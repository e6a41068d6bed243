//! The objects of the API server, as the control plane publishes them.

use std::{
    env,
    time::{Duration, Instant},
};

use prost::Message as _;
use serde_json::json;
use wasmesh_proto::wire::{ItemBody, from_proxy::Message};
use wasmesh_tests::{
    eventually, hello,
    kube::{ApiServer, FakePod, Installation},
};

use crate::mesh::{published, service, shared, slice, until_published};

#[test]
fn pods_of_a_service_are_published_with_what_they_and_their_nodes_say() {
    let shared = shared();
    let server = shared.installation.server;
    let namespace = server.namespace("source");
    server.node("source-a", Some("zone-a"));
    server.apply(&format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: {namespace}, annotations: {{wasmesh.io/policy: \
         round-robin}}}}, spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}}}"
    ));
    server.pod(&FakePod {
        namespace: &namespace,
        name: "web-1",
        node: "source-a",
        labels: &[("app", "web")],
        annotations: &[("wasmesh.io/weight", "7")],
        ips: &["10.244.7.1"],
        ports: &[("http", 8080)],
    });
    let name = format!("{namespace}/web");
    eventually("the pod is published with its weight", || {
        let service = published(&shared.control_plane, &name);
        let endpoint = &service["endpoints"][0];
        let is_so = (&endpoint["address"], &endpoint["zone"], &endpoint["weight"], &service["ports"][0]["policy"])
            == (&json!("10.244.7.1:8080"), &json!("zone-a"), &json!(7), &json!("round-robin"));
        is_so.then_some(())
    });
    server.kubectl(&["--namespace", &namespace, "annotate", "pod", "web-1", "--overwrite", "wasmesh.io/weight=9"], "");
    eventually("another weight is published", || {
        (published(&shared.control_plane, &name)["endpoints"][0]["weight"] == 9).then_some(())
    });
    server.kubectl(&["--namespace", &namespace, "delete", "service", "web"], "");
    eventually("the Service is gone", || published(&shared.control_plane, &name).is_null().then_some(()));
}

/// How long the API server is away.
fn outage() -> Duration {
    let seconds = env::var("WASMESH_TEST_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

#[test]
fn what_happens_while_the_server_is_away_is_seen_when_it_is_back() {
    let mut server = ApiServer::start();
    let control_plane = {
        let installation = Installation::on(&server);
        installation.ready_control_plane("away", &[])
    };
    server.kubectl(&["create", "namespace", "shop"], "");
    for name in ["kept", "changed", "deleted"] {
        server.apply(&service("shop", name));
        server.apply(&slice("shop", name, name, &["10.244.1.1"]));
    }
    for name in ["shop/kept", "shop/changed", "shop/deleted"] {
        until_published(&control_plane, name, &["10.244.1.1:8080"]);
    }
    server.kubectl(&["--namespace", "shop", "create", "serviceaccount", "default"], "");
    server.node("node-1", None);
    let mut proxy = {
        let installation = Installation::on(&server);
        let token = installation.client_pod("shop", "client", "node-1");
        installation.proxy(&control_plane, &token)
    };
    proxy.send(Message::Hello(hello("shop/client", &["shop/changed"])));
    proxy.expect_welcome();
    let first = proxy.expect_update();
    proxy.ack(&first);
    let publications = || control_plane.admin().metric("wasmesh_control_plane_published_total", &[]);
    let before = publications();
    server.stop();
    eventually("the control plane has noticed", || {
        let problems = control_plane.admin().json("/debug/problems");
        problems.to_string().contains("endpointslices").then_some(())
    });
    until_published(&control_plane, "shop/deleted", &["10.244.1.1:8080"]);
    assert!(control_plane.admin().is_ready(), "it serves what it knows");
    let end = Instant::now() + outage();
    loop {
        assert!(proxy.is_quiet(), "a proxy has been told something");
        if Instant::now() >= end {
            break;
        }
    }
    assert_eq!(publications(), before, "nothing has changed");
    server.resume();
    server.kubectl(&["--namespace", "shop", "delete", "service/deleted", "endpointslice/deleted"], "");
    server.apply(&slice("shop", "changed", "changed", &["10.244.1.2"]));
    server.apply(&service("shop", "new"));
    server.apply(&slice("shop", "new", "new", &["10.244.1.3"]));
    until_published(&control_plane, "shop/changed", &["10.244.1.2:8080"]);
    // Whatever has happened, no update has ever taken the last endpoint away without giving another.
    let update = eventually("the proxy is told of the change", || {
        let update = proxy.expect_update();
        proxy.ack(&update);
        let changed = update.items.into_iter().find(|item| item.name == "shop/changed")?;
        ItemBody::decode(&*changed.body).unwrap().endpoints
    });
    assert_eq!((update.upserts.len(), update.removed.len()), (1, 1));
    until_published(&control_plane, "shop/new", &["10.244.1.3:8080"]);
    until_published(&control_plane, "shop/kept", &["10.244.1.1:8080"]);
    eventually("the deleted Service is gone", || published(&control_plane, "shop/deleted").is_null().then_some(()));
    eventually("nothing is wrong any more", || {
        let problems = control_plane.admin().json("/debug/problems");
        (problems == json!({ "problems": [] })).then_some(())
    });
}

#[test]
fn a_control_plane_waits_for_a_server_that_is_not_there_yet() {
    let mut server = ApiServer::start();
    let installation = Installation::on(&server);
    installation.ready_control_plane("first", &[]);
    let kubeconfig = installation.kubeconfig();
    server.stop();
    let mut control_plane = Installation::control_plane_of(&kubeconfig, "early", &[]);
    assert_eq!(control_plane.admin().page("/livez").status, 200);
    assert!(!control_plane.admin().is_ready());
    server.resume();
    eventually("the control plane is ready", || control_plane.admin().is_ready().then_some(()));
    assert!(control_plane.is_running());
}
