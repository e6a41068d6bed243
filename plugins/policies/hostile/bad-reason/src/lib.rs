//! Chooses well, for a reason that it never declared.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct BadReason;

impl Policy for BadReason {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::with_reasons(&["only"])))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::endpoint(0).because(1_000)
    }
}

wasmesh_policy::export!(BadReason);
