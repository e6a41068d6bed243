//! The optional half of the contract: a policy that is told how its requests ended. A crate of its own, because whoever
//! links these bindings exports `feedback`.
//!
//! Implement [`Feedback`] beside `wasmesh_policy::Policy`, and write `wasmesh_policy_feedback::export!(MyPolicy);`
//! beside `wasmesh_policy::export!(MyPolicy);`.

#[doc(hidden)]
pub mod bindings;
pub mod penalty;

pub use bindings::exports::wasmesh::policy::feedback::{Guest, Outcome, Report};

/// A policy that learns from reports.
pub trait Feedback {
    /// Takes the report of one attempt. Not on a request's path.
    fn completed(&mut self, report: Report);
}

/// Makes a [`Feedback`] what this component exports as `feedback`. Once per crate.
#[macro_export]
macro_rules! export {
    ($policy:ident) => {
        const _: () = {
            impl $crate::Guest for $policy {
                fn completed(report: $crate::Report) {
                    <Self as $crate::Instance>::with(|policy| $crate::Feedback::completed(policy, report));
                }
            }

    $crate::bindings::export_bindings!($policy with_types_in $crate::bindings);
        };
    };
}

#[doc(hidden)]
pub use wasmesh_policy::Instance;
