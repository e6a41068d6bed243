//! A module that was compiled and found to fit the contract.

use std::{fmt, sync::Arc, time::Duration};

use wasmesh_core::policy::ModuleDigest;

use crate::{
    component::ComponentModule, direct::DirectModule, guard::Guard, host::Runtime, pool::MemoryPool, state::State,
};

/// A compiled module. Shared by all policies that run it.
pub struct Module {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) code: Code,
    pub(crate) digest: ModuleDigest,
    pub(crate) why_component: Option<String>,
    pub(crate) has_feedback: bool,
    pub(crate) size_bytes: usize,
    pub(crate) compile_time: Duration,
}

/// How it is called.
pub(crate) enum Code {
    Component(ComponentModule),
    Direct(DirectModule),
}

/// How a module is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallPath {
    /// Its core module is called by the canonical ABI, without the component around it.
    Direct,
    /// As the component that it is.
    Component,
}

impl fmt::Display for CallPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Component => "component",
        })
    }
}

impl Module {
    /// What its bytes hash to.
    pub fn digest(&self) -> ModuleDigest {
        self.digest
    }

    /// How it is called.
    pub fn path(&self) -> CallPath {
        match self.code {
            Code::Component(_) => CallPath::Component,
            Code::Direct(_) => CallPath::Direct,
        }
    }

    /// Why it is not called directly; `None` if it is.
    pub fn why_component(&self) -> Option<&str> {
        self.why_component.as_deref()
    }

    /// Whether it wants to know how requests end.
    pub fn has_feedback(&self) -> bool {
        self.has_feedback
    }

    /// How many bytes of WebAssembly it is.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// How long it took to have it ready: to compile it, or to find it compiled before.
    pub fn compile_time(&self) -> Duration {
        self.compile_time
    }

    pub(crate) fn code(&self) -> &Code {
        &self.code
    }

    /// What all instances of the host share.
    pub(crate) fn pool(&self) -> Arc<MemoryPool> {
        Arc::clone(&self.runtime.pool)
    }

    pub(crate) fn new_guard(&self, state: State) -> Guard {
        Guard::new(&self.runtime.engine, &self.runtime.watchdog, state)
    }
}
