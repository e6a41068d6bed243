//! Users' modules as policies: they take over, they are replaced, and none of them ever costs a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use wasmesh_tests::{
    Backend, Client, Folder, Http2Backend, Mesh, Policy, Response, Scripted, Service, built, dead_address, eventually,
    fresh_ip, process::Process, until,
};

use crate::http2::{at_once, with_client};

/// A mesh of one Service that has been used, so that its policies are wanted. Metrics are the process's, so each Service has
/// a name of its own.
struct Used {
    mesh: Mesh,
    service: String,
}

impl Used {
    fn of(name: &str, backends: &[Backend]) -> Self {
        Self::with(Service::new(name).policy("random").endpoints(backends))
    }

    fn with(service: Service) -> Self {
        let full_name = service.full_name();
        let (_, name) = full_name.split_once('/').expect("a full name");
        let (service_name, url) = (name.to_owned(), format!("http://{name}/"));
        let mesh = Mesh::with(&["--workers=1"], [service]);
        until("the Service is used", || mesh.get(&url).status > 0 && !mesh.endpoints(&full_name).is_empty());
        Self { mesh, service: service_name }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service)
    }

    /// What the proxy says of the programs of the Service.
    fn states(&self) -> Vec<Value> {
        let page = self.mesh.admin().json("/debug/policies");
        let states = page["policies"].as_array().cloned().unwrap_or_default();
        states.into_iter().filter(|state| state["service"] == format!("default/{}", self.service)).collect()
    }

    #[track_caller]
    fn wait_state(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.states().iter().any(&is_so));
        self.states().into_iter().find(is_so).expect("it is still so")
    }

    #[track_caller]
    fn wait_phase(&self, phase: &str) -> Value {
        self.wait_state(&format!("a policy is {phase}"), |state| state["phase"] == phase)
    }

    /// Applies a policy for the Service and waits until it serves.
    #[track_caller]
    fn serve(&self, policy: Policy) {
        self.mesh.apply_policy(policy.target(&self.service));
        until("the policy serves", || {
            let (page, states) = (self.mesh.admin().json("/debug/policies"), self.states());
            let is_news = page["world"].as_u64() >= self.mesh.snapshot()["world"].as_u64();
            let phases = || states.iter().map(|state| state["phase"].as_str().unwrap_or_default());
            is_news && phases().any(|phase| phase == "programmed") && phases().all(|phase| phase != "loading")
        });
    }

    fn metric(&self, name: &str, reason: Option<&str>) -> f64 {
        let reason: Vec<_> = reason.iter().map(|reason| ("reason", *reason)).collect();
        self.mesh.admin().metric(name, &[&[("service", self.service.as_str())], &*reason].concat())
    }

    fn get(&self, headers: &str) -> Response {
        self.mesh.connect().request("GET", &self.url("/"), headers).expect("an answer")
    }

    #[track_caller]
    fn assert_even(&self, backends: &[Backend], what: &str) {
        let tally = self.mesh.spread(&self.url("/"), 10 * backends.len());
        assert!(backends.iter().all(|backend| tally[backend] == 10), "{what}: {tally:?}");
    }
}

#[test]
fn a_module_takes_over_and_gives_back() {
    let backends = Backend::several::<3>();
    for language in ["rust", "c"] {
        let used = Used::of(&format!("takes-over-{language}"), &backends);
        used.serve(Policy::wasm("turns", &format!("{language}/round-robin.wasm")));
        let state = used.wait_phase("programmed");
        assert_eq!(
            (&state["policy"], &state["port"], &state["trial"]),
            (&json!("turns"), &json!("http"), &json!(false))
        );
        used.assert_even(&backends, language);
        assert_eq!(used.metric("wasmesh_policy_faults_total", None), 0.0);
        used.mesh.remove_policy("turns");
        until("it is gone", || used.states().is_empty());
        used.mesh.spread(&used.url("/"), 10);
    }
}

