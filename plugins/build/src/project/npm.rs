//! What comes from npm: its packages, and policies in AssemblyScript.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use anyhow::{Context, bail, ensure};
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

/// From this version on Node.js has what the compilers need.
const LEAST: (u32, u32) = (20, 0);

/// A program of a package, installed if need be.
pub(super) fn program(project: &Project, name: &str) -> anyhow::Result<Command> {
    let said = tool::ask(Command::new("node").arg("--version"), INSTALL)?;
    let is_new = tool::version(&said).is_some_and(|version| version >= LEAST);
    ensure!(is_new, "this Node.js is {said}, and the compiler needs a newer one: {INSTALL}");
    let program = project.npm.join("node_modules/.bin").join(name);
    if !program.exists() || is_stale(&project.npm) {
        // In the versions that the lock says, if there is one. Not `npm ci`, which refuses a lock without the packages of all
        // platforms, even of those that have never been published.
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund"]).current_dir(&project.npm);
        tool::run(&mut npm, INSTALL)?;
        // npm does not touch it where nothing was to be done, and that would be asked again with each build.
        if let Ok(installed) = fs::File::options().append(true).open(project.npm.join(INSTALLED)) {
            installed.set_modified(SystemTime::now()).context("cannot say when packages were installed")?;
        }
    }
    Ok(Command::new(program))
}

/// What npm writes when it has installed what it should.
const INSTALLED: &str = "node_modules/.package-lock.json";

/// Whether a `package.json` or the lock beside it has changed since npm installed packages. What another program has installed is left
/// alone: its versions are none of npm's.
fn is_stale(folder: &Path) -> bool {
    let changed = |file: &str| fs::metadata(folder.join(file)).and_then(|file| file.modified()).ok();
    let Some(installed) = changed(INSTALLED) else { return false };
    ["package.json", "package-lock.json"].into_iter().filter_map(changed).any(|changed| changed > installed)
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn packages_are_stale_when_what_is_wanted_has_changed_since() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, seconds: u64| {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let file = fs::File::create(file).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        write("package.json", 10);
        assert!(!is_stale(folder.path()), "npm has installed nothing");
        write(INSTALLED, 11);
        assert!(!is_stale(folder.path()), "there need not be a lock");
        write("package-lock.json", 11);
        assert!(!is_stale(folder.path()));
        write("package-lock.json", 12);
        assert!(is_stale(folder.path()));
        write(INSTALLED, 12);
        write("package.json", 13);
        assert!(is_stale(folder.path()));
    }

    #[test]
    fn paths_are_relative_to_the_project() {
        for (path, from, expected) in
            [("/p/sdk/x", "/p", "sdk/x"), ("/r/sdk/x", "/r/policies/a/b", "../../../sdk/x"), ("/p", "/p", "")]
        {
            assert_eq!(relative(Path::new(path), Path::new(from)), Path::new(expected));
        }
    }
}
