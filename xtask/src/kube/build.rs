//! Builds one binary. An interrupted build leaves nothing that could be taken for a whole one.

use std::fs;
use std::path::Path;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::source::{MODULES, Source, kubernetes_version};
use crate::cargo::{root, search_path};

pub(super) fn build(source: &Source, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let modules = root().join(MODULES);
    let aside = folder.join(format!(".{}.{}", source.name, process::id()));
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-trimpath", "-ldflags"]).arg(link_flags(&modules)?).arg("-o").arg(&aside);
    go.arg(source.package).current_dir(modules.join(source.module)).env("PATH", search_path());
    // On stderr, so that stdout stays ours.
    let status = go.stdin(Stdio::null()).stdout(std::io::stderr()).status().context("cannot run go")?;
    ensure!(status.success(), "could not build {} with Go: see above", source.name);
    let place = folder.join(source.name);
    fs::rename(&aside, &place).with_context(|| format!("cannot put {} in its place", place.display()))
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
