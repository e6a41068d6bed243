//! Never comes back from a pick: only the budget of instructions ends it.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct Spin(Late);

impl Policy for Spin {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        if self.0.is_due() {
            let mut number = request.random;
            loop {
                number = std::hint::black_box(wasmesh_policy::random::mix(number));
            }
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(Spin);
