//! Policies in Go.

use std::{env, process::Command};

use anyhow::{Context, ensure};

use super::{Project, tool};

const INSTALL: &str = "install Go 1.26 or newer, from https://go.dev/dl or your distribution (Debian: golang-go)";

/// From this version on Go takes memory in small steps, so that an instance stays small enough to be copied.
const LEAST: (u32, u32) = (1, 26);

pub(super) fn build(project: &Project) -> anyhow::Result<Vec<u8>> {
    let said = tool::ask(go(project).args(["env", "GOVERSION"]), INSTALL)?;
    let is_new = tool::version(&said).is_some_and(|version| version >= LEAST);
    ensure!(is_new, "this Go is {said}, and policies need a newer one: {INSTALL}");
    let folder = tempfile::tempdir().context("no room for what the compiler makes")?;
    let module = folder.path().join("policy.wasm");
    let mut command = go(project);
    command.args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&module).arg(".");
    tool::run(&mut command, INSTALL)?;
    tool::read(&module)
}

fn go(project: &Project) -> Command {
    let mut command = Command::new("go");
    command.current_dir(&project.folder).env("GOOS", "wasip1").env("GOARCH", "wasm").env("CGO_ENABLED", "0");
    if env::var_os("GOTOOLCHAIN").is_none() {
        // An older Go fetches the one that go.mod asks for; some distributions switch that off.
        command.env("GOTOOLCHAIN", "auto");
    }
    command
}
