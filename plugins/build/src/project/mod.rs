//! From a folder of sources to the module that its language's compiler makes of them.

mod c;
mod go;
mod javascript;
mod npm;
mod rust;
mod tool;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, bail};

/// What policies are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// For `wasm32-unknown-unknown`, with the crate `wasmesh-policy`.
    Rust,
    /// Freestanding, by clang.
    C,
    /// By the standard toolchain, which wants WASI.
    Go,
    /// TypeScript's looks, WebAssembly's types.
    AssemblyScript,
    /// On an interpreter that comes along, by componentize-qjs.
    JavaScript,
}

/// Sources, and where what they need is found.
#[derive(Debug, Clone)]
pub struct Project {
    /// Where the sources are.
    pub folder: PathBuf,
    /// What they are written in.
    pub language: Language,
    /// The SDKs, by language. Only compilers are told that have no file of their own to read it from.
    pub sdk: PathBuf,
    /// Where `node_modules` is, or will be.
    pub npm: PathBuf,
    /// The uppermost folder of which JavaScript may import.
    pub root: PathBuf,
}

impl Project {
    /// The project in this folder, as `wasmesh policy new` makes one: the language is told by its files.
    ///
    /// # Errors
    /// There are no sources that anybody could build.
    pub fn at(folder: &Path) -> anyhow::Result<Self> {
        let language = Language::of(folder)?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        let (sdk, npm, root) = (folder.join("sdk"), folder.clone(), folder.clone());
        Ok(Self { folder, language, sdk, npm, root })
    }

    /// Builds the sources. What compilers say goes to stderr.
    ///
    /// # Errors
    /// A compiler that is not there, with what to install; or that it does not compile.
    pub fn module(&self) -> anyhow::Result<Vec<u8>> {
        match self.language {
            Language::Rust => rust::build(self),
            Language::C => c::build(self),
            Language::Go => go::build(self),
            Language::AssemblyScript => npm::assemblyscript(self),
            Language::JavaScript => javascript::build(self),
        }
    }
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rust, Self::C, Self::Go, Self::AssemblyScript, Self::JavaScript];

    /// What the project in this folder is written in.
    ///
    /// # Errors
    /// Nothing in it says so, or the folder cannot be read.
    pub fn of(folder: &Path) -> anyhow::Result<Self> {
        let has = |file: &str| folder.join(file).is_file();
        if has("Cargo.toml") {
            return Ok(Self::Rust);
        }
        if has("go.mod") {
            return Ok(Self::Go);
        }
        if has("policy.c") {
            return Ok(Self::C);
        }
        if has("package.json") {
            return npm::language(folder);
        }
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        bail!(
            "{} has no policy to build: expected a Cargo.toml (Rust), a go.mod (Go), a policy.c (C) or a package.json \
             (AssemblyScript, JavaScript). `wasmesh policy new NAME --lang LANGUAGE` begins one",
            folder.display()
        )
    }

    /// What it is called in commands and folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Go => "go",
            Self::AssemblyScript => "assemblyscript",
            Self::JavaScript => "javascript",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|language| language.name() == name)
            .ok_or_else(|| format!("expected one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(file: &str, contents: &str) -> anyhow::Result<Language> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), contents).unwrap();
        Language::of(folder.path())
    }

    #[test]
    fn a_language_is_told_by_its_files() {
        for (file, contents, expected) in [
            ("Cargo.toml", "", Language::Rust),
            ("go.mod", "", Language::Go),
            ("policy.c", "", Language::C),
            ("package.json", r#"{"devDependencies": {"assemblyscript": "1"}}"#, Language::AssemblyScript),
            ("package.json", r#"{"dependencies": {"componentize-qjs": "1"}}"#, Language::JavaScript),
        ] {
            assert_eq!(language(file, contents).unwrap(), expected, "{file}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let error = language("policy.zig", "").unwrap_err().to_string();
        assert!(error.contains("expected a Cargo.toml (Rust)") && error.contains("wasmesh policy new"), "{error}");
        let error = language("package.json", "{}").unwrap_err().to_string();
        assert!(error.contains("assemblyscript") && error.contains("componentize-qjs"), "{error}");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for language in Language::ALL {
            assert_eq!(language.to_string().parse(), Ok(language));
        }
        assert!("python".parse::<Language>().is_err());
    }
}
