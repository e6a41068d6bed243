//! `cargo xtask bench control-plane`: an example of the package of tests, because it stands on the same rig as they do.

use std::process::ExitCode;

use anyhow::{Error, Result, ensure};

use crate::{cargo, kube};

/// Only shows that it works.
const QUICK: [&str; 6] = ["--services", "20", "--streams", "5", "--changes", "5"];

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    kube::provide(kube::CONTROL_PLANE).map_err(Error::msg)?;
    let (quick, args): (Vec<_>, Vec<_>) = args.iter().partition(|arg| *arg == "--quick");
    let mut bench = cargo::cargo(&["run", "--quiet", "--package=wasmesh-tests", "--features=api"]);
    let (profile, sizes) = if quick.is_empty() { (Some("--release"), &[][..]) } else { (None, &QUICK[..]) };
    bench.args(profile).args(["--example=bench_control_plane", "--"]).args(sizes).args(args);
    bench.env(kube::VARIABLE, kube::folder()?);
    let status = bench.status()?;
    ensure!(status.success(), "the bench has stopped: {status}");
    Ok(ExitCode::SUCCESS)
}
