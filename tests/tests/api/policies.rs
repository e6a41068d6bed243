//! Policies as objects: what the API server refuses, and what is said of those that it takes.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wasmesh_proto::{
    session::client::ClientSession,
    wire::{self, from_proxy::Message, policy_state::Phase},
};
use wasmesh_tests::{
    FakeProxy, Scripted, built, eventually, hello,
    kube::{ApiServer, Installation, NAMESPACE},
    process::Process,
};

use crate::mesh::{published, service, shared, slice, until_published};

fn policy(namespace: &str, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "wasmesh.io/v1alpha1",
        "kind": "LoadBalancingPolicy",
        "metadata": { "namespace": namespace, "name": name },
        "spec": spec,
    })
    .to_string()
}

fn for_service(service: &str, type_: &str) -> Value {
    json!({ "targetRefs": [{ "group": "", "kind": "Service", "name": service }], "type": type_ })
}

fn from_config_map(service: &str, key: &str) -> Value {
    let mut spec = for_service(service, "Wasm");
    spec["wasm"] = json!({ "source": { "configMapKeyRef": { "name": "modules", "key": key } } });
    spec
}

/// The ConfigMap `modules` with checked-in modules under these keys.
fn put_modules(server: &ApiServer, namespace: &str, modules: &[(&str, &str)]) {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/policies/built");
    let files: Vec<_> = modules.iter().map(|(key, module)| format!("--from-file={key}={built}/{module}")).collect();
    let create = ["--namespace", namespace, "create", "configmap", "modules", "--dry-run=client", "--output=json"];
    let args: Vec<_> = create.into_iter().chain(files.iter().map(String::as_str)).collect();
    let manifest = server.kubectl(&args, "");
    server.apply(&manifest);
}

/// A condition of a policy at its first target.
fn condition(server: &ApiServer, namespace: &str, policy: &str, type_: &str) -> Value {
    let object = server.kubectl(&["--namespace", namespace, "get", "lbp", policy, "--output=json"], "");
    let object: Value = serde_json::from_str(&object).unwrap();
    let conditions = object["status"]["ancestors"][0]["conditions"].as_array().cloned().unwrap_or_default();
    let generation = &object["metadata"]["generation"];
    let found = conditions.into_iter().find(|it| it["type"] == type_ && it["observedGeneration"] == *generation);
    found.unwrap_or(Value::Null)
}

#[track_caller]
fn until_condition(
    server: &ApiServer,
    namespace: &str,
    policy: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> String {
    let mut last = Value::Null;
    let expected = format!("{policy} is {type_}={status}, {reason}");
    eventually(&expected, || {
        let now = condition(server, namespace, policy, type_);
        if now != last {
            eprintln!("{policy}: {now}");
            last = now;
        }
        (last["status"] == status && last["reason"] == reason).then(|| last["message"].as_str().unwrap().to_owned())
    })
}

#[test]
fn what_can_be_told_from_the_object_alone_is_refused_at_once() {
    let server = shared().installation.server;
    let namespace = server.namespace("refused");
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut spec = from_config_map("web", "own.wasm");
        change(&mut spec);
        let applied = server.try_kubectl(&["apply", "--filename", "-"], &policy(&namespace, "own", &spec));
        let said = String::from_utf8_lossy(&applied.stderr).into_owned();
        assert!(!applied.status.success() && said.contains(expected), "{spec}: {said:?} is not about {expected:?}");
    };
    check(&|spec| spec["targetRefs"] = json!([]), "should have at least 1 items");
    check(&|spec| spec["targetRefs"][0]["kind"] = json!("Ingress"), "a policy can be for Services only");
    check(&|spec| spec["targetRefs"] = json!([spec["targetRefs"][0], spec["targetRefs"][0]]), "named twice");
    check(&|spec| spec["type"] = json!("RoundRobbin"), "Unsupported value");
    check(&|spec| spec["type"] = json!("RoundRobin"), "spec.wasm is for type: Wasm");
    check(&|spec| spec["wasm"]["source"] = json!({}), "name exactly one of");
    check(
        &|spec| spec["wasm"]["source"] = json!({ "file": "own.wasm" }),
        "files are for control planes that read a folder",
    );
    check(&|spec| spec["wasm"]["source"] = json!({ "http": { "url": "https://x" } }), "sha256 is required");
    let tag = json!({ "image": { "reference": "oci://registry.example/own:1.0" } });
    check(&|spec| spec["wasm"]["source"] = tag.clone(), "name the image by digest");
    check(&|spec| spec["wasm"]["sha256"] = json!("abc"), "should match");
    check(&|spec| spec["wasm"]["limits"] = json!({ "fuel": 1 }), "greater than or equal to 1000");
    check(&|spec| spec["wasm"]["limits"] = json!({ "fule": 1000 }), "unknown field");
    let wasm = from_config_map("web", "next.wasm")["wasm"].clone();
    check(&|spec| spec["candidate"] = json!({ "mode": "Serve", "wasm": wasm }), "needs a percent");
    server.apply(&policy(&namespace, "own", &from_config_map("web", "own.wasm")));
    let shown = server.kubectl(&["--namespace", &namespace, "get", "lbp", "own"], "");
    let head: Vec<_> = shown.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "TYPE", "TARGET", "ACCEPTED", "PROXIES", "AGE"]);
}

