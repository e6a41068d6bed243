//! Serves its first list, and traps on the next.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct TrapUpdate(u32);

impl Policy for TrapUpdate {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(0), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        self.0 += 1;
        assert!(self.0 == 1, "one list was enough");
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(TrapUpdate);
