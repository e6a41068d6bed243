//! Chooses an endpoint that does not exist.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct WrongIndex(Late);

impl Policy for WrongIndex {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        if self.0.is_due() {
            return Decision::endpoint(u32::MAX);
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(WrongIndex);
