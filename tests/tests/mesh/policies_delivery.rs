//! Policies on their way from a folder to the proxies: what is published, and how modules are fetched.

use std::{sync::Arc, thread};

use serde_json::json;
use tonic::Code;
use wasmesh_core::policy::{BuiltinPolicy, ModuleDigest, PortPolicy, WasmPolicy};
use wasmesh_proto::{
    convert::item_from_wire,
    session::client::ClientSession,
    wire::{self, from_proxy::Message as FromProxy, policy_state::Phase},
};
use wasmesh_tests::{ControlPlane, FakeProxy, Folder, Policy, Service, component, eventually, fresh_vip, hello, until};

/// A control plane with the Service `default/web` and these policies.
fn control_plane(policies: &[Policy]) -> (Folder, ControlPlane) {
    let folder = Folder::default();
    folder.put(&[Service::new("web").vip(fresh_vip()).port("grpc", 81)]);
    policies.iter().for_each(|policy| folder.put_policy(policy));
    let control_plane = ControlPlane::start(folder.path());
    (folder, control_plane)
}

/// A proxy of this name that has said Hello.
fn proxy(name: &str, control_plane: &ControlPlane) -> FakeProxy {
    let mut proxy = FakeProxy::open(control_plane.discovery(), hello(name, &["default/web"]));
    proxy.expect_welcome();
    proxy
}

/// The policies of `default/web` in an update, one per port.
fn policies(update: &wire::Update) -> Vec<PortPolicy> {
    let item = update.items.iter().find(|item| item.name == "default/web").expect("the Service");
    let entry = item_from_wire(item).unwrap().entry.expect("its entry").unwrap();
    entry.value.spec.ports.iter().map(|port| port.policy.clone()).collect()
}

fn wasm(policy: &PortPolicy) -> Arc<WasmPolicy> {
    Arc::clone(policy.wasm().unwrap_or_else(|| panic!("a module expected: {policy:?}")))
}

/// The next policies that a proxy is told; it acknowledges them.
fn next_policies(proxy: &mut FakeProxy) -> Vec<PortPolicy> {
    let update = proxy.expect_update();
    proxy.ack(&update);
    policies(&update)
}

fn fetch(proxy: &FakeProxy, digest: ModuleDigest) -> Vec<u8> {
    let chunks = proxy.module(&digest.0).unwrap_or_else(|status| panic!("{digest}: {status}"));
    chunks.iter().flat_map(|chunk| chunk.data.iter().copied()).collect()
}

/// What is shown of a policy.
fn status(control_plane: &ControlPlane, policy: &str) -> serde_json::Value {
    let page = control_plane.admin().json("/debug/policies");
    let policies = page["policies"].as_array().expect("a list").clone();
    policies.into_iter().find(|found| found["policy"] == policy).unwrap_or_default()
}

