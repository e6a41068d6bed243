//! Builds one binary with Go.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::source::{MODULES, kubernetes_version};
use crate::cargo::{root, search_path};

/// Builds a package of a module into `to`.
pub(super) fn build(module: &str, package: &str, to: &Path) -> Result<()> {
    let modules = root().join(MODULES);
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-trimpath", "-ldflags"]).arg(link_flags(&modules)?).arg("-o").arg(to);
    go.arg(package).current_dir(modules.join(module)).env("PATH", search_path());
    if package == "." {
        // In an image of one file there is nothing to link with.
        go.env("CGO_ENABLED", "0");
    }
    // On stderr, so that stdout stays ours.
    let status = go.stdin(Stdio::null()).stdout(std::io::stderr()).status().context("cannot run go")?;
    ensure!(status.success(), "could not build {package} of {MODULES}/{module} with Go: see above");
    Ok(())
}

/// What Kubernetes says of its own version is stamped in by the linker; without, it would call itself v0.0.0-master.
fn link_flags(modules: &Path) -> Result<String> {
    let go_mod = fs::read_to_string(modules.join("go.mod")).context("cannot read the go.mod of Kubernetes")?;
    let version = kubernetes_version(&go_mod).context("the go.mod of Kubernetes requires no k8s.io/kubernetes")?;
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let stamps = [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)];
    let stamps = stamps.map(|(name, value)| format!(" -X k8s.io/component-base/version.{name}={value}"));
    Ok(format!("-s -w{}", stamps.concat()))
}
