//! Traps on every n-th pick: `{"every": n}`, by default on each; picks endpoint 0 in between. With more than a thousand it
//! gets through a dry run.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update, config};

struct Trap {
    every: u32,
    picks: u32,
}

const USAGE: &str = r#"{"every": NUMBER}"#;

impl Policy for Trap {
    fn init(text: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let every = config::read(text, USAGE, |fields| fields.number("every"))?;
        Ok((Self { every: every.unwrap_or(1).max(1), picks: 0 }, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        self.picks += 1;
        if self.picks.is_multiple_of(self.every) {
            panic!("the {}th pick", self.picks);
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(Trap);
