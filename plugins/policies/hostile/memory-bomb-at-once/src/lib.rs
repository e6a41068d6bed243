//! Takes all the memory it can get, in one pick.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct MemoryBombAtOnce;

impl Policy for MemoryBombAtOnce {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        loop {
            core::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}

wasmesh_policy::export!(MemoryBombAtOnce);
