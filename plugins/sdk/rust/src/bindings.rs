//! Generated from the contract.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

wit_bindgen::generate!({
    world: "policy-only",
    path: "../../wit/policy.wit",
    // There are no constructors to run, and asking costs on every pick.
    disable_run_ctors_once_workaround: true,
    pub_export_macro: true,
    export_macro_name: "export_bindings",
    default_bindings_module: "wasmesh_policy::bindings",
});
