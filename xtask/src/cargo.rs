//! How other programs are called: the same cargo that runs us, from the root of the project.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Where Debian keeps what administrators run; not on the search path of every user, and not of every CI.
const ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// A cargo command. `$CARGO` is the very cargo that started us, with the toolchain it chose.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()).env("PATH", search_path());
    // What cargo says of the package that it runs. Build scripts ask for the same names, so packages would be built anew
    // whenever another package's program calls cargo than before, or a user does.
    let of_package = |name: &OsString| {
        name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    };
    for (name, _) in env::vars_os().filter(|(name, _)| of_package(name)) {
        command.env_remove(name);
    }
    command
}

/// The same in the workspace of the guests, whose settings say where it builds: under our `target` too.
pub(crate) fn guests(args: &[&str]) -> Command {
    let mut command = cargo(args);
    command.current_dir(root().join("plugins/policies"));
    command
}

/// Whether cargo succeeds with these arguments; nobody hears what it says.
pub(crate) fn succeeds(args: &[&str]) -> bool {
    cargo(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Whether a program of this name would be found.
pub(crate) fn has_program(name: &str) -> bool {
    env::split_paths(&search_path()).any(|folder| folder.join(name).is_file())
}

pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = cache("tools").ok().map(|tools| tools.join("bin"));
    let all = env::split_paths(&path).chain(ADMINISTRATORS.map(PathBuf::from)).chain(tools);
    env::join_paths(all).unwrap_or(path)
}

/// Where something is kept that is of use to more than one checkout.
pub(crate) fn cache(what: &str) -> Result<PathBuf> {
    let folder = |name| env::var_os(name).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Ok(cache.context("needs $HOME or $XDG_CACHE_HOME, to keep things in")?.join("wasmesh").join(what))
}

/// The root of the project.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
