//! The guests in C: each one file, with the bindings made from the contract and the runtime of `plugins/sdk/c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};

use super::guests::Guest;
use crate::cargo::{root, search_path};
use crate::prerequisites::Machine;
use crate::rungs::{CLANG, WASM_LD};

const WORLD: &str = "policy-only";

/// Freestanding WebAssembly with what every engine has had for years. The stack lies below the data, where an overflow
/// traps instead of overwriting it, and is small, because an instance's memory is copied whenever endpoints change.
const FLAGS: [&str; 17] = [
    "--target=wasm32-unknown-unknown",
    "-std=c11",
    "-O3",
    "-flto",
    "-ffreestanding",
    "-fno-builtin-malloc",
    "-mbulk-memory",
    "-msign-ext",
    "-nostdlib",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,--no-entry",
    "-Wl,--gc-sections",
    "-Wl,--strip-debug",
    "-Wl,--stack-first",
    "-Wl,-zstack-size=16384",
];

/// A compiler for WebAssembly, and the bindings.
#[derive(Debug)]
pub(super) struct Toolchain {
    bindings: PathBuf,
    runtime: PathBuf,
}

impl Toolchain {
    /// Installs the compiler where we may, and generates the bindings.
    pub(super) fn provide() -> Result<Self> {
        Machine::default().provide(&[CLANG, WASM_LD]).map_err(|obstacle| anyhow!("policies in C: {obstacle}"))?;
        let bindings = root().join("target/policies-build/c");
        generate(&root().join("plugins/wit"), &bindings)?;
        Ok(Self { bindings, runtime: root().join("plugins/sdk/c") })
    }

    /// The module of this guest: its `policy.c`, the bindings and the runtime, linked as one.
    pub(super) fn build(&self, guest: &Guest) -> Result<Vec<u8>> {
        let module = self.bindings.join(&guest.name).with_extension("wasm");
        let mut clang = Command::new("clang");
        clang.args(FLAGS).env("PATH", search_path());
        clang.args([Path::new("-isystem"), &self.runtime.join("include"), Path::new("-isystem"), &self.bindings]);
        clang.arg(guest.sources.join("policy.c")).arg(self.runtime.join("runtime.c"));
        clang.arg(self.bindings.join("policy_only.c")).arg(self.bindings.join("policy_only_component_type.o"));
        clang.arg("-o").arg(&module);
        let status = clang.status().context("clang")?;
        ensure!(status.success(), "{} in C does not build", guest.name);
        fs::read(&module).with_context(|| module.display().to_string())
    }
}

fn generate(contract: &Path, folder: &Path) -> Result<()> {
    let (mut resolve, world) = world(contract)?;
    let mut files = Files::default();
    Opts::default().build().generate(&mut resolve, world, &mut files)?;
    fs::create_dir_all(folder)?;
    for (name, contents) in files.iter() {
        fs::write(folder.join(name), contents)?;
    }
    Ok(())
}

fn world(contract: &Path) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(contract)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    Ok((resolve, world))
}
