//! Why something may not serve. Each error says whose doing it is and what to do about it.

use std::io;

use wasmesh_core::policy::ModuleDigest;

use crate::{contract, fault::Fault, plan::PlanError};

/// The host cannot run at all.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime does not start on this machine.
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
    /// A thread could not be made.
    #[error("cannot start the thread that keeps policies within their time: {0}")]
    Thread(#[source] io::Error),
}

/// Why a module may not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// Its bytes are too many.
    #[error("the module has {bytes} bytes: at most {max} are allowed. Strip debug information, or raise the limit")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        max: usize,
    },
    /// It is something else.
    #[error("not WebAssembly: it begins with {begin:?}")]
    NotWasm {
        /// Its first bytes, made printable.
        begin: String,
    },
    /// It has not been made a component.
    #[error("a core module, not a component: componentise it with `wasmesh policy build`")]
    CoreModule,
    /// Its bytes are broken, or it uses what is not supported.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It lacks what makes a policy.
    #[error("not a policy: it does not export wasmesh:policy/{interface}@{}", contract::VERSION)]
    MissingExport {
        /// The interface.
        interface: &'static str,
    },
    /// It needs what policies do not get.
    #[error(
        "it imports {name}, which policies do not get: they have no clock, files or network. Build it with \
         `wasmesh policy build`, which leaves out what is not needed"
    )]
    ForeignImport {
        /// The import.
        name: String,
    },
    /// It was built against another contract.
    #[error("it is built against wasmesh:policy {found}, this host runs {}", contract::VERSION)]
    ContractVersion {
        /// Its version.
        found: String,
    },
    /// Its functions have other types than the contract's.
    #[error("it does not fit wasmesh:policy {version}: {0}", version = contract::VERSION)]
    Contract(String),
    /// It is not what was asked for.
    #[error("its SHA-256 is {actual}, not {expected}: it was changed on the way")]
    Digest {
        /// What was asked for.
        expected: ModuleDigest,
        /// What came.
        actual: ModuleDigest,
    },
    /// There is not enough memory left to compile it safely.
    #[error(
        "not compiled: {available_mib} MiB are left of the container's memory, compiling may take {needed_mib}. Raise \
         the memory limit of the container"
    )]
    NoRoom {
        /// What is left in the container.
        available_mib: u64,
        /// What is wanted.
        needed_mib: u64,
    },
    /// It took too much to compile.
    #[error("compiling it went over its limits ({0}): make the module smaller or simpler")]
    CompileLimit(String),
    /// The compiler could not run. Not the module's doing.
    #[error("cannot compile: {0}")]
    Compiler(String),
}

/// Why a policy or an instance may not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// `init` refused the configuration; these are its words.
    #[error("it refuses its configuration: {0}")]
    Refused(String),
    /// Its plan is wrong.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// It is not of the same mind in every instance.
    #[error("init answered another plan than the first time: a plan may depend on the configuration only")]
    PlanChanged,
    /// `update` refused a list that it was tried with; these are its words.
    #[error("it refuses a list of {endpoints} endpoints: {words}")]
    UpdateRefused {
        /// How long the list was.
        endpoints: usize,
        /// Its words.
        words: String,
    },
    /// It failed.
    #[error("it failed in {call}: {fault}")]
    Fault {
        /// What was called.
        call: &'static str,
        /// How it failed.
        fault: Fault,
    },
    /// It cannot be instantiated for a reason of its host's.
    #[error("cannot make an instance: {0}")]
    Instance(String),
}

/// Why an instance has not taken a list. It is discarded in either case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// It refused it; these are its words.
    #[error("it refuses the list of endpoints: {0}")]
    Refused(String),
    /// It failed.
    #[error("it failed in update: {0}")]
    Fault(#[from] Fault),
}
