//! What a guest can do wrong while it runs.

use wasmtime::Trap;

use crate::text;

/// A fault: the call has no answer, and the instance is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It gave up, or did what WebAssembly does not allow.
    #[error("it trapped: {what}")]
    Trap {
        /// What wasmtime calls it.
        what: String,
    },
    /// It ran for too many instructions.
    #[error("it used up its fuel of {fuel}")]
    Fuel {
        /// What the call had.
        fuel: u64,
    },
    /// It used too much CPU time.
    #[error("it used more than {cpu_ms} ms of CPU time")]
    Time {
        /// What the call had.
        cpu_ms: u64,
    },
    /// It trapped after it had been denied memory.
    #[error("it trapped when it was denied more than {limit_bytes} bytes of memory")]
    Memory {
        /// What it may have.
        limit_bytes: usize,
    },
    /// It recursed too deeply.
    #[error("it used up its stack")]
    Stack,
    /// It chose an endpoint that does not exist.
    #[error("it chose endpoint {index} of {len}")]
    BadIndex {
        /// What it chose.
        index: u32,
        /// How many there are.
        len: usize,
    },
    /// It answered something that has no meaning.
    #[error("its answer has no meaning: {what}")]
    BadDecision {
        /// What of the answer.
        what: String,
    },
    /// It was called after a fault or a refusal. Not the guest's doing.
    #[error("the instance was discarded before")]
    Discarded,
}

/// An answer that cannot be read. Raised by the direct path's own reading of memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadAnswer(pub(crate) String);

impl Fault {
    /// A short name for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::Fuel { .. } => "fuel",
            Self::Time { .. } => "time",
            Self::Memory { .. } => "memory",
            Self::Stack => "stack",
            Self::BadIndex { .. } => "index",
            Self::BadDecision { .. } => "decision",
            Self::Discarded => "discarded",
        }
    }

    /// What the end of a call means. `denied_memory` tells whether the call was denied memory, since a guest that was
    /// has no better way to say so than to trap.
    pub(crate) fn of(error: &wasmtime::Error, limits: &Exceeded) -> Self {
        let what = || text::line(&format!("{error:#}"), 256);
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => Self::Fuel { fuel: limits.fuel },
            Some(Trap::Interrupt) => Self::Time { cpu_ms: limits.cpu_ms },
            Some(Trap::StackOverflow) => Self::Stack,
            _ if limits.denied_memory => Self::Memory { limit_bytes: limits.memory_bytes },
            Some(
                Trap::StringOutOfBounds
                | Trap::ListOutOfBounds
                | Trap::InvalidDiscriminant
                | Trap::UnalignedPointer
                | Trap::InvalidChar,
            )
            | None => Self::BadDecision { what: what() },
            Some(trap) => Self::Trap { what: text::line(trap.to_string().trim_start_matches("wasm trap: "), 256) },
        }
    }
}

/// The limits of a call and what of them is known to be exceeded.
pub(crate) struct Exceeded {
    pub(crate) fuel: u64,
    pub(crate) cpu_ms: u64,
    pub(crate) memory_bytes: usize,
    pub(crate) denied_memory: bool,
}
