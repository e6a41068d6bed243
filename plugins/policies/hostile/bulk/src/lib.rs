//! Fills megabytes again and again: few instructions that take long, which fuel hardly sees.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct Bulk;

impl Policy for Bulk {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        let mut block = vec![0_u8; 8 << 20];
        for round in 0..100_000_u32 {
            block.fill(round as u8);
            std::hint::black_box(&mut block);
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(Bulk);
