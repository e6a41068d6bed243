//! Takes a mebibyte more with each pick, and once that is refused, traps.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct MemoryBomb(Late);

impl Policy for MemoryBomb {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        if self.0.is_due() {
            assert!(core::arch::wasm32::memory_grow::<0>(16) != usize::MAX, "memory has been refused");
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(MemoryBomb);
