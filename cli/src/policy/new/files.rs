//! What is in a project: a policy to begin with, cases for it, the contract, and the SDK of its language.

use wasmesh_policy_build::Language;

/// Files of `plugins`, which stand at the same place in a project.
macro_rules! plugins {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../plugins/", $path)))),*]
    };
}

/// Files of this language's template, and what they are called in a project.
macro_rules! template {
    ($language:literal: $($path:literal as $name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $language, "/", $path)))),*]
    };
}

type Files = &'static [(&'static str, &'static str)];

/// By path, everything in a project of this name.
pub(super) fn of(language: Language, name: &str) -> Vec<(&'static str, String)> {
    let shared: Files = &[
        ("README.md", include_str!("templates/README.md")),
        ("cases.yaml", include_str!("templates/cases.yaml")),
        (".gitignore", "/*.wasm\n/target\n/node_modules\n"),
        ("wit/policy.wit", include_str!("../../../../plugins/wit/policy.wit")),
    ];
    let filled_in = |text: &str| {
        let text = text.replace("__NAME__", name).replace("__LANGUAGE__", language.name());
        text.replace("__SOURCE__", source(language))
            .replace("__TOOLCHAIN__", &format!("It needs {}", toolchain(language)))
    };
    let ours = shared.iter().chain(template(language)).map(|(path, text)| (*path, filled_in(text)));
    ours.chain(sdk(language).iter().map(|(path, text)| (*path, in_project(path, text)))).collect()
}

/// Where the policy is.
pub(super) fn source(language: Language) -> &'static str {
    match language {
        Language::Rust => "src/lib.rs",
        Language::C => "policy.c",
        Language::Go => "policy.go",
        Language::AssemblyScript => "policy.ts",
        Language::JavaScript => "policy.js",
    }
}

/// What has to be installed.
pub(super) fn toolchain(language: Language) -> &'static str {
    match language {
        Language::Rust => "Rust from https://rustup.rs, with `rustup target add wasm32-unknown-unknown`.",
        Language::C => "clang and lld (Debian: `apt-get install clang lld`).",
        Language::Go => "Go 1.26 or newer, from https://go.dev/dl.",
        Language::AssemblyScript | Language::JavaScript => {
            "Node.js 20 or newer with npm, from https://nodejs.org; the compiler comes from npm with the first build."
        }
    }
}

fn template(language: Language) -> Files {
    match language {
        Language::Rust => template!("rust": "Cargo.toml" as "Cargo.toml", "src/lib.rs" as "src/lib.rs"),
        Language::C => template!("c": "policy.c" as "policy.c"),
        Language::Go => template!("go": "go.mod.template" as "go.mod", "policy.go" as "policy.go"),
        Language::AssemblyScript => template!(
            "assemblyscript": "package.json" as "package.json", "tsconfig.json" as "tsconfig.json",
            "policy.ts" as "policy.ts",
        ),
        Language::JavaScript => {
            template!("javascript": "package.json" as "package.json", "policy.js" as "policy.js")
        }
    }
}

