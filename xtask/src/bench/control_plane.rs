//! `cargo xtask bench control-plane`: an example of the package of tests, because it stands on the same rig as they do.

use std::process::ExitCode;

use anyhow::{Error, Result, ensure};

use crate::{cargo, kube};

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    kube::provide(kube::CONTROL_PLANE).map_err(Error::msg)?;
    let mut bench = cargo::cargo(&["run", "--release", "--quiet", "--package=wasmesh-tests", "--features=api"]);
    bench.args(["--example=bench_control_plane", "--"]).args(args).env(kube::VARIABLE, kube::folder()?);
    let status = bench.status()?;
    ensure!(status.success(), "the bench has stopped: {status}");
    Ok(ExitCode::SUCCESS)
}
