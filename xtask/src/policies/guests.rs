//! Which policies there are: `NAME/LANGUAGE`, `hostile/NAME` and `echo/LANGUAGE` under one folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasmesh_policy_build::Language;

/// Sources of a policy in one language.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guest {
    /// The folder that its component goes to: the language, `hostile` or [`ECHO`].
    pub(super) shelf: String,
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) sources: PathBuf,
}

/// Where those lie that tests of the host ask for what crosses the boundary. They are called as their language, and not checked in.
pub(super) const ECHO: &str = "echo";

/// All of them, by shelf and name.
pub(super) fn guests(folder: &Path) -> Result<Vec<Guest>> {
    let mut found = Vec::new();
    for (name, sources) in folders(folder)? {
        if matches!(name.as_str(), "built" | "hostile") {
            continue;
        }
        let written = Language::ALL.into_iter().map(|language| (language, sources.join(language.name())));
        for (language, sources) in written.filter(|(_, sources)| sources.is_dir()) {
            let (shelf, name) = (language.to_string(), name.clone());
            let (shelf, name) = if name == ECHO { (name, shelf) } else { (shelf, name) };
            found.push(Guest { shelf, name, language, sources });
        }
    }
    for (name, sources) in folders(&folder.join("hostile"))? {
        found.push(Guest { shelf: "hostile".to_owned(), name, language: Language::Rust, sources });
    }
    found.sort();
    Ok(found)
}

fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let named = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), path));
    Ok(paths?.into_iter().filter(|path| path.is_dir()).filter_map(named).collect())
}

#[cfg(test)]
mod tests {
    use wasmesh_policy_build::Language;

    use super::guests;

    #[test]
    fn the_examples_are_found_in_all_languages() {
        let found = guests(&crate::cargo::root().join("plugins/policies")).unwrap();
        let has = |shelf: &str, name: &str, language| {
            found
                .iter()
                .any(|guest| (guest.shelf.as_str(), guest.name.as_str(), guest.language) == (shelf, name, language))
        };
        for language in Language::ALL {
            assert!(has(language.name(), "round-robin", language), "{language}");
        }
        assert!(has("hostile", "spin", Language::Rust));
        assert!(has("echo", "go", Language::Go));
        assert!(!found.iter().any(|guest| guest.name == "built" || guest.name == "hostile"), "{found:?}");
    }
}
