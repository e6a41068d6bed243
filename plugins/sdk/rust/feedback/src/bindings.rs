//! Generated from the contract: a world of nothing but the export, which is merged with the policy's own.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

wit_bindgen::generate!({
    inline: "package wasmesh:sdk; world feedback-only { export wasmesh:policy/feedback@0.1.0; }",
    path: "../../../wit/policy.wit",
    world: "wasmesh:sdk/feedback-only",
    // There are no constructors to run, and asking costs on every pick.
    disable_run_ctors_once_workaround: true,
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "wasmesh_policy_feedback::bindings",
});
