//! What a load-balancing policy in Rust needs: the bindings of the contract, a trait to implement, and small helpers.
//!
//! ```
//! use wasmesh_policy::{Decision, Label, Plan, Policy, Request, Update};
//!
//! struct Anyone(u32);
//!
//! impl Policy for Anyone {
//!     fn init(_config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
//!         Ok((Self(0), Plan::default()))
//!     }
//!     fn update(&mut self, update: Update) -> Result<(), String> {
//!         self.0 = update.endpoints.len() as u32;
//!         Ok(())
//!     }
//!     fn pick(&mut self, request: &Request) -> Decision {
//!         Decision::endpoint(wasmesh_policy::random::below(request.random, self.0.into()) as u32)
//!     }
//! }
//!
//! wasmesh_policy::export!(Anyone);
//! ```
//!
//! [`levels`] has what most policies share: priorities, weights, and somebody else when the chosen one is ejected.

#[doc(hidden)]
pub mod bindings;
pub mod bounded;
pub mod config;
pub mod draw;
pub mod hash;
pub mod levels;
pub mod members;
#[cfg(all(target_arch = "wasm32", feature = "memory"))]
mod memory;
pub mod random;
pub mod ring;
pub mod two_choices;

pub use bindings::{
    exports::wasmesh::policy::policy::Guest,
    wasmesh::policy::{
        log, request_info, stats,
        types::{Choice, Decision, Endpoint, Health, Label, Plan, Request, Traits},
    },
};

#[cfg(all(target_arch = "wasm32", feature = "memory"))]
#[global_allocator]
static MEMORY: memory::Memory = memory::Memory::new();

/// What `stats` answers where there is no number.
pub const NOTHING: u32 = u32::MAX;

/// A policy as its author sees it: one value per instance. [`export!`] makes a component of it.
pub trait Policy: Sized {
    /// Reads the configuration and says what the host is to prepare. Once per instance.
    ///
    /// # Errors
    /// In words for whoever wrote the configuration.
    fn init(config: &str, about: &[Label]) -> Result<(Self, Plan), String>;

    /// Takes a new list of endpoints, the first right after `init`.
    ///
    /// # Errors
    /// Why this list cannot be served; the built-in policy serves instead.
    fn update(&mut self, update: Update) -> Result<(), String>;

    /// Says who takes a request. On its path: allocate nothing here if you can.
    fn pick(&mut self, request: &Request) -> Decision;
}

/// A list of endpoints.
#[derive(Debug)]
pub struct Update {
    /// Rises with each update of an instance.
    pub generation: u64,
    /// Now, on the clock of `Request::now_ms`.
    pub now_ms: u64,
    /// The candidates; a place in here names one in `pick` and `stats`.
    pub endpoints: Vec<Endpoint>,
}

/// The one value of a policy that an instance has; [`export!`] implements this.
pub trait Instance: Sized {
    /// Calls `task` with it; `None` before `init`.
    fn with<R>(task: impl FnOnce(&mut Self) -> R) -> Option<R>;
}

impl Decision {
    /// The endpoint at this place in the list, for the first reason.
    pub fn endpoint(index: u32) -> Self {
        Self::of(Choice::Endpoint(index))
    }

    /// Leaves it to the built-in policy, for the first reason.
    pub fn fallback() -> Self {
        Self::of(Choice::Fallback)
    }

    /// This choice, for the first reason, with no alternate and no tag.
    pub fn of(choice: Choice) -> Self {
        Self { choice, alternate: None, reason: 0, tag: 0 }
    }

    /// The same for this reason, an index into `Plan::reasons`.
    pub fn because(self, reason: u32) -> Self {
        Self { reason, ..self }
    }
}

impl Default for Plan {
    /// Nothing to prepare.
    fn default() -> Self {
        Self { keys: Vec::new(), wants: Vec::new(), reasons: Vec::new() }
    }
}

impl Plan {
    /// Nothing to prepare but names for reasons.
    pub fn with_reasons(reasons: &[&str]) -> Self {
        Self { reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(), ..Self::default() }
    }
}

/// Makes a [`Policy`] the policy that this component exports. Once per crate.
#[macro_export]
macro_rules! export {
    ($policy:ident) => {
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::core::cell::RefCell<Option<$policy>> = const { ::core::cell::RefCell::new(None) };
            }

            impl $crate::Instance for $policy {
                fn with<R>(task: impl FnOnce(&mut Self) -> R) -> Option<R> {
                    INSTANCE.with_borrow_mut(|instance| instance.as_mut().map(task))
                }
            }

            impl $crate::Guest for $policy {
                fn init(config: String, about: Vec<$crate::Label>) -> Result<$crate::Plan, String> {
                    let (policy, plan) = <$policy as $crate::Policy>::init(&config, &about)?;
                    INSTANCE.set(Some(policy));
                    Ok(plan)
                }

                fn update(generation: u64, now_ms: u64, endpoints: Vec<$crate::Endpoint>) -> Result<(), String> {
                    let update = $crate::Update { generation, now_ms, endpoints };
                    let updated = <Self as $crate::Instance>::with(|policy| $crate::Policy::update(policy, update));
                    updated.unwrap_or_else(|| Err("update before init".to_owned()))
                }

                fn pick(request: $crate::Request) -> $crate::Decision {
                    let picked = <Self as $crate::Instance>::with(|policy| $crate::Policy::pick(policy, &request));
                    picked.unwrap_or_else($crate::Decision::fallback)
                }
            }

    $crate::bindings::export_bindings!($policy with_types_in $crate::bindings);
        };
    };
}
