//! Which policies there are: `NAME/rust`, `NAME/c` and `hostile/NAME` under one folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Sources of a policy in one language.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guest {
    /// The folder that its component goes to: the language, or `hostile`.
    pub(super) shelf: String,
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) sources: PathBuf,
}

/// What a guest is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Language {
    Rust,
    C,
}

/// All of them, by shelf and name.
pub(super) fn guests(folder: &Path) -> Result<Vec<Guest>> {
    let mut found = Vec::new();
    for (name, sources) in folders(folder)? {
        let in_language = [("rust", Language::Rust, "Cargo.toml"), ("c", Language::C, "policy.c")];
        let written = in_language.into_iter().filter(|(shelf, _, file)| sources.join(shelf).join(file).is_file());
        for (shelf, language, _) in written {
            found.push(Guest { shelf: shelf.to_owned(), name: name.clone(), language, sources: sources.join(shelf) });
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
    use super::{Language, guests};

    #[test]
    fn the_examples_are_found_in_both_languages() {
        let found = guests(&crate::cargo::root().join("plugins/policies")).unwrap();
        let has = |shelf: &str, name: &str, language| {
            found
                .iter()
                .any(|guest| (guest.shelf.as_str(), guest.name.as_str(), guest.language) == (shelf, name, language))
        };
        assert!(has("rust", "round-robin", Language::Rust));
        assert!(has("c", "round-robin", Language::C));
        assert!(has("hostile", "spin", Language::Rust));
        assert!(!found.iter().any(|guest| guest.name == "built" || guest.name == "hostile"), "{found:?}");
    }
}
