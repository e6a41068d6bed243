//! Traps on a list of endpoints: `{"after": n}` says how many it takes before, by default none.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct TrapUpdate(Late);

impl Policy for TrapUpdate {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        assert!(!self.0.is_due(), "enough lists");
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(TrapUpdate);
