//! Fills megabytes again and again: few instructions that take long.

use late::Late;
use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

struct Bulk(Late);

impl Policy for Bulk {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self(Late::new(config)?), Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        if self.0.is_due() {
            let mut block = vec![0_u8; 8 << 20];
            for round in 0..100_000_u32 {
                block.fill(round as u8);
                std::hint::black_box(&mut block);
            }
        }
        Decision::endpoint(0)
    }
}

wasmesh_policy::export!(Bulk);
