//! Refuses a list of endpoints: `{"after": n}` says how many it takes before, by default none.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct RefuseUpdate(Late);

impl Policy for RefuseUpdate {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        if self.0.is_due() {
            Err(format!("enough lists: number {} is one too many", update.generation))
        } else {
            Ok(())
        }
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(RefuseUpdate);
