//! Not hostile, but for tests: holds each request for 50 ms, then picks endpoint 0; rejects with 429 what has a header
//! `x-reject`. Both need the policy object's leave.

use wasmesh_policy::{Choice, Decision, Label, Plan, Policy, Request, Traits, Update};

struct HoldThenGo;

impl Policy for HoldThenGo {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let keys = vec!["header:x-reject".to_owned()];
        Ok((Self, Plan { keys, ..Plan::with_reasons(&["go", "hold", "reject"]) }))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        if request.traits.contains(Traits::KEY0) {
            return Decision::of(Choice::Reject(429)).because(2);
        }
        if request.attempt == 0 {
            return Decision::of(Choice::Hold(50)).because(1);
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(HoldThenGo);