#[test]
fn a_module_reaches_the_proxies_that_are_told_of_it() {
    let module = component("first");
    let own = Policy::wasm_bytes("own", "own.wasm", module.clone())
        .target_port("web", "http")
        .config(json!({ "b": 2, "a": 1 }))
        .fuel(5_000)
        .fallback("Maglev")
        .refuse();
    let (_folder, control_plane) = control_plane(&[own]);
    let mut proxy = proxy("default/client", &control_plane);
    let policies = next_policies(&mut proxy);
    let policy = wasm(&policies[0]);
    assert_eq!((policy.name.as_str(), policy.fallback), ("own", BuiltinPolicy::Maglev));
    assert_eq!((policy.program.config.as_str(), policy.program.fuel), (r#"{"a":1,"b":2}"#, 5_000));
    assert_eq!(fetch(&proxy, policy.program.module), module);
    assert_eq!(policies[1], BuiltinPolicy::default().into(), "the other port");
}

#[test]
fn a_large_module_comes_in_chunks() {
    let mut module = component("large");
    module.resize(3 << 20, 7);
    let (_folder, control_plane) =
        control_plane(&[Policy::wasm_bytes("own", "own.wasm", module.clone()).target("web")]);
    let mut proxy = proxy("default/client", &control_plane);
    let digest = wasm(&next_policies(&mut proxy)[0]).program.module;
    let chunks = proxy.module(&digest.0).unwrap();
    assert_eq!(chunks.len(), module.len() / (64 << 10));
    assert!(chunks.iter().all(|chunk| chunk.data.len() == 64 << 10));
    let totals: Vec<_> = chunks.iter().map(|chunk| chunk.total).filter(|total| *total != 0).collect();
    assert_eq!((totals, chunks[0].total), (vec![module.len() as u64], module.len() as u64));
    assert!(fetch(&proxy, digest) == module);
}

#[test]
fn many_proxies_fetch_a_module_at_once() {
    let mut module = component("wanted");
    module.resize(500_000, 7);
    let (_folder, control_plane) =
        control_plane(&[Policy::wasm_bytes("own", "own.wasm", module.clone()).target("web")]);
    let digest = wasm(&next_policies(&mut proxy("default/first", &control_plane))[0]).program.module;
    thread::scope(|scope| {
        for client in 0..100 {
            let (module, proxy) = (&module, proxy(&format!("default/{client}"), &control_plane));
            scope.spawn(move || assert!(fetch(&proxy, digest) == *module));
        }
    });
}

#[test]
fn a_module_that_nobody_names_is_not_found() {
    let (_folder, control_plane) = control_plane(&[]);
    let proxy = proxy("default/client", &control_plane);
    let check = |digest: &[u8], code: Code, message: &str| {
        let status = proxy.module(digest).expect_err("no module");
        assert!(status.code() == code && status.message().contains(message), "{status:?}");
    };
    check(&[7; 32], Code::NotFound, "no policy names module 0707");
    check(&[7; 31], Code::InvalidArgument, "a module's digest is 31 bytes long: 32 expected");
    check(&[], Code::InvalidArgument, "a module's digest is 0 bytes long: 32 expected");
}

#[test]
fn a_module_file_is_followed_like_a_manifest() {
    let (first, second) = (component("first"), component("second"));
    let (folder, control_plane) = control_plane(&[Policy::wasm_bytes("own", "own.wasm", first.clone()).target("web")]);
    let mut proxy = proxy("default/client", &control_plane);
    let before = wasm(&next_policies(&mut proxy)[0]).program.module;
    folder.write_bytes("own.wasm", &second);
    let after = wasm(&next_policies(&mut proxy)[0]).program.module;
    assert_eq!(fetch(&proxy, after), second);
    assert_eq!(fetch(&proxy, before), first, "a proxy that is behind still needs it");

    // What is no policy takes nothing away, and neither does a file that goes.
    folder.write_bytes("own.wasm", b"\0asm\x01\0\0\0");
    until("the fault is named", || {
        status(&control_plane, "default/own")["resolved_refs"]["message"]
            .as_str()
            .is_some_and(|message| message.contains("core WebAssembly module") && message.contains("goes on serving"))
    });
    std::fs::remove_file(folder.path().join("own.wasm")).unwrap();
    until("its absence is named", || status(&control_plane, "default/own")["resolved_refs"]["reason"] == "RefNotFound");
    assert_eq!(fetch(&proxy, after), second);
    assert!(proxy.is_quiet());

    folder.write_bytes("own.wasm", &first);
    assert_eq!(wasm(&next_policies(&mut proxy)[0]).program.module, before);
    until("all is well", || status(&control_plane, "default/own")["resolved_refs"]["status"] == true);
}

#[test]
fn a_policy_that_goes_gives_the_ports_back() {
    let (folder, control_plane) = control_plane(&[
        Policy::wasm_bytes("own", "own.wasm", component("own")).target("web"),
        Policy::builtin("port", "RingHash").target_port("web", "grpc"),
    ]);
    let mut proxy = proxy("default/client", &control_plane);
    let policies = next_policies(&mut proxy);
    assert!(policies[0].wasm().is_some());
    assert_eq!(policies[1], BuiltinPolicy::RingHash.into());
    folder.remove_policy("port");
    assert!(wasm(&next_policies(&mut proxy)[1]).name == "own");
    folder.remove_policy("own");
    assert_eq!(next_policies(&mut proxy), [BuiltinPolicy::default().into(), BuiltinPolicy::default().into()]);
}

#[test]
fn a_session_keeps_the_policy_that_it_was_told() {
    let (_folder, control_plane) =
        control_plane(&[Policy::wasm_bytes("own", "own.wasm", component("own")).target("web")]);
    let mut session = ClientSession::default();
    session.subscribe(&"default/web".parse().unwrap());
    let mut proxy = FakeProxy::connect(control_plane.discovery());
    proxy.send_raw(session.hello(wire::Node::default()));
    let applied = eventually("the first update", || proxy.step(&mut session).unwrap().applied);
    let held = applied.table.get(&"default/web".parse().unwrap()).expect("the Service");
    assert!(held.entry.value.spec.ports[0].policy.wasm().is_some());
}

/// What a proxy says of a module on the port `http` of `default/web`.
fn state(module: ModuleDigest, phase: Phase) -> wire::PolicyState {
    wire::PolicyState {
        service: "default/web".to_owned(),
        port: "http".to_owned(),
        policy: "own".to_owned(),
        module: module.0.to_vec(),
        phase: phase.into(),
        ..Default::default()
    }
}

fn report(proxy: &FakeProxy, states: Vec<wire::PolicyState>) {
    proxy.send(FromProxy::Policies(wire::PolicyReport { states }));
}

#[test]
fn what_proxies_report_is_summed_up() {
    let (_folder, control_plane) =
        control_plane(&[Policy::wasm_bytes("own", "own.wasm", component("own")).target("web")]);
    let (mut one, mut two) = (proxy("default/one", &control_plane), proxy("default/two", &control_plane));
    let module = wasm(&next_policies(&mut one)[0]).program.module;
    next_policies(&mut two);
    let faults = vec![wire::Count { reason: "trap".to_owned(), count: 2 }];
    report(&one, vec![wire::PolicyState { picks: 7, faults, ..state(module, Phase::Programmed) }]);
    report(&two, vec![wire::PolicyState { reason: "no export".to_owned(), ..state(module, Phase::Rejected) }]);
    let proxies = eventually("both have reported", || {
        let proxies = status(&control_plane, "default/own")["proxies"].clone();
        (proxies["phases"].as_object()?.len() == 2).then_some(proxies)
    });
    assert_eq!((&proxies["subscribed"], &proxies["programmed"], &proxies["picks"]), (&json!(2), &json!(1), &json!(7)));
    assert_eq!(proxies["modules"], json!({ module.to_string(): 1 }));
    assert_eq!(proxies["faults"], json!({ "trap": 2 }));
    let trouble = json!({ "phase": "rejected", "reason": "no export", "count": 1, "proxies": ["default/two"] });
    assert_eq!(proxies["troubles"], json!([trouble]));
    drop(two);
    until("a proxy that is gone counts no more", || {
        status(&control_plane, "default/own")["proxies"]["subscribed"] == json!(1)
    });
}

#[test]
fn a_candidate_that_fails_on_several_proxies_is_taken_back_everywhere() {
    let own = Policy::wasm_bytes("own", "own.wasm", component("own"))
        .target("web")
        .candidate_bytes("Serve", 50, "next.wasm", component("next"))
        .abort_on_faults(3);
    let (folder, control_plane) = control_plane(std::slice::from_ref(&own));
    let (mut one, mut two) = (proxy("default/one", &control_plane), proxy("default/two", &control_plane));
    let trial = wasm(&next_policies(&mut one)[0]).trial.clone().expect("a trial");
    next_policies(&mut two);
    let faulty = |count| {
        let faults = vec![wire::Count { reason: "trap".to_owned(), count }];
        vec![wire::PolicyState { trial: true, faults, ..state(trial.program.module, Phase::Programmed) }]
    };
    report(&one, faulty(2));
    assert!(one.is_quiet(), "two are not three");
    report(&two, faulty(1));
    for proxy in [&mut one, &mut two] {
        assert_eq!(wasm(&next_policies(proxy)[0]).trial, None);
    }
    let condition = &status(&control_plane, "default/own")["candidate"]["condition"];
    assert_eq!(condition["reason"], "Aborted");
    let message = condition["message"].as_str().unwrap();
    assert!(message.starts_with("taken back after 3 faults on 2 proxies (3 trap)"), "{message}");

    folder.put_policy(&own.candidate_config(json!({ "mended": true })));
    assert!(wasm(&next_policies(&mut one)[0]).trial.is_some(), "another candidate gets another chance");
    assert_eq!(status(&control_plane, "default/own")["candidate"]["condition"]["reason"], "OnTrial");
}

#[test]
fn proxies_are_told_how_many_they_are() {
    let (folder, control_plane) =
        control_plane(&[Policy::wasm_bytes("own", "own.wasm", component("own")).target("web")]);
    let mut one = proxy("default/one", &control_plane);
    next_policies(&mut one);
    until("it is told of itself", || one.peers("default/web") == Some(1));
    let two = proxy("default/two", &control_plane);
    until("it is told of the other", || one.peers("default/web") == Some(2));
    drop(two);
    until("it is alone again", || one.peers("default/web") == Some(1));

    // Built-in policies do not ask.
    folder.remove_policy("own");
    next_policies(&mut one);
    let _three = proxy("default/three", &control_plane);
    assert!(one.is_quiet());
    assert_eq!(one.peers("default/web"), Some(1));
}
