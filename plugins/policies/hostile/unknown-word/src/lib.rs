//! Wants a key that no host knows.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct UnknownWord;

impl Policy for UnknownWord {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan { keys: vec!["phase-of-the-moon".to_owned()], ..Plan::default() }))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::fallback()
    }
}

wasmesh_policy::export!(UnknownWord);
