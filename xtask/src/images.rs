//! `cargo xtask images`: the files of the container images, ready for `FROM scratch`. A test cluster packs the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::{cargo, root, search_path};
use crate::stream::{self, Shown};

/// What tells tests where the files are.
pub(crate) const VARIABLE: &str = "WASMESH_IMAGES";

/// An image, which is named like its first program.
struct Image {
    binary: &'static str,
    /// Programs of this system, which go with their libraries.
    programs: &'static [&'static str],
}

const IMAGES: [Image; 2] = [
    Image { binary: "wasmesh-proxy", programs: &["/usr/sbin/nft"] },
    Image { binary: "wasmesh-control-plane", programs: &[] },
];

/// Static, so that an image needs no other file and no C library of its own. A target is named even though it is this
/// machine's, or what runs while building would be static too, and macros cannot be.
const BUILD: [&str; 7] = [
    "build",
    "--target",
    "host-tuple",
    "--config",
    r#"target."cfg(target_os = \"linux\")".rustflags = ["-C", "target-feature=+crt-static"]"#,
    "--message-format",
    "json-render-diagnostics",
];

/// Prints the folder that has a folder for each image.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let release = match args {
        [] => false,
        [arg] if arg == "--release" => true,
        _ => bail!("images knows --release and nothing else; `cargo xtask` alone lists what it knows"),
    };
    println!("{}", build(release)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Makes the files, and returns where they are.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    let binaries = binaries(release)?;
    let folder = root().join("target/images");
    for Image { binary, programs } in IMAGES {
        let files = folder.join(binary);
        if files.exists() {
            fs::remove_dir_all(&files).with_context(|| format!("cannot empty {}", files.display()))?;
        }
        let built = binaries.iter().find(|path| path.ends_with(binary));
        copy(built.with_context(|| format!("the build made no binary named {binary}"))?, &files.join(binary))?;
        for program in programs {
            for path in with_libraries(Path::new(program))? {
                copy(&path, &files.join(path.strip_prefix("/").unwrap_or(&path)))?;
            }
        }
    }
    Ok(folder)
}

fn binaries(release: bool) -> Result<Vec<PathBuf>> {
    let mut command = cargo(&BUILD);
    // Apart from all else that is built, which would wait for its locks.
    command.arg("--target-dir").arg(root().join("target/static"));
    command.args(IMAGES.iter().flat_map(|image| ["--package", image.binary]));
    if release {
        command.args(["--release", "--config", "profile.release.strip = \"symbols\""]);
    }
    eprintln!("xtask: building static binaries");
    let mut found = Vec::new();
    let status = stream::run(&mut command, Shown::Hidden, |line| {
        let message = serde_json::from_str::<Value>(line).unwrap_or_default();
        found.extend(message["executable"].as_str().map(PathBuf::from));
    })?;
    ensure!(status.success(), "the static binaries cannot be built: see above");
    Ok(found)
}

/// A program and the libraries that it names, as the linker of this system finds them.
fn with_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    ensure!(program.is_file(), "{} is not there; install the package nftables", program.display());
    let output = Command::new("ldd").arg(program).env("PATH", search_path()).output().context("cannot run ldd")?;
    ensure!(output.status.success(), "ldd cannot say what {} needs", program.display());
    Ok([vec![program.to_owned()], libraries(&String::from_utf8_lossy(&output.stdout))].concat())
}

fn libraries(said: &str) -> Vec<PathBuf> {
    said.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from))
        .collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::libraries;

    #[test]
    fn libraries_are_where_the_linker_finds_them() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibnftables.so.1 => /lib/x86_64-linux-gnu/libnftables.so.1 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libnftables.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(said), expected);
        assert_eq!(libraries("\tstatically linked\n"), Vec::<PathBuf>::new());
    }
}
