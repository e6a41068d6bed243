//! How WebAssembly runs here. Parent and compiling child make the same engine, or the artefact would not fit.

use wasmtime::{Config, Engine, OperatorCost};

/// The stack of one call, in bytes. Whoever recurses deeper makes a fault.
const STACK_BYTES: usize = 256 << 10;

/// Fuel for each page that a guest asks for: growing memory is a call of the kernel.
const FUEL_PER_GROWN_PAGE: u8 = 200;

/// An engine for policies.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    let mut cost = OperatorCost::new();
    // Bytes that `memory.copy` and its like move are charged one by one by default.
    cost.variable.memory_grow_per_page = FUEL_PER_GROWN_PAGE;
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(cost)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .memory_init_cow(true)
        // Nobody unwinds through guests: registering every module with the unwinder is only a cost.
        .native_unwind_info(false)
        .generate_address_map(false)
        .wasm_component_model(true)
        // 64-bit memories would be checked in software, and no guest language needs them for a list of endpoints.
        .wasm_memory64(false)
        // Threads, garbage collection and exceptions are not compiled in. The rest is what compilers emit by default.
        .wasm_relaxed_simd(false)
        .wasm_tail_call(true)
        .wasm_multi_memory(true);
    Engine::new(&config)
}

/// To be raised with every change to what is added to modules before they are compiled.
const REVISION: u32 = 2;

/// A number that changes whenever artefacts of one engine do not fit the other any more.
pub(crate) fn compatibility(engine: &Engine) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    (REVISION, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    hasher.finish()
}
