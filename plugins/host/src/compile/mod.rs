//! Compiling.

/// What compiling one module may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space of the compiling process, in bytes.
    pub address_space: u64,
    /// CPU time, in seconds.
    pub cpu_seconds: u64,
}

impl Default for CompileLimits {
    /// 1 GiB and 20 s.
    fn default() -> Self {
        Self { address_space: 1 << 30, cpu_seconds: 20 }
    }
}
