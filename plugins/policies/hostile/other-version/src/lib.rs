//! A policy for a contract that does not exist yet.

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package wasmesh:policy@0.2.0;
            interface policy { pick: func() -> u32; }
            world policy-only { export policy; }
        ",
    });
}

struct OtherVersion;

impl bindings::exports::wasmesh::policy::policy::Guest for OtherVersion {
    fn pick() -> u32 {
        0
    }
}

bindings::export!(OtherVersion with_types_in bindings);
