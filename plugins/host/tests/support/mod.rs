//! What the tests of the host share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use wasmesh_policy_host::{
    About, Compiler, Decision, EndpointView, Health, Host, HostOptions, Module, NoSource, NoStats, Request,
};

/// One host for all tests of a file, which compiles in this process.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::start(HostOptions::new(Compiler::InProcess)).unwrap())
}

/// The directory of the built policies.
pub fn built() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/built")
}

/// Where `cargo xtask policies` puts what it builds.
pub fn rebuilt() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies")
}

/// What policies can be written in; `round-robin` is there in each.
pub const LANGUAGES: [&str; 5] = ["rust", "c", "go", "assemblyscript", "javascript"];

/// The bytes of a built policy, such as `rust/round-robin`.
pub fn wasm(name: &str) -> Vec<u8> {
    let path = built().join(name).with_extension("wasm");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A built policy, loaded.
pub fn load(name: &str) -> Arc<Module> {
    load_file(&built().join(name).with_extension("wasm"))
}

/// The policy in this file, compiled once for all tests: those that bring a runtime along take seconds.
pub fn load_file(path: &Path) -> Arc<Module> {
    type Modules = Mutex<BTreeMap<PathBuf, Arc<OnceLock<Arc<Module>>>>>;
    static MODULES: Modules = Mutex::new(BTreeMap::new());
    let module = Arc::clone(MODULES.lock().unwrap().entry(path.to_owned()).or_default());
    // Not under the lock, so that others are compiled at the same time.
    let load = || {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        host().load(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    Arc::clone(module.get_or_init(load))
}

/// What every instance is told of itself.
pub fn about() -> About {
    let entry = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    About(
        [("zone", "a"), ("node", "n1"), ("namespace", "test"), ("proxy", "p"), ("worker", "0"), ("workers", "1")]
            .map(entry)
            .to_vec(),
    )
}

/// Endpoints 0, 1, … without anything special.
pub fn endpoints(count: u32) -> Vec<EndpointView<'static>> {
    (0..count).map(endpoint).collect()
}

/// An endpoint whose address and identity follow from its number.
pub fn endpoint(number: u32) -> EndpointView<'static> {
    let [_, high, middle, low] = number.to_be_bytes();
    EndpointView {
        id: u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        address: ([10, high, middle, low], 8080).into(),
        weight: 1,
        priority: 0,
        zone: "zone-a",
        node: "node-1",
        health: Health::Healthy,
        ready_ms: 0,
        labels: &[],
    }
}

/// A request with these random bits.
pub fn request(random: u64) -> Request {
    Request { random, now_ms: 1000, ..Request::default() }
}

/// Picks for a request that has nothing in it.
pub fn pick(instance: &mut wasmesh_policy_host::Instance, random: u64) -> Decision {
    instance.pick(&request(random), &NoSource).unwrap()
}

/// Gives an instance so many endpoints.
pub fn update(instance: &mut wasmesh_policy_host::Instance, count: u32) {
    instance.update(1, 1000, &endpoints(count), Box::new(NoStats)).unwrap();
}