#[test]
fn a_module_goes_on_when_endpoints_change() {
    let backends = Backend::several::<4>();
    let used = Used::of("change", &backends[..3]);
    used.serve(Policy::wasm("turns", "rust/round-robin.wasm"));
    used.mesh.spread(&used.url("/"), 3);
    used.mesh.apply([Service::new("change").policy("random").endpoints(&backends[1..])]);
    until("the new list is taken", || {
        let overridden = used.metric("wasmesh_policy_overridden_total", None);
        let tally = used.mesh.spread(&used.url("/"), 9);
        assert_eq!(tally[&backends[0]], 0, "a removed endpoint got a request");
        used.metric("wasmesh_policy_overridden_total", None) == overridden && tally[&backends[3]] == 3
    });
}

#[test]
fn calls_of_one_http2_connection_are_decided_one_by_one() {
    let backends = Http2Backend::several::<3>();
    let service = Service::new("web").app_protocol("kubernetes.io/h2c").policy("random").endpoints(&backends);
    let mesh = Mesh::with(&["--workers=1"], [service]);
    with_client(&mesh, |client| async move { _ = at_once(&client, "/", 10).await });
    mesh.apply_policy(Policy::wasm("turns", "c/round-robin.wasm").target("web"));
    until("the policy serves", || mesh.admin().json("/debug/policies")["policies"][0]["phase"] == "programmed");
    with_client(&mesh, |client| async move {
        let tally = at_once(&client, "/", 90).await;
        assert!(tally.len() == 3 && tally.values().all(|count| *count == 30), "{tally:?}");
    });
}