#[test]
fn the_examples_are_taken() {
    let server = shared().installation.server;
    let namespace = server.namespace("examples");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
    let applied = server.kubectl(&["--namespace", &namespace, "apply", "--filename", folder], "");
    assert_eq!(applied.lines().count(), 5, "{applied}");
}

#[test]
fn what_is_wrong_with_a_policy_is_in_its_status() {
    let server = shared().installation.server;
    let namespace = server.namespace("wrong");
    let put = |name: &str, spec: &Value| server.apply(&policy(&namespace, name, spec));
    let is = |name: &str, type_: &str, status: &str, reason: &str| {
        until_condition(server, &namespace, name, type_, status, reason)
    };
    put("nobody", &for_service("nobody", "RoundRobin"));
    assert!(is("nobody", "Accepted", "False", "TargetNotFound").contains("there is no Service nobody"));
    server.apply(&service(&namespace, "web"));
    put("elder", &for_service("web", "Random"));
    is("elder", "Accepted", "True", "Accepted");
    // The API server writes ages in whole seconds; of the same age the first by name wins.
    put("younger", &for_service("web", "Maglev"));
    assert!(is("younger", "Accepted", "False", "Conflicted").contains("elder"));
    server.apply(&service(&namespace, "headless").replace("spec: {", "spec: {clusterIP: None, "));
    put("headless", &for_service("headless", "Maglev"));
    is("headless", "Accepted", "False", "HeadlessService");

    put("own", &{
        let mut spec = from_config_map("other", "own.wasm");
        spec["targetRefs"][0]["name"] = json!("other");
        spec
    });
    server.apply(&service(&namespace, "other"));
    assert!(is("own", "ResolvedRefs", "False", "RefNotFound").contains("there is no ConfigMap modules"));
    put_modules(server, &namespace, &[("another.wasm", "rust/round-robin.wasm")]);
    eventually("the key is missed", || {
        let condition = condition(server, &namespace, "own", "ResolvedRefs");
        condition["message"].as_str().is_some_and(|it| it.contains("has no key own.wasm")).then_some(())
    });
    put_modules(server, &namespace, &[("own.wasm", "rust/round-robin.wasm")]);
    is("own", "ResolvedRefs", "True", "ResolvedRefs");
    is("own", "Accepted", "True", "Accepted");
    is("own", "Programmed", "True", "Programmed");
    let name = format!("{namespace}/other");
    eventually("the policy is published", || {
        (published(&shared().control_plane, &name)["ports"][0]["policy"] == "own").then_some(())
    });
    server.kubectl(&["--namespace", &namespace, "delete", "lbp", "own"], "");
    eventually("the policy is gone", || {
        (published(&shared().control_plane, &name)["ports"][0]["policy"] == "least-request").then_some(())
    });
}

#[test]
fn what_another_controller_says_of_a_policy_stays() {
    let server = shared().installation.server;
    let namespace = server.namespace("two-controllers");
    server.apply(&policy(&namespace, "own", &for_service("web", "Random")));
    until_condition(server, &namespace, "own", "Accepted", "False", "TargetNotFound");
    let entry = json!({
        "ancestorRef": { "kind": "Service", "name": "web" },
        "controllerName": "example.com/other",
        "conditions": [],
    });
    let patch = json!([{ "op": "add", "path": "/status/ancestors/0", "value": entry }]).to_string();
    let patch =
        ["--namespace", &namespace, "patch", "lbp", "own", "--subresource=status", "--type=json", "--patch", &patch];
    server.kubectl(&patch, "");
    server.apply(&service(&namespace, "web"));
    eventually("the change is written beside what the other says", || {
        let object = server.kubectl(&["--namespace", &namespace, "get", "lbp", "own", "--output=json"], "");
        let object: Value = serde_json::from_str(&object).unwrap();
        let ancestors = object["status"]["ancestors"].as_array().unwrap();
        let [other, ours] = &ancestors[..] else { panic!("two entries expected: {ancestors:?}") };
        assert_eq!(other["controllerName"], "example.com/other");
        (ours["conditions"][0]["status"] == "True").then_some(())
    });
}

