//! Imports an interface that no host has; everything else about it is in order.

use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package example:foreign@1.0.0;
            interface clock { now: func() -> u64; }
            world stranger { import clock; }
        ",
    });
}

struct ForeignImport;

impl Policy for ForeignImport {
    fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::default()))
    }

    fn update(&mut self, _update: Update) -> Result<(), String> {
        Ok(())
    }

    fn pick(&mut self, _request: &Request) -> Decision {
        Decision::endpoint(bindings::example::foreign::clock::now() as u32)
    }
}

wasmesh_policy::export!(ForeignImport);
