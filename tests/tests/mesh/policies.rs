//! Users' modules as policies: they take over, they are replaced, and none of them ever costs a request.

use serde_json::{Value, json};
use wasmesh_tests::{Backend, Mesh, Policy, Service, until};

/// What the proxy says of the policies of a Service: the states of the programs.
fn states(mesh: &Mesh, service: &str) -> Vec<Value> {
    let page = mesh.admin().json("/debug/policies");
    let states = page["policies"].as_array().cloned().unwrap_or_default();
    states.into_iter().filter(|state| state["service"] == service).collect()
}

#[track_caller]
fn wait_phase(mesh: &Mesh, phase: &str) -> Value {
    until(&format!("a policy is {phase}"), || states(mesh, "default/web").iter().any(|state| state["phase"] == phase));
    states(mesh, "default/web").into_iter().find(|state| state["phase"] == phase).expect("it is still so")
}

/// A mesh of one Service that has been used, so that its policies are wanted.
fn used(backends: &[Backend]) -> Mesh {
    used_with(Service::new("web").policy("round-robin").endpoints(backends))
}

fn used_with(service: Service) -> Mesh {
    let mesh = Mesh::with(&["--workers=1"], [service]);
    assert_eq!(mesh.get("http://web/").status, 200);
    mesh
}

fn metric(mesh: &Mesh, name: &str, reason: Option<&str>) -> f64 {
    let reason: Vec<_> = reason.iter().map(|reason| ("reason", *reason)).collect();
    mesh.admin().metric(name, &[&[("service", "web")], &*reason].concat())
}

#[test]
fn a_module_takes_over_and_gives_back() {
    let backends = Backend::several::<3>();
    for module in ["rust/round-robin.wasm", "c/round-robin.wasm"] {
        let mesh = used_with(Service::new("web").policy("random").endpoints(&backends));
        mesh.apply_policy(Policy::wasm("turns", module).target("web"));
        let state = wait_phase(&mesh, "programmed");
        assert_eq!(
            (&state["policy"], &state["port"], &state["trial"]),
            (&json!("turns"), &json!("http"), &json!(false))
        );
        let tally = mesh.spread("http://web/", 90);
        assert!(backends.iter().all(|backend| tally[backend] == 30), "{module}: {tally:?}");
        assert_eq!(metric(&mesh, "wasmesh_policy_faults_total", None), 0.0);
        mesh.remove_policy("turns");
        until("it is gone", || states(&mesh, "default/web").is_empty());
        mesh.spread("http://web/", 10);
    }
}

#[test]
fn a_module_goes_on_when_endpoints_change() {
    let backends = Backend::several::<4>();
    let mesh = used(&backends[..3]);
    mesh.apply_policy(Policy::wasm("turns", "rust/round-robin.wasm").target("web"));
    wait_phase(&mesh, "programmed");
    mesh.spread("http://web/", 3);
    mesh.apply([Service::new("web").policy("round-robin").endpoints(&backends[1..])]);
    until("the new list is taken", || {
        let before = metric(&mesh, "wasmesh_policy_overridden_total", None);
        let tally = mesh.spread("http://web/", 9);
        assert_eq!(tally[&backends[0]], 0, "a removed endpoint got a request");
        metric(&mesh, "wasmesh_policy_overridden_total", None) == before && tally[&backends[3]] == 3
    });
}

#[test]
fn a_policy_that_fails_is_answered_for_and_quarantined() {
    let backends = Backend::several::<2>();
    for (module, reason) in [
        ("hostile/trap.wasm", "trap"),
        ("hostile/spin.wasm", "fuel"),
        ("hostile/wrong-index.wasm", "index"),
        ("hostile/recursion.wasm", "stack"),
        ("hostile/memory-bomb-at-once.wasm", "memory"),
    ] {
        let mesh = used(&backends);
        mesh.apply_policy(Policy::wasm("hostile", module).target("web").memory_mib(4));
        until(&format!("{module} is judged"), || {
            mesh.spread("http://web/", 5);
            states(&mesh, "default/web").iter().any(|s| s["phase"] == "quarantined" || s["phase"] == "rejected")
        });
        let state = states(&mesh, "default/web").remove(0);
        if state["phase"] == "quarantined" {
            assert!(state["faults"][reason].as_u64() >= Some(3), "{module}: {state}");
            assert!(metric(&mesh, "wasmesh_policy_faults_total", Some(reason)) >= 3.0, "{module}: {state}");
            assert!(metric(&mesh, "wasmesh_policy_fallbacks_total", None) >= 3.0, "{module}: {state}");
        } else {
            assert!(state["reason"].as_str().is_some_and(|why| !why.is_empty()), "{module}: {state}");
        }
        // Whatever served before, or the built-in policy, is still there; and a good one replaces it.
        mesh.spread("http://web/", 20);
        mesh.apply_policy(Policy::wasm("hostile", "rust/round-robin.wasm").target("web"));
        wait_phase(&mesh, "programmed");
        let tally = mesh.spread("http://web/", 20);
        assert!(backends.iter().all(|backend| tally[backend] == 10), "{module}: {tally:?}");
    }
}
