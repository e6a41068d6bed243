//! Never comes back from a pick. Only the budget of instructions ends it.

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
        // A bijection over 64 bits that is told to look for its end, so that no compiler can leave it out.
        while std::hint::black_box(number) != 0 || number == 0 {
            number = wasmesh_policy::random::mix(number) | 1;
        }
        Decision::fallback()
    }
}

wasmesh_policy::export!(Spin);