/// What a proxy says of the policy `own` of `shop/web`.
fn report(module: &[u8], phase: Phase, trial: bool, traps: u64) -> Message {
    let state = wire::PolicyState {
        service: "shop/web".to_owned(),
        port: "http".to_owned(),
        policy: "own".to_owned(),
        module: module.to_vec(),
        trial,
        phase: phase.into(),
        faults: vec![wire::Count { reason: "trap".to_owned(), count: traps }],
        ..Default::default()
    };
    Message::Policies(wire::PolicyReport { states: vec![state] })
}

fn digest(module: &str) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(built(module)).to_vec()
}

#[test]
fn replicas_count_together_agree_and_replace_each_other() {
    let mut server = ApiServer::start();
    server.start_controllers();
    let installation = Installation::on(&server);
    let replicas = ["one", "two"].map(|name| installation.ready_control_plane(name, &[]));
    server.kubectl(&["create", "namespace", "shop"], "");
    server.node("node-1", Some("zone-a"));
    eventually("the namespace has its ServiceAccount", || {
        let got = server.try_kubectl(&["--namespace", "shop", "get", "serviceaccount", "default"], "");
        got.status.success().then_some(())
    });
    server.apply(&service("shop", "web"));
    server.apply(&slice("shop", "web", "web", &["10.244.1.1"]));
    let module = digest("rust/round-robin.wasm");
    put_modules(&server, "shop", &[("own.wasm", "rust/round-robin.wasm")]);
    server.apply(&policy("shop", "own", &from_config_map("web", "own.wasm")));

    // A proxy at each replica; one of them has not got that far.
    let proxies: Vec<_> =
        replicas.iter().zip(["client-1", "client-2"]).map(|(replica, pod)| open(&installation, replica, pod)).collect();
    proxies[0].send(report(&module, Phase::Programmed, false, 0));
    proxies[1].send(report(&module, Phase::Loading, false, 0));
    let message = |status: &str, reason: &str, expected: &str| {
        eventually(expected, || {
            let condition = condition(&server, "shop", "own", "Programmed");
            let is_so = condition["status"] == status && condition["reason"] == reason;
            let says = condition["message"].as_str().is_some_and(|message| message.contains(expected));
            (is_so && says).then_some(())
        });
    };
    message("False", "Pending", "1 of 2 proxies");
    proxies[1].send(report(&module, Phase::Programmed, false, 0));
    message("True", "Programmed", "2 of 2 proxies");
    let shown =
        server.kubectl(&["--namespace", "shop", "get", "lbp", "own", "--output=jsonpath={.status.proxies}"], "");
    assert_eq!(shown, "2/2");

    // Each has seen too few faults of the candidate to take it back; together they have seen enough.
    let candidate = digest("c/round-robin.wasm");
    put_modules(&server, "shop", &[("own.wasm", "rust/round-robin.wasm"), ("next.wasm", "c/round-robin.wasm")]);
    let mut spec = from_config_map("web", "own.wasm");
    spec["candidate"] = json!({
        "mode": "Serve", "percent": 50, "abortOn": { "faults": 4 },
        "wasm": { "source": { "configMapKeyRef": { "name": "modules", "key": "next.wasm" } } },
    });
    server.apply(&policy("shop", "own", &spec));
    until_condition(&server, "shop", "own", "Candidate", "True", "OnTrial");
    for proxy in &proxies {
        proxy.send(report(&candidate, Phase::Programmed, true, 2));
    }
    let said = until_condition(&server, "shop", "own", "Candidate", "False", "Aborted");
    assert!(said.contains("4 faults on 2 proxies"), "{said}");
    for replica in &replicas {
        eventually("each replica has taken it back", || {
            let page = replica.admin().json("/debug/policies");
            (page["policies"][0]["candidate"]["condition"]["reason"] == "Aborted").then_some(())
        });
    }

    // The leader dies; the other one goes on with everything.
    let holder =
        ["--namespace", NAMESPACE, "get", "lease", "wasmesh-control-plane", "--output=jsonpath={.spec.holderIdentity}"];
    let leader = server.kubectl(&holder, "");
    let before = installation.ca_bundle();
    let [one, two] = replicas;
    let (dying, living) = if leader == "one" { (one, two) } else { (two, one) };
    let mut session = ClientSession::default();
    session.subscribe(&"shop/web".parse().unwrap());
    let token = installation.client_pod("shop", "moving", "node-1");
    let mut stream = installation.proxy(&dying, &token);
    assert!(stream.catch_up(&mut session, "shop/moving") > 0);
    dying.kill();
    assert!(stream.receive().is_err(), "its stream ends with the control plane");
    drop(dying);
    let catch_up = |session: &mut ClientSession| installation.proxy(&living, &token).catch_up(session, "shop/moving");
    assert_eq!(catch_up(&mut session), 0, "nothing is sent again that has not changed");
    server.apply(&slice("shop", "web", "web", &["10.244.1.1", "10.244.1.2"]));
    until_published(&living, "shop/web", &["10.244.1.1:8080", "10.244.1.2:8080"]);
    assert_eq!(catch_up(&mut session), 1, "and what has changed is");
    let moved = open(&installation, &living, "client-3");
    moved.send(report(&module, Phase::Programmed, false, 0));
    server.apply(&policy("shop", "later", &for_service("web", "Maglev")));
    until_condition(&server, "shop", "later", "Accepted", "False", "Conflicted");
    assert_ne!(server.kubectl(&holder, ""), leader);
    assert_eq!(installation.ca_bundle(), before, "the certificates are the same");
    eventually("what was taken back stays so", || {
        let page = living.admin().json("/debug/policies");
        page["policies"].to_string().contains("Aborted").then_some(())
    });
}

