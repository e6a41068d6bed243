//! What comes out of compiling, and how it is written down for another process or another day.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

/// A compiled module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artefact {
    pub(crate) machine: Machine,
    /// Why it is not called directly.
    pub(crate) why_component: Option<String>,
    pub(crate) has_feedback: bool,
}

/// Machine code as wasmtime writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Of a core module.
    Module(Vec<u8>),
    /// Of a component.
    Component(Vec<u8>),
}

/// Begins every written artefact, before the compatibility of the engine and the SHA-256 of the rest. The number changes with the form.
const MAGIC: &[u8; 16] = b"wasmesh-policy 1";

impl Artefact {
    /// Writes the artefact, for engines of this compatibility only.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn write_to(&self, out: &mut impl Write, compatibility: u64) -> io::Result<()> {
        let (kind, code) = match &self.machine {
            Machine::Module(code) => (0, code),
            Machine::Component(code) => (1, code),
        };
        let why = self.why_component.as_deref().unwrap_or_default().as_bytes();
        let flags = [kind, u8::from(self.has_feedback)];
        let why_len = (why.len() as u32).to_le_bytes();
        // Machine code is large: it is not copied for this.
        let parts = [&flags[..], &why_len, why, code];
        let checksum = parts.iter().fold(Sha256::new(), Sha256::chain_update).finalize();
        let header = [&MAGIC[..], &compatibility.to_le_bytes(), &checksum];
        header.iter().chain(&parts).try_for_each(|part| out.write_all(part))
    }

    /// Reads it back; `None` if a bit of it is not as it was written, or if it was made for another engine.
    ///
    /// That tells accidents from artefacts, not forgeries: whoever reads one must know where it comes from.
    pub(crate) fn from_bytes(mut bytes: Vec<u8>, compatibility: u64) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<16>()?;
        let (made_for, rest) = rest.split_first_chunk::<8>()?;
        let (checksum, rest) = rest.split_first_chunk::<32>()?;
        let is_right = magic == MAGIC && u64::from_le_bytes(*made_for) == compatibility;
        if !is_right || Sha256::digest(rest)[..] != checksum[..] {
            return None;
        }
        let ([kind, has_feedback], rest) = rest.split_first_chunk::<2>()?;
        let (kind, has_feedback) = (*kind, *has_feedback == 1);
        let (why_len, rest) = rest.split_first_chunk::<4>()?;
        let (why, code) = rest.split_at_checked(u32::from_le_bytes(*why_len) as usize)?;
        let why = std::str::from_utf8(why).ok()?;
        let why_component = (!why.is_empty()).then(|| why.to_owned());
        let before = bytes.len() - code.len();
        // In place, as it is large.
        bytes.drain(..before);
        let machine = match kind {
            0 => Machine::Module(bytes),
            1 => Machine::Component(bytes),
            _ => return None,
        };
        Some(Self { machine, why_component, has_feedback })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefact(machine: Machine) -> Artefact {
        Artefact { machine, why_component: Some("it is odd".to_owned()), has_feedback: true }
    }

    fn written(artefact: &Artefact) -> Vec<u8> {
        let mut bytes = Vec::new();
        artefact.write_to(&mut bytes, 7).unwrap();
        bytes
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for machine in [Machine::Module(vec![1, 2, 3]), Machine::Component(Vec::new())] {
            let artefact = artefact(machine);
            assert_eq!(Artefact::from_bytes(written(&artefact), 7).as_ref(), Some(&artefact));
            let direct = Artefact { why_component: None, has_feedback: false, ..artefact };
            assert_eq!(Artefact::from_bytes(written(&direct), 7).as_ref(), Some(&direct));
        }
    }

    #[test]
    fn a_changed_bit_or_a_missing_byte_is_noticed_anywhere() {
        let bytes = written(&artefact(Machine::Module(vec![0; 40])));
        assert_eq!(Artefact::from_bytes(bytes.clone(), 8), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Artefact::from_bytes(changed, 7), None, "{at}");
            assert_eq!(Artefact::from_bytes(bytes[..at].to_vec(), 7), None, "{at}");
        }
        assert_eq!(Artefact::from_bytes([&bytes[..], &[0]].concat(), 7), None);
    }
}