#[test]
fn connections_are_decided_one_by_one() {
    let backends: [_; 3] = std::array::from_fn(|_| {
        Scripted::start(|mut connection| {
            let _ = connection.send("hello");
        })
    });
    let mesh = Mesh::with(&["--workers=1"], [Service::new("tcp-turns").app_protocol("tcp").endpoints(&backends)]);
    let connect = || {
        let mut client = mesh.connect();
        client.send("CONNECT tcp-turns:80 HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
        assert_eq!(client.read_exactly(5).unwrap(), b"hello");
    };
    connect();
    mesh.apply_policy(Policy::wasm("turns", "rust/round-robin.wasm").target("tcp-turns"));
    until("the policy serves", || mesh.admin().json("/debug/policies")["policies"][0]["phase"] == "programmed");
    let before: Vec<_> = backends.iter().map(Scripted::connections).collect();
    (0..30).for_each(|_| connect());
    let after: Vec<_> = backends.iter().map(Scripted::connections).collect();
    assert!(before.iter().zip(&after).all(|(before, after)| after - before == 10), "{before:?} {after:?}");
}

#[test]
fn a_policy_that_fails_is_answered_for_and_quarantined() {
    let backends = Backend::several::<2>();
    // They behave while they are tried, and for a while after. What fails at once never gets to serve.
    let later = json!({ "after": 1500 });
    for (module, config, reason) in [
        ("trap", json!({ "every": 1500 }), "trap"),
        ("spin", later.clone(), "fuel"),
        ("bulk", later.clone(), "fuel"),
        ("wrong-index", later.clone(), "index"),
        ("recursion", later.clone(), "trap"),
        ("memory-bomb", later.clone(), "memory"),
        ("memory-bomb-at-once", later.clone(), "memory"),
        ("spin", json!({}), "fuel"),
        ("trap", json!({}), "trap"),
    ] {
        let at_once = if config == json!({}) { "-at-once" } else { "" };
        let used = Used::of(&format!("fails-{module}{at_once}"), &backends);
        used.serve(Policy::wasm("own", "rust/round-robin.wasm"));
        let hostile = Policy::wasm("own", &format!("hostile/{module}.wasm")).config(config).memory_mib(16);
        used.mesh.apply_policy(hostile.target(&used.service));
        let state = eventually(&format!("{module} is judged"), || {
            used.mesh.spread(&used.url("/"), 200);
            used.states().into_iter().find(|state| state["phase"] == "quarantined" || state["phase"] == "rejected")
        });
        if state["phase"] == "quarantined" {
            assert!(state["faults"][reason].as_u64() >= Some(3), "{module}: {state}");
            assert!(used.metric("wasmesh_policy_faults_total", Some(reason)) >= 3.0, "{module}: {state}");
            assert!(used.metric("wasmesh_policy_fallbacks_total", None) >= 3.0, "{module}: {state}");
        } else {
            // It failed when it was tried, so the one before goes on.
            assert!(state["reason"].as_str().is_some_and(|why| !why.is_empty()), "{module}: {state}");
            used.assert_even(&backends, module);
        }
        used.mesh.spread(&used.url("/"), 20);
        used.serve(Policy::wasm("own", "c/round-robin.wasm"));
        used.assert_even(&backends, module);
    }
}

#[test]
fn a_policy_that_cannot_be_used_is_named_and_the_one_before_goes_on() {
    let backends = Backend::several::<2>();
    for (module, config, why) in [
        ("hostile/foreign-import.wasm", json!({}), "import"),
        ("hostile/no-export.wasm", json!({}), "export"),
        ("hostile/other-version.wasm", json!({}), "0.2.0"),
        ("hostile/unknown-word.wasm", json!({}), "phase-of-the-moon"),
        ("hostile/slow-init.wasm", json!({}), "init"),
        ("rust/ring-hash.wasm", json!({ "key": "colour" }), "colour"),
        ("rust/canary-by-header.wasm", json!({ "nonsense": true }), "nonsense"),
    ] {
        let name = module.trim_end_matches(".wasm").replace('/', "-");
        let used = Used::of(&format!("cannot-{name}"), &backends);
        used.serve(Policy::wasm("own", "rust/round-robin.wasm"));
        used.mesh.apply_policy(Policy::wasm("own", module).config(config).target(&used.service));
        let state = used.wait_phase("rejected");
        assert!(state["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{module}: {state}");
        used.assert_even(&backends, module);
    }
}

#[test]
fn a_list_that_a_policy_does_not_take_is_served_by_the_built_in_one() {
    let backends = Backend::several::<3>();
    for module in ["refuse-update", "trap-update"] {
        let used = Used::of(&format!("list-{module}"), &backends[..2]);
        let lists = [&backends[..], &backends[..2]];
        let apply = |list: &[Backend]| {
            used.mesh.apply([Service::new(&used.service).policy("random").endpoints(list)]);
            let page = || used.mesh.admin().json("/debug/policies")["world"].as_u64();
            until("the keeper has seen it", || page() >= used.mesh.snapshot()["world"].as_u64());
        };
        // It takes as many lists as it is tried with, and a few more.
        used.serve(Policy::wasm("own", &format!("hostile/{module}.wasm")).config(json!({ "after": 6 })));
        let refused = |n: usize| {
            apply(lists[n % 2]);
            used.states().iter().find(|state| state["phase"] == "rejected").cloned()
        };
        let state = (0..20).find_map(refused).expect("it does not take every list");
        assert!(state["reason"].as_str().is_some_and(|why| why.contains("built-in")), "{state}");
        let live = used.mesh.endpoints(&format!("default/{}", used.service)).len();
        let tally = used.mesh.spread(&used.url("/"), 60);
        assert_eq!(tally.backends().len(), live, "the built-in policy serves all: {tally:?}");
        // The next list is for a new instance.
        let phase = |n: usize| {
            apply(lists[n % 2]);
            used.states().iter().any(|state| state["phase"] == "programmed")
        };
        assert!((0..3).any(phase), "{:?}", used.states());
    }
}

#[test]
fn requests_are_held_and_rejected_where_the_object_allows_it() {
    let backends = Backend::several::<2>();
    let used = Used::of("holds", &backends);
    used.serve(Policy::wasm("own", "hostile/hold-then-go.wasm").allow(&["Hold", "Reject"]));
    let begun = Instant::now();
    assert_eq!(used.get("").status, 200);
    assert!(begun.elapsed().as_millis() >= 50, "held for {:?}", begun.elapsed());
    let rejected = used.get("x-reject: 1\r\n");
    assert_eq!((rejected.status, rejected.wasmesh_error()), (429, Some("policy-rejected")));
    // Without leave the built-in policy decides.
    used.serve(Policy::wasm("own", "hostile/hold-then-go.wasm"));
    assert_eq!(used.get("x-reject: 1\r\n").status, 200);
    assert!(used.metric("wasmesh_policy_fallbacks_total", None) >= 1.0);
}

#[test]
fn a_policy_that_must_not_be_bypassed_is_not() {
    let backends = Backend::several::<2>();
    let used = Used::of("refuses", &backends);
    used.serve(Policy::wasm("own", "rust/round-robin.wasm").refuse());
    used.assert_even(&backends, "a good one");
    // One that works when it is tried, and fails a little later.
    used.serve(Policy::wasm("own", "hostile/trap.wasm").config(json!({ "every": 2000 })).refuse());
    let mut client = used.mesh.client();
    let statuses: Vec<u16> = (0..2100).map(|_| client.get(&used.url("/")).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 1, "one fault is one refusal");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)));
}

