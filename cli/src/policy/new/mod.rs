//! `wasmesh policy new`: a project with a policy that can be built and tested as it is.
//!
//! What a policy needs beside its compiler comes along: the contract and the SDK, as this program was built with.

mod files;

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use wasmesh_policy_build::Language;

use crate::options;

/// Writes the project into a new folder.
pub(super) fn run(options: &options::NewPolicy) -> anyhow::Result<ExitCode> {
    let (name, language) = (options.name.as_str(), options.lang);
    let folder = Path::new(name);
    if folder.exists() {
        bail!("there is something called {name} already: take another name, or another folder");
    }
    for (path, text) in files::of(language, name) {
        let file = folder.join(path);
        let parent = file.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    crate::commands::print(&format!(
        "{name} is a policy in {language}: begin with {name}/{}.\n\n  cd {name}\n  wasmesh policy build\n  \
         wasmesh policy test {name}.wasm cases.yaml\n\nIt needs {}\n",
        files::source(language),
        files::toolchain(language),
    ))
    .map(|_| ExitCode::SUCCESS)
}

/// A name that crates, packages, modules and files may have: `less-loaded`.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins || !text.chars().all(is_plain) || text.ends_with('-') || text.len() > 60 {
        return Err("expected lower-case letters, digits and hyphens, such as less-loaded".to_owned());
    }
    // A crate of this name could not have tests, or would hide what Rust has.
    if matches!(text, "test" | "core" | "std" | "alloc" | "sdk" | "wit")
        || Language::ALL.iter().any(|l| l.name() == text)
    {
        return Err(format!("{text} is taken: expected a name of your own, such as less-loaded"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_those_that_everybody_takes() {
        for good in ["less-loaded", "a", "p99"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "..", "9a", "rust", "sdk", "ü"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
