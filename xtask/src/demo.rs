//! `cargo xtask demo`: builds the mesh's binaries and runs `wasmesh demo` from where they lie side by side.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::cargo;
use crate::options;
use crate::stream::{self, Shown};

const BUILD: [&str; 9] = [
    "build",
    "--bins",
    "--package",
    "wasmesh",
    "--package",
    "wasmesh-control-plane",
    "--package",
    "wasmesh-proxy",
    // Messages on stdout, progress and diagnostics on stderr as ever.
    "--message-format=json-render-diagnostics",
];

/// Becomes the demo: its output, its signals and its exit code are the command's.
pub(crate) fn run(options: &options::Demo) -> Result<ExitCode> {
    let wasmesh = build(options.release)?;
    let error = Command::new(&wasmesh).arg("demo").args(&options.args).exec();
    Err(error).with_context(|| format!("cannot run {}", wasmesh.display()))
}

/// The demo as a test: it ends well, and its last line says that no phase lost a request.
pub(crate) fn check() -> Result<()> {
    let mut last = String::new();
    let status = stream::run(Command::new(build(false)?).args(["demo", "--json"]), Shown::Live, |line| {
        line.clone_into(&mut last);
    })?;
    ensure!(status.success(), "the demo ended with {status}");
    without_errors(&last)
}

/// Builds the three binaries and says where `wasmesh` is. Cargo is asked instead of guessing the path, which depends
/// on `CARGO_TARGET_DIR`, on the configuration and on the profile.
fn build(release: bool) -> Result<PathBuf> {
    let mut wasmesh = None;
    let mut command = cargo(&BUILD);
    if release {
        command.arg("--release");
    }
    let status =
        stream::run(&mut command, Shown::Hidden, |line| wasmesh = wasmesh.take().or_else(|| executable(line)))?;
    ensure!(status.success(), "the mesh does not build");
    wasmesh.context("the build made no binary named wasmesh")
}

fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    (message["target"]["name"] == "wasmesh").then(|| message["executable"].as_str().map(PathBuf::from))?
}

fn without_errors(report: &str) -> Result<()> {
    let report: Value = serde_json::from_str(report).context("the demo's last line is no JSON")?;
    let phases =
        report["phases"].as_array().filter(|phases| !phases.is_empty()).context("the demo reports no phases")?;
    let lossy = phases.iter().filter(|phase| phase["errors"] != 0).map(|phase| phase["name"].to_string());
    let lossy: Vec<_> = lossy.collect();
    if !lossy.is_empty() {
        bail!("the demo lost requests in {}", lossy.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{executable, without_errors};

    #[track_caller]
    fn check(report: &str, complaint: Option<&str>) {
        let verdict = without_errors(report).err().map(|error| error.to_string());
        assert_eq!(verdict.as_deref(), complaint, "{report:?}");
    }

    #[test]
    fn every_phase_must_be_without_errors() {
        check(r#"{"phases":[{"name":"steady","errors":0},{"name":"loss","errors":0}]}"#, None);
        check(
            r#"{"phases":[{"name":"steady","errors":0},{"name":"loss","errors":2},{"name":"mute"}]}"#,
            Some(r#"the demo lost requests in "loss", "mute""#),
        );
        check(r#"{"phases":[]}"#, Some("the demo reports no phases"));
        check("[]", Some("the demo reports no phases"));
        check("done", Some("the demo's last line is no JSON"));
    }

    #[test]
    fn cargo_says_where_the_binary_is() {
        let found = r#"{"reason":"compiler-artifact","target":{"name":"wasmesh"},"executable":"/t/debug/wasmesh"}"#;
        assert_eq!(executable(found), Some(PathBuf::from("/t/debug/wasmesh")));
        assert_eq!(executable(&found.replace("\"wasmesh\"", "\"wasmesh-proxy\"")), None);
        assert_eq!(executable(r#"{"reason":"compiler-artifact","target":{"name":"wasmesh"},"executable":null}"#), None);
        assert_eq!(executable("warning: x"), None);
    }
}
