//! From a core module to a component: what the contract says of its functions is put beside them.

use wasm_encoder::{CustomSection, Section};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::BuildError;

/// The contract.
const CONTRACT: &str = include_str!("../../wit/policy.wit");

/// Makes a component of a core module. `types` are the sections that say which contract it was made for; without any it is
/// the present one.
pub(crate) fn component(
    mut module: Vec<u8>,
    types: &[(&str, &[u8])],
    has_feedback: bool,
) -> Result<Vec<u8>, BuildError> {
    for (name, data) in types {
        let section = CustomSection { name: (*name).into(), data: (*data).into() };
        section.append_to(&mut module);
    }
    if types.is_empty() {
        describe(&mut module, has_feedback).map_err(|error| BuildError::Contract(format!("{error:#}")))?;
    }
    let encode = || ComponentEncoder::default().validate(true).module(&module)?.encode();
    encode().map_err(|error| BuildError::Contract(format!("{error:#}")))
}

fn describe(module: &mut Vec<u8>, has_feedback: bool) -> anyhow::Result<()> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("policy.wit", CONTRACT)?;
    let world = if has_feedback { "policy-with-feedback" } else { "policy-only" };
    let world = resolve.select_world(&[package], Some(world))?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
}