#[test]
fn secrets_and_what_was_not_declared_read_as_nothing() {
    let backends = Backend::several::<3>();
    let used = Used::of("greedy", &backends);
    used.serve(Policy::wasm("own", "hostile/greedy-wants.wasm"));
    let first = used.get("").backend();
    for headers in ["Authorization: Bearer x\r\nCookie: session=1\r\n", "x-undeclared: 1\r\n", "x-greedy: 1\r\n"] {
        assert_eq!(used.get(headers).backend(), first, "{headers}");
    }
    assert_eq!(used.metric("wasmesh_policy_picks_total", Some("declared-read")), 1.0);
}

#[test]
fn a_key_is_found_in_the_body_where_the_object_allows_it() {
    let backends = Backend::several::<5>();
    let used = Used::of("body-key", &backends);
    let config = json!({ "key": "json:/user/name#64" });
    used.serve(Policy::wasm("own", "rust/ring-hash.wasm").config(config).allow(&["Body"]));
    let post = |user: usize, padding: usize| {
        let body = json!({ "user": { "name": format!("user-{user}") }, "zzz": "x".repeat(padding) }).to_string();
        let mut client = used.mesh.connect();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            used.url("/echo"),
            used.service,
            body.len()
        );
        client.send(head + &body).unwrap();
        let response = client.response("POST").unwrap();
        assert_eq!((response.status, response.text()), (200, body));
        response.backend()
    };
    let homes: Vec<_> = (0..12).map(|user| post(user, 0)).collect();
    assert!(homes.iter().collect::<std::collections::BTreeSet<_>>().len() > 1, "{homes:?}");
    for padding in [10, 100_000] {
        assert_eq!(homes, (0..12).map(|user| post(user, padding)).collect::<Vec<_>>());
    }
}

