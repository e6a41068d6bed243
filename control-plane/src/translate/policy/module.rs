//! The bytes of a policy, as far as the control plane looks at them: not too many, and a component.
//!
//! Whether a component keeps the contract only the proxies find out, who have the engine.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wasmesh_core::policy::ModuleDigest;

/// The most bytes a module may have.
pub const MAX_MODULE_BYTES: usize = 4 << 20;

/// What every WebAssembly file begins with.
const MAGIC: [u8; 4] = *b"\0asm";
/// Version 1 of the format, layer 0: a core module.
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
/// What follows the version of a component's binary format.
const COMPONENT_LAYER: [u8; 2] = [1, 0];
/// The version of a component's binary format.
const COMPONENT_VERSION: [u8; 2] = [0x0d, 0];

/// A component that may be a policy. Cheap to clone; equal to another with the same bytes.
#[derive(Clone)]
pub struct Module {
    digest: ModuleDigest,
    bytes: Bytes,
}

/// Why bytes are no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModule {
    /// Over [`MAX_MODULE_BYTES`].
    #[error(
        "it has more than {} MiB, which is the most a policy may have: strip it and build it for size",
        MAX_MODULE_BYTES >> 20
    )]
    TooLarge,
    /// There is nothing, perhaps because it is being written.
    #[error("it is empty")]
    Empty,
    /// No WebAssembly.
    #[error("it is not WebAssembly: a policy is a component, as the policy build makes it")]
    NotWasm,
    /// A module that was not made into a component.
    #[error(
        "it is a core WebAssembly module, not a component: a policy is a component of the world wasmesh:policy, as the \
         policy build makes it"
    )]
    CoreModule,
    /// WebAssembly from another time.
    #[error("it is WebAssembly in a binary format that is not known here: build it with current tools")]
    UnknownFormat,
}

impl Module {
    /// Looks at the size and the first bytes.
    ///
    /// # Errors
    /// When these bytes cannot be a policy.
    pub fn new(bytes: Bytes) -> Result<Self, InvalidModule> {
        if bytes.len() > MAX_MODULE_BYTES {
            return Err(InvalidModule::TooLarge);
        }
        if bytes.is_empty() {
            return Err(InvalidModule::Empty);
        }
        let Some(format) = bytes.strip_prefix(&MAGIC) else { return Err(InvalidModule::NotWasm) };
        if format.starts_with(&CORE_MODULE) {
            return Err(InvalidModule::CoreModule);
        }
        if !format.starts_with(&[COMPONENT_VERSION, COMPONENT_LAYER].concat()) {
            return Err(InvalidModule::UnknownFormat);
        }
        let digest = ModuleDigest(Sha256::digest(&bytes).into());
        Ok(Self { digest, bytes })
    }

    /// What names it.
    pub fn digest(&self) -> ModuleDigest {
        self.digest
    }

    /// All of it.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl PartialEq for Module {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Module {}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({}, {} bytes)", self.digest.short(), self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn check(bytes: &[u8], expected: Option<InvalidModule>) {
        let module = Module::new(Bytes::copy_from_slice(bytes));
        assert_eq!(module.err(), expected, "{:?}", &bytes[..bytes.len().min(12)]);
    }

    #[test]
    fn only_components_pass() {
        check(COMPONENT, None);
        check(b"", Some(InvalidModule::Empty));
        check(b"\0as", Some(InvalidModule::NotWasm));
        check(b"#!/bin/sh\n", Some(InvalidModule::NotWasm));
        check(b"\0asm\x01\0\0\0", Some(InvalidModule::CoreModule));
        check(b"\0asm\x0a\0\x01\0", Some(InvalidModule::UnknownFormat));
        check(b"\0asm\x0d\0", Some(InvalidModule::UnknownFormat));
        let padded = |length| [COMPONENT, &vec![0; length - COMPONENT.len()]].concat();
        check(&padded(MAX_MODULE_BYTES), None);
        check(&padded(MAX_MODULE_BYTES + 1), Some(InvalidModule::TooLarge));
    }

    #[test]
    fn a_module_is_named_as_sha256sum_names_it() {
        let module = Module::new(Bytes::from_static(COMPONENT)).unwrap();
        assert_eq!(module.digest().to_string(), "24eaf3439a60c96764c4f2c92a0a81b52bd4fe5d5b91f090184a0f6486b1bf29");
    }
}
