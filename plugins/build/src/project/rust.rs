//! Policies in Rust: a crate that is a `cdylib`.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{Project, tool};

const TARGET: &str = "wasm32-unknown-unknown";
const INSTALL: &str = "install Rust with rustup, from https://rustup.rs";

pub(super) fn build(project: &Project) -> anyhow::Result<Vec<u8>> {
    let mut rustc = Command::new("rustc");
    let libraries =
        tool::ask(rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(&project.folder), INSTALL)?;
    ensure!(
        Path::new(&libraries).is_dir(),
        "this Rust has nothing for {TARGET}: run `rustup target add {TARGET}` in {}",
        project.folder.display()
    );
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--lib", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    cargo.current_dir(&project.folder).env("CARGO_ENCODED_RUSTFLAGS", flags(&project.folder).join("\u{1f}"));
    let output = tool::output(cargo.stderr(Stdio::inherit()), INSTALL)?;
    ensure!(output.status.success(), "cargo has failed ({}): see above", output.status);
    let module = module(&String::from_utf8_lossy(&output.stdout), &project.folder.join("Cargo.toml"));
    tool::read(&module.context("cargo has built no module: Cargo.toml needs `[lib]` with `crate-type = [\"cdylib\"]`")?)
}

/// A small stack, because an instance's memory is copied whenever endpoints change, and no path of this machine in what is
/// shipped.
fn flags(folder: &Path) -> Vec<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    vec![
        "-Clink-arg=-zstack-size=32768".to_owned(),
        format!("--remap-path-prefix={}=cargo", home.display()),
        format!("--remap-path-prefix={}=policy", folder.display()),
    ]
}

/// The module that cargo says it has made of this manifest.
fn module(messages: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = messages.filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(manifest));
    let files = ours.flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default());
    files
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .rfind(|file| file.extension().is_some_and(|end| end == "wasm"))
}
