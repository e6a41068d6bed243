//! Names of what endpoints report of themselves, and where each is kept.

use std::sync::{Arc, Mutex, PoisonError};

use wasmesh_core::load::REPORT_SLOTS;

/// Gives each name a slot, the same for all Services of this proxy and for as long as it runs.
#[derive(Debug, Clone, Default)]
pub struct ReportSlots(Arc<Mutex<Vec<String>>>);

impl ReportSlots {
    /// The slot of a name; `None` when all are taken by others.
    pub fn slot(&self, name: &str) -> Option<usize> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = names.iter().position(|known| known == name) {
            return Some(slot);
        }
        if names.len() == REPORT_SLOTS {
            return None;
        }
        names.push(name.to_owned());
        Some(names.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_slot_and_there_are_only_so_many() {
        let slots = ReportSlots::default();
        let all: Vec<_> = (0..REPORT_SLOTS).map(|n| slots.slot(&n.to_string())).collect();
        assert_eq!(all, (0..REPORT_SLOTS).map(Some).collect::<Vec<_>>());
        assert_eq!(slots.slot("7"), Some(7));
        assert_eq!(slots.slot("one more"), None);
    }
}
