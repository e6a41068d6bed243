//! Never comes back from `init`.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct SlowInit;

impl Policy for SlowInit {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        let mut number = 0;
        loop {
            number = std::hint::black_box(wasmesh_policy::random::mix(number));
        }
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::fallback()
    }
}

wasmesh_policy::export!(SlowInit);
