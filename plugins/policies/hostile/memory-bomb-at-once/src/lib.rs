//! Takes all the memory it can get in one pick, and once more is refused, traps.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct MemoryBombAtOnce(Late);

impl Policy for MemoryBombAtOnce {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        if self.0.is_due() {
            while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {}
            panic!("memory has been refused");
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(MemoryBombAtOnce);
