//! Holds every request, and holds it again, for as long as it may.

use wasmesh_policy::{Choice, Decision, Label, Plan, Policy, Request, Update};

struct HoldForEver;

impl Policy for HoldForEver {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::of(Choice::Hold(u32::MAX))
    }
}

wasmesh_policy::export!(HoldForEver);