#[test]
fn a_client_that_waits_to_be_told_sends_the_body_that_a_policy_wants() {
    let backends = Backend::several::<2>();
    let used = Used::of("body-continue", &backends);
    let config = json!({ "key": "json:/user#64" });
    used.serve(Policy::wasm("own", "rust/ring-hash.wasm").config(config).allow(&["Body"]));
    let mut client = used.mesh.connect();
    let head =
        format!("POST {} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n", used.url("/echo"));
    client.send(head).unwrap();
    assert_eq!(client.head().unwrap().status, 100);
    client.send(r#"{"user":"ada"}"#).unwrap();
    assert_eq!(client.response("POST").unwrap().text(), r#"{"user":"ada"}"#);
}

#[test]
fn feedback_steers_away_from_errors() {
    let good = Backend::several::<2>();
    let bad = Scripted::start(|mut connection| {
        while connection.request_head().is_some() {
            // No failure that would eject it: the application's own.
            let _ = connection.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let used = Used::with(Service::new("feedback").policy("random").endpoints(&good).endpoint(&bad));
    used.serve(Policy::wasm("own", "rust/error-penalty.wasm").config(json!({ "half-life-ms": 60_000 })));
    let mut client = used.mesh.client();
    let mut errors = |requests: usize| (0..requests).filter(|_| client.get(&used.url("/")).status == 500).count();
    errors(300);
    let errors = errors(300);
    assert!(errors < 30, "{errors} of 300, of three endpoints of which one fails always");
}

#[test]
fn a_shadow_is_compared_and_changes_nothing() {
    let backends = Backend::several::<3>();
    let used = Used::of("shadow", &backends);
    used.serve(Policy::wasm("own", "rust/round-robin.wasm").shadow("rust/least-request.wasm"));
    used.wait_state("the shadow runs", |state| state["trial"] == true && state["phase"] == "programmed");
    used.assert_even(&backends, "beside a shadow");
    let state = used.wait_state("it is compared", |state| state["compared"].as_u64() >= Some(30));
    assert!(state["disagreed"].as_u64() > Some(0) && state["disagreed"].as_u64() < Some(30), "{state}");
    // One that fails does not hurt anybody either.
    used.mesh.apply_policy(Policy::wasm("own", "rust/round-robin.wasm").shadow("hostile/trap.wasm").target("shadow"));
    used.mesh.spread(&used.url("/"), 60);
}

#[test]
fn a_candidate_serves_and_is_taken_back_by_itself() {
    let backends = Backend::several::<3>();
    let used = Used::of("candidate", &backends);
    let stable = || Policy::wasm("own", "rust/round-robin.wasm");
    used.serve(stable().serve("hostile/bad-reason.wasm", 100));
    used.wait_state("the candidate runs", |state| state["trial"] == true && state["phase"] == "programmed");
    let tally = used.mesh.spread(&used.url("/"), 30);
    assert_eq!(tally.backends().len(), 1, "bad-reason always picks the first: {tally:?}");
    let trapping =
        stable().serve("hostile/trap.wasm", 100).candidate_config(json!({ "every": 1500 })).abort_on_faults(2);
    used.serve(trapping);
    until("it is taken back", || {
        used.mesh.spread(&used.url("/"), 200);
        // The sidecar stops it by itself; what comes then from the control plane replaces the instances once more.
        used.states().iter().all(|state| state["trial"] == false)
    });
    used.mesh.wait_current();
    used.assert_even(&backends, "the one that served before");
}

#[test]
fn swaps_under_load_cost_nothing() {
    let backends = Arc::new(Backend::several::<3>());
    let used = Used::of("swaps", &*backends);
    let load = used.mesh.load(&used.url("/"), 4);
    load.wait_answered(100);
    let swaps = std::env::var("WASMESH_TEST_SWAPS").map_or(20, |swaps| swaps.parse().expect("a number"));
    let begun = Instant::now();
    load.next_phase();
    for swap in 0..swaps {
        let module = ["rust/round-robin.wasm", "c/least-request.wasm"][swap % 2];
        used.serve(Policy::wasm("own", module));
    }
    let answered = load.wait_answered(1).total();
    println!("{swaps} swaps, {answered} requests in {:?}", begun.elapsed());
    load.finish_without_error();
    assert_eq!(used.metric("wasmesh_policy_faults_total", None), 0.0);
}

/// Ends when dropped.
struct Hogs(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Hogs {
    /// Keeps the machine's CPUs busy with so many threads.
    fn start(count: usize) -> Self {
        let running = Arc::new(AtomicBool::new(true));
        let hog = |running: Arc<AtomicBool>| {
            move || {
                while running.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let hogs = (0..count).map(|_| thread::spawn(hog(Arc::clone(&running)))).collect();
        Self(running, hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        self.1.drain(..).for_each(|hog| hog.join().expect("a hog that does not panic"));
    }
}

#[test]
fn a_healthy_policy_on_a_busy_machine_is_not_blamed() {
    let backends = Backend::several::<3>();
    let used = Used::of("busy", &backends);
    used.serve(Policy::wasm("own", "rust/ring-hash.wasm"));
    let seconds = std::env::var("WASMESH_TEST_HOG_SECONDS").map_or(2, |seconds| seconds.parse().expect("a number"));
    let hogs = Hogs::start(4);
    let load = used.mesh.load(&used.url("/"), 4);
    // The time is what this test is about: a policy must stand it for that long.
    thread::sleep(Duration::from_secs(seconds));
    let answered = load.wait_answered(1).total();
    drop(hogs);
    load.finish_without_error();
    println!("{answered} requests beside four hogs in {seconds} s");
    assert_eq!(used.metric("wasmesh_policy_faults_total", None), 0.0);
    let state = used.wait_phase("programmed");
    assert_eq!(state["faults"], json!({}));
}

#[test]
fn hostile_policies_leave_no_memory_behind_in_a_process_of_its_own() {
    let backends = Backend::several::<2>();
    let folder = Folder::default();
    folder.put(&[Service::new("memory").policy("random").endpoints(&backends)]);
    let control_plane = Process::control_plane(folder.path(), (fresh_ip(), 0).into());
    let url = format!("http://{}", control_plane.address("discovery"));
    let proxy = Process::proxy(&url, &["--module-jitter=0", "--workers=1"]);
    until("the proxy knows the Service", || proxy.admin().is_ready());
    let mut client = Client::of(proxy.address("http-proxy"));
    let mut ask = |times: usize| (0..times).for_each(|_| assert_eq!(client.get("http://memory/").status, 200));
    ask(20);
    let without = resident_kib(&proxy);
    let serve = |module: &str, ask: &mut dyn FnMut(usize)| {
        folder.put_policy(&Policy::wasm("own", module).target("memory").memory_mib(16));
        let digest = wasmesh_policy_host::digest(&built(module)).to_string();
        until(&format!("{module} is judged"), || {
            ask(5);
            let page = proxy.admin().json("/debug/policies");
            let states = page["policies"].as_array().cloned().unwrap_or_default();
            let state = states.into_iter().find(|state| state["module"] == *digest);
            state.is_some_and(|state| {
                state["phase"] != "loading" && (state["picks"] != 0 || state["phase"] != "programmed")
            })
        });
    };
    serve("rust/round-robin.wasm", &mut ask);
    let with_one = resident_kib(&proxy);
    let rounds = std::env::var("WASMESH_TEST_ROUNDS").map_or(3, |rounds| rounds.parse().expect("a number"));
    for round in 0..rounds {
        for module in ["hostile/memory-bomb.wasm", "hostile/memory-bomb-at-once.wasm", "hostile/huge-strings.wasm"] {
            serve(module, &mut ask);
        }
        serve("rust/round-robin.wasm", &mut ask);
        println!("round {round}: {} KiB", resident_kib(&proxy));
    }
    let after = resident_kib(&proxy);
    println!("resident: {without} KiB without a policy, {with_one} KiB with one, {after} KiB after hostile ones");
    // Freed memory may stay with the allocator for a while; nine bombs of 16 MiB that did would show.
    assert!(after < with_one + 16 * 1024, "{with_one} KiB before, {after} KiB after");
}

/// What a process has in memory.
fn resident_kib(process: &Process) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a process that runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// A server whose answers report how long its queue is.
fn reporting(queue: u32) -> Scripted {
    Scripted::start(move |mut connection| {
        let backend = connection.writer().and_then(|socket| socket.local_addr()).unwrap();
        while connection.request_head().is_some() {
            let report = format!("endpoint-load-metrics: JSON {{\"named_metrics\": {{\"queue\": {queue}}}}}\r\n");
            let _ =
                connection.send(format!("HTTP/1.1 200 OK\r\nbackend: {backend}\r\n{report}Content-Length: 0\r\n\r\n"));
        }
    })
}

#[test]
fn what_endpoints_report_of_themselves_reaches_the_policy() {
    let (busy, free) = (reporting(7), reporting(2));
    let used = Used::with(Service::new("reports").policy("random").endpoints([&busy, &free]));
    used.serve(Policy::wasm("own", "rust/least-reported.wasm").config(json!({ "report": "queue" })));
    // Until both have said how they are.
    until("both have reported", || {
        used.mesh.spread(&used.url("/"), 10);
        used.metric("wasmesh_policy_picks_total", Some("less-reported")) >= 1.0
    });
    until("the free one gets everything", || {
        let tally = used.mesh.spread(&used.url("/"), 20);
        tally.backends() == [free.address()]
    });
}

#[test]
fn the_alternate_is_tried_where_the_choice_cannot_be_connected_to() {
    let good = Backend::start();
    let service = Service::new("alternate").policy("random").endpoint(&good).endpoint(dead_address());
    let mesh = Mesh::with(&["--workers=1", "--ejection-failures=0"], [service]);
    assert_eq!(mesh.get("http://alternate/").status, 200);
    mesh.apply_policy(
        Policy::wasm("own", "rust/least-reported.wasm").config(json!({ "report": "queue" })).target("alternate"),
    );
    until("the policy serves", || mesh.admin().json("/debug/policies")["policies"][0]["phase"] == "programmed");
    let retries =
        || mesh.admin().metric("wasmesh_policy_picks_total", &[("service", "alternate"), ("reason", "retry")]);
    let (before, picks) = (retries(), || mesh.admin().json("/debug/policies")["policies"][0]["picks"].as_u64());
    mesh.spread("http://alternate/", 40);
    assert!(retries() > before, "the dead one is chosen now and then");
    // One question for each request: where to go next was said with the answer.
    until("picks are told", || picks() >= Some(40));
    assert_eq!(picks(), Some(40));
}
