//! What libFuzzer calls, with the target that `WASMESH_FUZZ_TARGET` names.
#![no_main]

use std::{env, sync::OnceLock};

use wasmesh_fuzz::{TARGETS, Target, target};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    let chosen = TARGET.get_or_init(|| {
        let name = env::var("WASMESH_FUZZ_TARGET").unwrap_or_default();
        target(&name).unwrap_or_else(|| {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            panic!("WASMESH_FUZZ_TARGET={name:?} names no target; these are there: {}", names.join(", "))
        })
    });
    (chosen.read)(bytes);
});
