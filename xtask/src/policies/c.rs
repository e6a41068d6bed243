//! The bindings of policies in C, made from the contract. They are checked in, so that nobody needs what makes them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wit_bindgen_c::Opts;
use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};

use crate::cargo::root;

const WORLD: &str = "policy-only";

/// What the generator makes and a policy needs; the rest says which contract it is, and our own tool says that itself.
const FILES: [&str; 2] = ["policy_only.h", "policy_only.c"];

/// Holds the bindings of `plugins/sdk/c` against the contract; with `update` makes them anew.
pub(super) fn bindings(update: bool) -> Result<()> {
    let (fresh, kept) = (root().join("target/policies-build/c"), root().join("plugins/sdk/c/bindings"));
    generate(&root().join("plugins/wit"), &fresh)?;
    for file in FILES {
        let (fresh, kept) = (fs::read_to_string(fresh.join(file))?, kept.join(file));
        if update {
            fs::write(&kept, fresh).with_context(|| kept.display().to_string())?;
        } else {
            let same = fs::read_to_string(&kept).is_ok_and(|kept| kept == fresh);
            ensure!(same, "{} is not what the contract makes: run `cargo xtask policies --update`", kept.display());
        }
    }
    Ok(())
}

fn generate(contract: &Path, folder: &Path) -> Result<()> {
    let (mut resolve, world) = world(contract)?;
    let mut files = Files::default();
    Opts::default().build().generate(&mut resolve, world, &mut files)?;
    fs::create_dir_all(folder)?;
    for (name, contents) in files.iter() {
        fs::write(folder.join(name), contents)?;
    }
    Ok(())
}

fn world(contract: &Path) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(contract)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    Ok((resolve, world))
}
