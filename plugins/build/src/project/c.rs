//! Policies in C: one file, linked with the bindings and the runtime of the SDK.

use std::{path::Path, process::Command};

use anyhow::Context;

use super::{Project, tool};

const INSTALL: &str = "install clang and lld (Debian: apt-get install clang lld)";

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

pub(super) fn build(project: &Project) -> anyhow::Result<Vec<u8>> {
    // clang would say only that it cannot link.
    tool::ask(Command::new("wasm-ld").arg("--version"), INSTALL)?;
    let sdk = project.sdk.join("c");
    let bindings = sdk.join("bindings");
    let folder = tempfile::tempdir().context("no room for what the compiler makes")?;
    let module = folder.path().join("policy.wasm");
    let mut clang = Command::new("clang");
    clang.args(FLAGS);
    clang.args([Path::new("-isystem"), &sdk.join("include"), Path::new("-isystem"), &bindings]);
    clang.arg(project.folder.join("policy.c")).arg(sdk.join("runtime.c")).arg(bindings.join("policy_only.c"));
    tool::run(clang.arg("-o").arg(&module), INSTALL)?;
    tool::read(&module)
}
