//! `wasmesh policy build`: from sources, or from what a compiler has made, to a component that may serve.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use wasmesh_policy_build::{Project, component};

use super::check;
use crate::options;

/// What a module of any language has at most before it is stripped and checked.
const MAX_MODULE_BYTES: u64 = 256 << 20;

/// Builds, writes, and looks whether it may serve.
pub(super) fn run(options: &options::BuildPolicy) -> anyhow::Result<ExitCode> {
    match build(options) {
        Ok(file) => check::run(&options::CheckPolicy { file, config: options.config.clone(), json: options.json }),
        Err(error) if options.json => check::refused(&error),
        Err(error) => Err(error),
    }
}

/// Builds and writes, and says where.
fn build(options: &options::BuildPolicy) -> anyhow::Result<PathBuf> {
    let from = &options.from;
    let kind = fs::metadata(from)
        .with_context(|| format!("cannot build {}: expected a folder of sources, or a module", from.display()))?;
    let (module, to) = if kind.is_dir() {
        let project = Project::at(from)?;
        let module = project.module().with_context(|| format!("cannot build {}", from.display()))?;
        (module, options.output.clone().unwrap_or_else(|| named_after(&project.folder)))
    } else {
        let Some(to) = options.output.clone() else {
            bail!("{} is a file: say where the component goes, with -o NAME.wasm", from.display());
        };
        (read(from)?, to)
    };
    let built = component(&module).with_context(|| format!("{} is no policy", from.display()))?;
    fs::write(&to, &built).with_context(|| format!("cannot write {}", to.display()))?;
    eprintln!("{}: {} bytes, of a module of {}", to.display(), built.len(), module.len());
    Ok(to)
}

/// In the project's folder, and called as that is: `gold.v2` in `gold.v2.wasm`.
fn named_after(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or(OsStr::new("policy")).to_owned();
    name.push(".wasm");
    folder.join(name)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let size = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    ensure!(size <= MAX_MODULE_BYTES, "{} is too large to be a policy: {size} bytes", file.display());
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_called_as_its_folder() {
        for (folder, expected) in [("/p/gold", "/p/gold/gold.wasm"), ("/p/gold.v2", "/p/gold.v2/gold.v2.wasm")] {
            assert_eq!(named_after(Path::new(folder)), Path::new(expected));
        }
    }
}
