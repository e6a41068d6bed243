//! Chooses an endpoint that does not exist.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct WrongIndex;

impl Policy for WrongIndex {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::endpoint(u32::MAX)
    }
}

wasmesh_policy::export!(WrongIndex);