fn sdk(language: Language) -> Files {
    match language {
        Language::Rust => plugins![
            "sdk/rust/Cargo.toml",
            "sdk/rust/src/bindings.rs",
            "sdk/rust/src/bounded.rs",
            "sdk/rust/src/config/json.rs",
            "sdk/rust/src/config/mod.rs",
            "sdk/rust/src/draw.rs",
            "sdk/rust/src/hash.rs",
            "sdk/rust/src/levels.rs",
            "sdk/rust/src/lib.rs",
            "sdk/rust/src/members.rs",
            "sdk/rust/src/memory.rs",
            "sdk/rust/src/random.rs",
            "sdk/rust/src/ring.rs",
            "sdk/rust/src/two_choices.rs",
            "sdk/rust/feedback/Cargo.toml",
            "sdk/rust/feedback/src/bindings.rs",
            "sdk/rust/feedback/src/lib.rs",
            "sdk/rust/feedback/src/penalty.rs",
        ],
        Language::C => plugins![
            "sdk/c/runtime.c",
            "sdk/c/bindings/policy_only.c",
            "sdk/c/bindings/policy_only.h",
            "sdk/c/include/stdlib.h",
            "sdk/c/include/string.h",
            "sdk/c/include/wasmesh/arena.h",
            "sdk/c/include/wasmesh/config.h",
            "sdk/c/include/wasmesh/hash.h",
            "sdk/c/include/wasmesh/levels.h",
            "sdk/c/include/wasmesh/members.h",
            "sdk/c/include/wasmesh/policy.h",
            "sdk/c/include/wasmesh/random.h",
            "sdk/c/include/wasmesh/sort.h",
        ],
        Language::Go => plugins![
            "sdk/go/go.mod",
            "sdk/go/abi.go",
            "sdk/go/config.go",
            "sdk/go/host.go",
            "sdk/go/levels.go",
            "sdk/go/members.go",
            "sdk/go/policy.go",
            "sdk/go/random.go",
            "sdk/go/feedback/feedback.go",
        ],
        Language::AssemblyScript => plugins![
            "sdk/assemblyscript/abi.ts",
            "sdk/assemblyscript/feedback.ts",
            "sdk/assemblyscript/host.ts",
            "sdk/assemblyscript/index.ts",
            "sdk/assemblyscript/levels.ts",
            "sdk/assemblyscript/members.ts",
            "sdk/assemblyscript/policy.ts",
            "sdk/assemblyscript/random.ts",
        ],
        Language::JavaScript => plugins!["sdk/javascript/index.js"],
    }
}

/// The SDK's crates are of another workspace where they come from.
fn in_project(path: &str, text: &str) -> String {
    if path.ends_with("Cargo.toml") {
        text.lines().filter(|line| !line.starts_with("workspace = \"")).map(|line| format!("{line}\n")).collect()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn plugins() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
    }

    fn files_under(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_under(&path, found);
            } else {
                found.insert(path.strip_prefix(plugins()).unwrap().to_owned());
            }
        }
    }

    #[test]
    fn the_whole_sdk_comes_along() {
        for language in Language::ALL {
            let mut expected = BTreeSet::new();
            files_under(&plugins().join("sdk").join(language.name()), &mut expected);
            let listed: BTreeSet<_> = sdk(language).iter().map(|(path, _)| PathBuf::from(path)).collect();
            assert_eq!(listed, expected, "{language}");
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for language in Language::ALL {
            let files = of(language, "my-policy");
            let ours = files.iter().filter(|(path, _)| !path.starts_with("sdk/"));
            assert!(ours.into_iter().all(|(_, text)| !text.contains("__")), "{language}");
            assert!(files.iter().any(|(path, _)| *path == source(language)), "{language}");
        }
    }

    #[test]
    fn versions_are_those_of_the_examples() {
        let examples = |file: &str| fs::read_to_string(plugins().join("policies").join(file)).unwrap();
        let line_of = |text: &str, begin: &str| {
            let line = text.lines().map(str::trim).find(|line| line.starts_with(begin)).unwrap_or_default();
            line.trim_end_matches(',').to_owned()
        };
        for (language, file, examples, begin) in [
            (Language::Rust, "Cargo.toml", examples("Cargo.toml"), "wit-bindgen ="),
            (Language::Rust, "Cargo.toml", examples("Cargo.toml"), "xxhash-rust ="),
            (Language::Rust, "Cargo.toml", examples("Cargo.toml"), "rust-version ="),
            (Language::AssemblyScript, "package.json", examples("package.json"), "\"assemblyscript\""),
            (Language::JavaScript, "package.json", examples("package.json"), "\"componentize-qjs\""),
        ] {
            let files = of(language, "my-policy");
            let (_, text) = files.iter().find(|(path, _)| *path == file).unwrap();
            assert_eq!(line_of(text, begin), line_of(&examples, begin), "{begin}");
        }
    }
}
