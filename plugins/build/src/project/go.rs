//! Policies in Go.

use std::{env, fs, process::Command};

use anyhow::{Context, ensure};

use super::{Project, tool};

const INSTALL: &str = "install Go 1.26 or newer, from https://go.dev/dl or your distribution (Debian: golang-go)";

/// From this version on Go takes memory in small steps, so that an instance stays small enough to be copied.
const LEAST: (u32, u32) = (1, 26);

pub(super) fn build(project: &Project) -> anyhow::Result<Vec<u8>> {
    let chosen = has_chosen()?;
    let said = tool::ask(go(project, chosen).args(["env", "GOVERSION"]), INSTALL)?;
    let is_new = tool::version(&said).is_some_and(|version| version >= LEAST);
    ensure!(is_new, "this Go is {said}, and policies need a newer one: {INSTALL}");
    let folder = tempfile::tempdir().context("no room for what the compiler makes")?;
    let module = folder.path().join("policy.wasm");
    let mut command = go(project, chosen);
    // Without the state of a repository: it may be one that this Go cannot ask, and the same sources make the same module.
    command.args(["build", "-buildmode=c-shared", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o"]);
    command.arg(&module).arg(".");
    tool::run(&mut command, INSTALL)?;
    tool::read(&module)
}

fn go(project: &Project, chosen: bool) -> Command {
    let mut command = Command::new("go");
    command.current_dir(&project.folder).env("GOOS", "wasip1").env("GOARCH", "wasm").env("CGO_ENABLED", "0");
    // A workspace that the folder happens to lie in has not been told of this module, and would refuse it.
    command.env("GOWORK", "off");
    if !chosen {
        // An older Go fetches the one that go.mod asks for; some distributions switch that off.
        command.env("GOTOOLCHAIN", "auto");
    }
    command
}

/// Whether somebody here has chosen which Go is taken, by the environment or by `go env -w`.
fn has_chosen() -> anyhow::Result<bool> {
    if env::var_os("GOTOOLCHAIN").is_some() {
        return Ok(true);
    }
    // Away from any go.mod, which might ask for another Go.
    let mut go = Command::new("go");
    go.current_dir(env::temp_dir()).env("GOTOOLCHAIN", "local").args(["env", "GOENV"]);
    let settings = tool::ask(&mut go, INSTALL)?;
    // It is "off", or not there, where nothing has been written.
    Ok(chooses(&fs::read_to_string(settings).unwrap_or_default()))
}

fn chooses(settings: &str) -> bool {
    settings.lines().any(|line| line.trim_start().starts_with("GOTOOLCHAIN="))
}

#[cfg(test)]
mod tests {
    use super::chooses;

    #[test]
    fn what_is_written_by_go_env_is_a_choice() {
        assert!(chooses("GOFLAGS=-mod=mod\nGOTOOLCHAIN=local\n"));
        assert!(!chooses("GOFLAGS=-mod=mod\n"));
        assert!(!chooses(""));
    }
}
