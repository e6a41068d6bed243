//! The binaries of Kubernetes that tests run: those of `KUBEBUILDER_ASSETS`, the convention of envtest, or else built once
//! from the Go modules of `tests/kube-assets` into a cache outside of the checkout.

mod build;
mod source;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cargo::{has_program, root};
use crate::prerequisites::Obstacle;

pub(crate) use source::{CONTROL_PLANE, Source};

/// What tells tests, ours and envtest's, where the binaries are.
pub(crate) const VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// `cargo xtask kube`: prints the folder, for tests that are run by hand.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some(arg) = args.first() {
        bail!("kube does not know {arg:?}; `cargo xtask` alone lists what it knows");
    }
    provide(CONTROL_PLANE).map_err(anyhow::Error::msg)?;
    println!("{}", folder()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes these binaries available in [`folder`].
pub(crate) fn provide(sources: &[Source]) -> Result<(), Obstacle> {
    let said = |error: anyhow::Error| format!("{error:#}");
    let folder = folder().map_err(said)?;
    let missing: Vec<_> = sources.iter().filter(|source| !folder.join(source.name).is_file()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|source| source.name).collect();
    let names = names.join(", ");
    if given().is_some() {
        return Err(format!("needs {names} in {VARIABLE}={}: put them there, or unset it", folder.display()));
    }
    if !has_program("go") {
        return Err(format!("needs Go to build {names}: install it from https://go.dev/dl, or set {VARIABLE}"));
    }
    eprintln!("xtask: building {names} into {}; once, and for some minutes", folder.display());
    missing.into_iter().try_for_each(|source| build::build(source, &folder)).map_err(said)
}

/// Where the binaries are, or will be. What is built from other sources has another folder.
pub(crate) fn folder() -> Result<PathBuf> {
    if let Some(folder) = given() {
        return Ok(folder.into());
    }
    let digest = source::digest(&root().join(source::MODULES))?;
    Ok(cache()?.join(format!("{digest:016x}")))
}

/// Where tests keep what they have made or fetched for Kubernetes.
fn cache() -> Result<PathBuf> {
    let folder = |name| env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Ok(cache.context("needs $HOME or $XDG_CACHE_HOME, to keep the binaries of Kubernetes in")?.join("wasmesh/kube"))
}

fn given() -> Option<OsString> {
    env::var_os(VARIABLE).filter(|folder| !folder.is_empty())
}