/// The stream of a proxy in a pod of its own that uses `shop/web`, with everything that it is sent acknowledged.
fn open(installation: &Installation<'_>, control_plane: &Process, pod: &str) -> FakeProxy {
    let token = installation.client_pod("shop", pod, "node-1");
    let proxy = installation.proxy(control_plane, &token);
    proxy.send(Message::Hello(hello(&format!("shop/{pod}"), &["shop/web"])));
    proxy
}

#[test]
fn a_pull_secret_is_read_where_the_administrator_and_the_namespace_allow_it() {
    let server = ApiServer::start();
    let installation = Installation::on(&server);
    let namespace = server.namespace("pull");
    let asked = Arc::new(Mutex::new(String::new()));
    let registry = Scripted::start({
        let asked = Arc::clone(&asked);
        move |mut connection| {
            let head = connection.request_head().unwrap_or_default().join("\n").to_ascii_lowercase();
            let status = if head.contains("authorization:") { "404 Not Found" } else { "401 Unauthorized" };
            *asked.lock().unwrap() = head;
            let challenge = "www-authenticate: Basic realm=\"r\"";
            let _ = connection
                .send(format!("HTTP/1.1 {status}\r\n{challenge}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"));
        }
    });
    let reference = format!("oci+http://{}/own@sha256:{}", registry.address(), "ab".repeat(32));
    let mut spec = for_service("web", "Wasm");
    let image = json!({ "reference": reference, "pullSecretRef": { "name": "registry" } });
    spec["wasm"] = json!({ "source": { "image": image } });
    server.apply(&policy(&namespace, "own", &spec));
    let until_said = |control_plane: &Process, words: &str| {
        eventually(words, || {
            let page = control_plane.admin().json("/debug/policies").to_string();
            page.contains(words).then_some(())
        });
    };

    let allowed = format!("--allow-modules=oci+http://{}/*", registry.address());
    let without = installation.control_plane("without", &[&allowed]);
    until_said(&without, "ask for --module-pull-secrets of the control plane");
    drop(without);
    let control_plane = installation.control_plane("with", &[&allowed, "--module-pull-secrets"]);
    until_said(
        &control_plane,
        &format!("kubectl create rolebinding wasmesh-pull-secret-registry --namespace {namespace}"),
    );

    let role = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/pull-secrets");
    server.kubectl(&["apply", "--kustomize", role], "");
    let bind = ["create", "rolebinding", "wasmesh-pull-secrets", "--clusterrole=wasmesh-pull-secrets"];
    let whom = ["--namespace", &namespace, "--serviceaccount=wasmesh-system:wasmesh-control-plane"];
    server.kubectl(&[&bind[..], &whom].concat(), "");
    until_said(&control_plane, "kubectl create secret docker-registry registry");

    let secret = ["create", "secret", "docker-registry", "registry", "--namespace", &namespace, "--docker-username=me"];
    let host = format!("--docker-server={}", registry.address());
    server.kubectl(&[&secret[..], &["--docker-password=secret", &host]].concat(), "");
    until_said(&control_plane, "404 Not Found");
    let head = asked.lock().unwrap().clone();
    assert!(head.contains(&"authorization: Basic bWU6c2VjcmV0".to_ascii_lowercase()), "{head}");
}
