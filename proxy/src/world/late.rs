//! Services whose endpoints did not come in time.

use std::collections::HashSet;

use wasmesh_core::name::ServiceName;

/// Remembers for which Services somebody has waited in vain in a world: until there is another, nobody waits again.
#[derive(Debug, Default)]
pub struct Late {
    generation: u64,
    names: HashSet<ServiceName>,
}

impl Late {
    /// Whether somebody has waited for the endpoints of a Service in the world of this generation.
    pub fn is_late(&self, name: &ServiceName, generation: u64) -> bool {
        self.generation == generation && self.names.contains(name)
    }

    /// Says that somebody has.
    pub fn note(&mut self, name: &ServiceName, generation: u64) {
        if self.generation != generation {
            *self = Self { generation, names: HashSet::new() };
        }
        self.names.insert(name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::Late;

    #[test]
    fn another_world_is_worth_another_wait() {
        let name = "shop/web".parse().unwrap();
        let mut late = Late::default();
        assert!(!late.is_late(&name, 1));
        late.note(&name, 1);
        assert!(late.is_late(&name, 1) && !late.is_late(&"shop/db".parse().unwrap(), 1));
        assert!(!late.is_late(&name, 2));
    }
}
