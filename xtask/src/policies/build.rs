//! From sources to components.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use wasmesh_policy_build::{Language, Project, component};
use wit_component::ComponentEncoder;

use super::guests::{ECHO, Guest, guests};
use super::{c, npm, rust};
use crate::cargo::root;
use crate::prerequisites::Machine;
use crate::rungs::{CLANG, GO, GO_FOR_WASM, NPM, WASM_LD};

/// Builds all into `target/policies`; with `--update` copies them into `plugins/policies/built` too.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let update = match args {
        [] => false,
        [only] if only == "--update" => true,
        _ => bail!("policies knows --update and nothing else"),
    };
    let guests = guests(&root().join("plugins/policies"))?;
    let (in_rust, others): (Vec<_>, Vec<_>) = guests.into_iter().partition(|guest| guest.language == Language::Rust);
    Machine::default()
        .provide(&[CLANG, WASM_LD, GO, GO_FOR_WASM, NPM])
        .map_err(|obstacle| anyhow!("policies: {obstacle}"))?;
    c::bindings(update)?;
    let modules = rust::build()?;
    let built = root().join("target/policies");
    clear(&built)?;
    for guest in &in_rust {
        let module = modules.join(guest.name.replace('-', "_")).with_extension("wasm");
        write_component(guest, &fs::read(&module).with_context(|| module.display().to_string())?, &built)?;
    }
    let npm = npm::packages()?;
    let plugins = root().join("plugins");
    for guest in &others {
        let project = Project {
            folder: guest.sources.clone(),
            language: guest.language,
            sdk: plugins.join("sdk"),
            npm: npm.clone(),
            root: plugins.clone(),
        };
        let module = project.module().with_context(|| format!("{} in {}", guest.name, guest.language))?;
        write_component(guest, &module, &built)?;
    }
    if update {
        copy(&built, &root().join("plugins/policies/built"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a component of what a compiler has made. Those that misbehave on purpose are taken as they are.
fn write_component(guest: &Guest, module: &[u8], built: &Path) -> Result<()> {
    let is_hostile = guest.shelf == "hostile";
    let component = if is_hostile { hostile(module) } else { component(module).map_err(Into::into) };
    let component = component.with_context(|| format!("{} is no component", guest.name))?;
    let file = built.join(&guest.shelf).join(&guest.name).with_extension("wasm");
    fs::create_dir_all(file.parent().unwrap_or(built))?;
    fs::write(&file, &component).with_context(|| file.display().to_string())?;
    println!("{:>7}  {}", component.len(), file.strip_prefix(root()).unwrap_or(&file).display());
    Ok(())
}

/// What our own tool would refuse to make.
fn hostile(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(module)?.encode()
}

/// A folder without what was in it: a policy that has been renamed must not stay behind under its old name.
fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    clear(to)?;
    for shelf in fs::read_dir(from)? {
        let shelf = shelf?;
        if shelf.file_name() == ECHO {
            continue;
        }
        fs::create_dir_all(to.join(shelf.file_name()))?;
        for file in fs::read_dir(shelf.path())? {
            let file = file?;
            fs::copy(file.path(), to.join(shelf.file_name()).join(file.file_name()))?;
        }
    }
    Ok(())
}
