//! The guests in Rust: one workspace, built at once.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cargo::{cargo, root};

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds all modules and says which folder they are in.
pub(super) fn build() -> Result<PathBuf> {
    provide_target()?;
    let target = root().join("target/policies-build");
    let mut command = cargo(&["build", "--release", "--target", TARGET, "--target-dir"]);
    command.arg(&target).current_dir(root().join("plugins/policies"));
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

fn provide_target() -> Result<()> {
    let ask = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output()?;
    let folder = PathBuf::from(String::from_utf8_lossy(&ask.stdout).trim());
    if folder.is_dir() {
        return Ok(());
    }
    let add = Command::new("rustup").args(["target", "add", TARGET]).stdin(Stdio::null()).status();
    let added = add.with_context(|| format!("Rust for {TARGET} is missing, and so is rustup to add it"))?;
    ensure!(added.success(), "Rust for {TARGET} could not be added");
    Ok(())
}
