//! What comes from npm: its packages, and policies in AssemblyScript.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Language, Project, tool};

pub(super) const INSTALL: &str =
    "install Node.js 20 or newer with npm, from https://nodejs.org or your distribution (Debian: nodejs npm)";

/// Which of the two languages a `package.json` is of: the one whose compiler it wants.
pub(super) fn language(folder: &Path) -> anyhow::Result<Language> {
    let package = package(folder)?;
    let wants = |name: &str| ["dependencies", "devDependencies"].iter().any(|list| package[*list][name].is_string());
    match (wants("assemblyscript"), wants("componentize-qjs")) {
        (true, _) => Ok(Language::AssemblyScript),
        (_, true) => Ok(Language::JavaScript),
        _ => bail!(
            "{} wants neither assemblyscript nor componentize-qjs, so that nobody knows what it is to be built with: add \
             one of them to its devDependencies",
            folder.join("package.json").display()
        ),
    }
}

/// Whether the project says that its policy is told how requests ended: `"wasmesh": {"feedback": true}`.
pub(super) fn has_feedback(project: &Project) -> anyhow::Result<bool> {
    if !project.folder.join("package.json").is_file() {
        return Ok(false);
    }
    Ok(package(&project.folder)?["wasmesh"]["feedback"].as_bool().unwrap_or_default())
}

/// A program of a package, installed if need be.
pub(super) fn program(project: &Project, name: &str) -> anyhow::Result<Command> {
    let program = project.npm.join("node_modules/.bin").join(name);
    if !program.exists() {
        // In the versions that the lock says, if there is one. Not `npm ci`, which refuses a lock without the packages of all
        // platforms, even of those that have never been published.
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund"]).current_dir(&project.npm);
        tool::run(&mut npm, INSTALL)?;
    }
    Ok(Command::new(program))
}

pub(super) fn assemblyscript(project: &Project) -> anyhow::Result<Vec<u8>> {
    let sdk = project.sdk.join("assemblyscript");
    let folder = tempfile::tempdir().context("no room for what the compiler makes")?;
    let module = folder.path().join("policy.wasm");
    let mut asc = program(project, "asc")?;
    asc.current_dir(&project.folder).arg("policy.ts").arg(relative(&sdk, &project.folder).join("abi.ts"));
    if has_feedback(project)? {
        asc.arg(relative(&sdk, &project.folder).join("feedback.ts"));
    }
    // Garbage is collected in steps: all of it at once may take more than a pick has. Without the function `abort`, which is an
    // import, a failed assertion is a plain trap. The start function is called by the host, once for all copies of an instance.
    asc.args(["-O3", "--runtime", "incremental", "--use", "abort=", "--exportStart", "_initialize", "--outFile"]);
    tool::run(asc.arg(&module), INSTALL)?;
    tool::read(&module)
}

/// The compiler takes paths from where it runs, and calls those of others a library.
fn relative(path: &Path, from: &Path) -> PathBuf {
    let shared = path.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Path::new(".."));
    up.chain(path.components().skip(shared).map(|component| Path::new(component.as_os_str()))).collect()
}

fn package(folder: &Path) -> anyhow::Result<Value> {
    let file = folder.join("package.json");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_project() {
        for (path, from, expected) in
            [("/p/sdk/x", "/p", "sdk/x"), ("/r/sdk/x", "/r/policies/a/b", "../../../sdk/x"), ("/p", "/p", "")]
        {
            assert_eq!(relative(Path::new(path), Path::new(from)), Path::new(expected));
        }
    }
}
