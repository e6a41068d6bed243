//! Never comes back from a pick: only the budget of instructions ends it.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct Spin;

impl Policy for Spin {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let mut number = request.random;
        loop {
            number = std::hint::black_box(wasmesh_policy::random::mix(number));
        }
    }
}

wasmesh_policy::export!(Spin);
