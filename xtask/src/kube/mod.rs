//! The binaries of Kubernetes that tests run: those of `KUBEBUILDER_ASSETS`, the convention of envtest, or else built once
//! from the Go modules of `tests/kube-assets` into a cache outside of the checkout.

mod debian;
mod go;
mod source;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo::{cache, has_program, root};
use crate::prerequisites::Obstacle;
use debian::Sid;
use source::Origin;

pub(crate) use source::{CONTROL_PLANE, NODE, Source};

/// What tells tests, ours and envtest's, where the binaries are.
pub(crate) const VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// `cargo xtask kube [--node]`: prints the folder, for tests that are run by hand.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let mut sources = CONTROL_PLANE.to_vec();
    for arg in args {
        match arg.as_str() {
            "--node" => sources.extend(NODE),
            _ => bail!("kube does not know {arg:?}; `cargo xtask` alone lists what it knows"),
        }
    }
    provide(&sources).map_err(anyhow::Error::msg)?;
    println!("{}", folder()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes these binaries available in [`folder`].
pub(crate) fn provide(sources: &[Source]) -> Result<(), Obstacle> {
    let said = |error: anyhow::Error| format!("{error:#}");
    let folder = folder().map_err(said)?;
    let names = |sources: &[&Source]| sources.iter().map(|source| source.name).collect::<Vec<_>>().join(", ");
    if given().is_some() {
        let missing: Vec<_> = sources.iter().filter(|source| !source.is_given(&folder)).collect();
        let obstacle =
            || format!("needs {} in {VARIABLE}={}: put them there, or unset it", names(&missing), folder.display());
        return if missing.is_empty() { Ok(()) } else { Err(obstacle()) };
    }
    let missing: Vec<_> = sources.iter().filter(|source| !source.is_there(&folder)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !has_program("go") {
        return Err(format!(
            "needs Go to build {}: install it from https://go.dev/dl, or set {VARIABLE}",
            names(&missing)
        ));
    }
    make(&missing, &folder).map_err(said)
}

/// Where the binaries are, or will be. What is built from other sources has another folder.
pub(crate) fn folder() -> Result<PathBuf> {
    if let Some(folder) = given() {
        return Ok(folder.into());
    }
    let digest = source::digest(&root().join(source::MODULES))?;
    Ok(cache("kube")?.join(format!("{digest:016x}")))
}

/// Each is put into its place when it is whole: an interrupted build leaves nothing that could be taken for one.
fn make(sources: &[&Source], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut sid = None;
    for source in sources {
        let aside = folder.join(format!(".{}.{}", source.name, process::id()));
        match source.origin {
            Origin::OurGo { module } => go::build(module, ".", &aside)?,
            Origin::Go { module, package } => {
                eprintln!("xtask: building {} into {}; once, some need minutes", source.name, folder.display());
                go::build(module, package, &aside)?;
            }
            Origin::Debian { package, path } => {
                if sid.is_none() {
                    eprintln!("xtask: fetching packages of Debian sid; nothing is installed");
                    sid = Some(Sid::new(folder.join(format!(".sid.{}", process::id())))?);
                }
                let file = sid.as_ref().context("packages of sid")?.file(package, path)?;
                fs::copy(&file, &aside).with_context(|| format!("{package} of Debian sid has no {path}"))?;
            }
        }
        let place = folder.join(source.name);
        fs::rename(&aside, &place).with_context(|| format!("cannot put {} in its place", place.display()))?;
    }
    Ok(())
}

fn given() -> Option<OsString> {
    env::var_os(VARIABLE).filter(|folder| !folder.is_empty())
}
