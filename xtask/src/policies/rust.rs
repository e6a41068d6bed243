//! The guests in Rust: one workspace, built at once.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};

use crate::cargo::{guests, root};
use crate::prerequisites::Machine;
use crate::rungs::RUST_FOR_WASM;

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds all modules and says which folder they are in.
pub(super) fn build() -> Result<PathBuf> {
    Machine::default().provide(&[RUST_FOR_WASM]).map_err(|obstacle| anyhow!("policies in Rust: {obstacle}"))?;
    let target = root().join("target/policies-build");
    let mut command = guests(&["build", "--release", "--target", TARGET, "--target-dir"]);
    command.arg(&target);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags().join("\u{1f}"));
    ensure!(command.status()?.success(), "the policies in Rust do not build");
    Ok(target.join(TARGET).join("release"))
}

/// As in `plugins/policies/.cargo/config.toml`, and besides no path of this machine in what is shipped.
fn flags() -> Vec<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    vec![
        "-Clink-arg=-zstack-size=32768".to_owned(),
        format!("--remap-path-prefix={}=cargo", home.display()),
        format!("--remap-path-prefix={}=wasmesh", root().display()),
    ]
}
