//! What comes out of compiling, and how it is written down for another process or another day.

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

/// Begins every written artefact. The number changes with the form.
const MAGIC: &[u8; 16] = b"wasmesh-policy 1";
/// Magic, compatibility of the engine, SHA-256 of the rest.
const HEADER: usize = 16 + 8 + 32;

impl Artefact {
    /// The artefact as bytes, for engines of this compatibility only.
    pub(crate) fn to_bytes(&self, compatibility: u64) -> Vec<u8> {
        let (kind, code) = match &self.machine {
            Machine::Module(code) => (0, code),
            Machine::Component(code) => (1, code),
        };
        let why = self.why_component.as_deref().unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER + 6 + why.len() + code.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&compatibility.to_le_bytes());
        bytes.extend_from_slice(&[0; 32]);
        bytes.extend_from_slice(&[kind, u8::from(self.has_feedback)]);
        bytes.extend_from_slice(&(why.len() as u32).to_le_bytes());
        bytes.extend_from_slice(why.as_bytes());
        bytes.extend_from_slice(code);
        let checksum = Sha256::digest(&bytes[HEADER..]);
        bytes[HEADER - 32..HEADER].copy_from_slice(&checksum);
        bytes
    }

    /// Reads it back; `None` if a bit of it is not as it was written, or if it was made for another engine.
    ///
    /// That tells accidents from artefacts, not forgeries: whoever reads one must know where it comes from.
    pub(crate) fn from_bytes(bytes: &[u8], compatibility: u64) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<16>()?;
        let (made_for, rest) = rest.split_first_chunk::<8>()?;
        let (checksum, rest) = rest.split_first_chunk::<32>()?;
        let is_right = magic == MAGIC && u64::from_le_bytes(*made_for) == compatibility;
        if !is_right || Sha256::digest(rest)[..] != checksum[..] {
            return None;
        }
        let ([kind, has_feedback], rest) = rest.split_first_chunk::<2>()?;
        let (why_len, rest) = rest.split_first_chunk::<4>()?;
        let (why, code) = rest.split_at_checked(u32::from_le_bytes(*why_len) as usize)?;
        let why = std::str::from_utf8(why).ok()?;
        let machine = match kind {
            0 => Machine::Module(code.to_vec()),
            1 => Machine::Component(code.to_vec()),
            _ => return None,
        };
        let why_component = (!why.is_empty()).then(|| why.to_owned());
        Some(Self { machine, why_component, has_feedback: *has_feedback == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artefact(machine: Machine) -> Artefact {
        Artefact { machine, why_component: Some("it is odd".to_owned()), has_feedback: true }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for machine in [Machine::Module(vec![1, 2, 3]), Machine::Component(Vec::new())] {
            let artefact = artefact(machine);
            assert_eq!(Artefact::from_bytes(&artefact.to_bytes(7), 7).as_ref(), Some(&artefact));
            let direct = Artefact { why_component: None, has_feedback: false, ..artefact };
            assert_eq!(Artefact::from_bytes(&direct.to_bytes(7), 7).as_ref(), Some(&direct));
        }
    }

    #[test]
    fn a_changed_bit_or_a_missing_byte_is_noticed_anywhere() {
        let bytes = artefact(Machine::Module(vec![0; 40])).to_bytes(7);
        assert_eq!(Artefact::from_bytes(&bytes, 8), None);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Artefact::from_bytes(&changed, 7), None, "{at}");
            assert_eq!(Artefact::from_bytes(&bytes[..at], 7), None, "{at}");
        }
        assert_eq!(Artefact::from_bytes(&[&bytes[..], &[0]].concat(), 7), None);
    }
}
