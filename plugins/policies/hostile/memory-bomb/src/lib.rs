//! Takes a mebibyte more with each pick, and once that is refused, traps.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct MemoryBomb;

impl Policy for MemoryBomb {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        core::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(MemoryBomb);
