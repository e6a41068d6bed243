//! Policies in JavaScript: QuickJS with the policy already loaded, by componentize-qjs.

use std::fs;

use anyhow::Context;

use super::{Project, npm, tool};

/// The contract as JavaScript is told of it.
const WORLD: &str = include_str!("../javascript.wit");
const CONTRACT: &str = include_str!("../../../wit/policy.wit");

pub(super) fn build(project: &Project) -> anyhow::Result<Vec<u8>> {
    let folder = tempfile::tempdir().context("no room for what the compiler makes")?;
    let (types, module) = (folder.path().join("wit"), folder.path().join("policy.wasm"));
    let contract = types.join("deps/policy");
    fs::create_dir_all(&contract)?;
    fs::write(types.join("javascript.wit"), WORLD)?;
    fs::write(contract.join("policy.wit"), CONTRACT)?;
    let world = if npm::has_feedback(project)? { "policy-with-feedback" } else { "policy-only" };
    let mut compiler = npm::program(project, "componentize-qjs")?;
    // The interpreter without threads of control, and the smaller of the two that there are: it makes no difference to a pick.
    compiler.args(["--sync", "--opt-size", "--minify", "--world", world, "--wit"]).arg(&types);
    compiler.arg("--module-root").arg(&project.root).arg("--js").arg(project.folder.join("policy.js"));
    tool::run(compiler.arg("--output").arg(&module), npm::INSTALL)?;
    tool::read(&module)
}
