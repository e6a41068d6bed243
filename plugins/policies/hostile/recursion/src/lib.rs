//! Calls itself until the stack is full.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct Recursion(Late);

impl Policy for Recursion {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        if self.0.is_due() {
            return Decision::endpoint(descend(request.random, 0) as u32);
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(Recursion);

/// Not a tail call: what is below is needed afterwards. No random number is that deep.
fn descend(random: u64, depth: u64) -> u64 {
    if random == depth {
        return depth;
    }
    let mut frame = [depth; 16];
    std::hint::black_box(&mut frame);
    descend(random, depth + 1) + frame[(random % 16) as usize]
}
