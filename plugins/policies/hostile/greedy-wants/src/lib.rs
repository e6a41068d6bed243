//! Tries to read what it may not. Given three endpoints or more, its picks say what it got:
//!
//! * 0: nothing but what it may have, as it should be;
//! * 1: `Authorization`, which it declared, as a key or as a string;
//! * 2: a string that it did not declare.
//!
//! The reason says whether it got `x-greedy`, which it declared and may have: `declared-read` or `declared-none`.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Traits, Update, request_info};

struct GreedyWants {
    endpoints: u32,
}

impl Policy for GreedyWants {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let plan = Plan {
            keys: vec!["header:authorization".to_owned(), "cookie:session".to_owned()],
            wants: vec!["string:header:authorization".to_owned(), "string:header:x-greedy".to_owned()],
            ..Plan::with_reasons(&["declared-none", "declared-read"])
        };
        Ok((Self { endpoints: 0 }, plan))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.endpoints = update.endpoints.len() as u32;
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let keyed = request.traits.intersects(Traits::KEY0 | Traits::KEY1) || request.key0 != 0 || request.key1 != 0;
        let authorization = keyed || request_info::text(0).is_some();
        let undeclared = (2..10).any(|want| request_info::text(want).is_some()) || !request_info::body().is_empty();
        let index = if authorization { 1 } else { u32::from(undeclared) * 2 };
        Decision::endpoint(index.min(self.endpoints.saturating_sub(1)))
            .because(u32::from(request_info::text(1).is_some()))
    }
}

wasmesh_policy::export!(GreedyWants);
