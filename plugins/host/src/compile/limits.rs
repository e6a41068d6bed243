//! What a compiling process may use up.

use std::{fs, io};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setpriority_process, setrlimit};

/// What compiling one module may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space of the compiling process, in bytes, beside what it has from its start: an allocator may have reserved
    /// a gigabyte then, of which nothing was touched.
    pub address_space: u64,
    /// CPU time, in seconds.
    pub cpu_seconds: u64,
}

impl Default for CompileLimits {
    /// 1 GiB, most of which is never touched, and 20 s.
    fn default() -> Self {
        // The compiler in a debug build is several times slower than the one that is shipped.
        Self { address_space: 1 << 30, cpu_seconds: if cfg!(debug_assertions) { 120 } else { 20 } }
    }
}

impl CompileLimits {
    /// Puts these limits on the calling process, makes it yield to others, and offers it to the kernel as the first to go
    /// when memory is short.
    pub(super) fn impose(&self) -> io::Result<()> {
        let limit =
            |bound: u64, spare: u64| Rlimit { current: Some(bound), maximum: Some(bound.saturating_add(spare)) };
        setrlimit(Resource::As, limit(mapped_bytes()?.saturating_add(self.address_space), 0))?;
        // At the first bound the process is told, a second later it is killed.
        setrlimit(Resource::Cpu, limit(self.cpu_seconds, 1))?;
        setrlimit(Resource::Core, limit(0, 0))?;
        // The rest is courtesy: without it compiling works too. A child may be at rest when its parent ends, and nobody would wake it.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let _ = setpriority_process(None, 10);
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        Ok(())
    }
}

/// Memory that compiling takes at least, for itself and for each byte of the module. Measured: 4 MiB for 10 KiB of a policy in C, 46 MiB for
/// 1.8 MiB with Go's run time, which is 22 for each byte; 46 MiB for 1.1 MiB with an interpreter of JavaScript, which is 38. What is
/// more than this is found while it is compiled.
const BASE_BYTES: u64 = 6 << 20;
const PER_MODULE_BYTE: u64 = 20;

/// How much room compiling a module needs at least.
pub(super) fn needed(module_bytes: usize) -> u64 {
    BASE_BYTES + PER_MODULE_BYTE * module_bytes as u64
}

/// The address space of this process, now.
fn mapped_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = statm.split(' ').next().and_then(|pages| pages.parse().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm does not begin with a number"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}
