//! What a compiling process may use up, and whether there is room for it.

use std::{fs, io, path::Path};

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};

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
        // The rest is courtesy: without it compiling works too.
        let _ = setpriority_process(None, 10);
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        Ok(())
    }
}

/// Memory that compiling takes, for itself and for each byte of the module. Measured: 21 MiB for 64 KiB of a compiled
/// policy, 59 MiB for 3.6 MB of arithmetic. Few huge functions take more, which is why the limit is on the process too.
const BASE_BYTES: u64 = 32 << 20;
const PER_MODULE_BYTE: u64 = 64;

/// How much room compiling a module needs at least.
pub(super) fn needed(module_bytes: usize) -> u64 {
    BASE_BYTES + PER_MODULE_BYTE * module_bytes as u64
}

/// What is left of the memory of this process's container; `None` if it has no limit, or none that can be read.
///
/// A container that runs out of memory is killed as a whole, so it is better to ask first.
pub(super) fn headroom() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    // Version 2 has one line, "0::" and the path.
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(path);
    let groups = group.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(headroom_of).min()
}

fn headroom_of(group: &Path) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(group.join(file)).ok();
    remaining(&read("memory.max")?, &read("memory.current")?, &read("memory.stat").unwrap_or_default())
}

/// The difference between limit and use; file pages that were not used lately give way.
fn remaining(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let reclaimable = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
    Some(max.saturating_sub(current.saturating_sub(reclaimable.unwrap_or(0))))
}

/// The address space of this process, now.
fn mapped_bytes() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: Option<u64> = statm.split(' ').next().and_then(|pages| pages.parse().ok());
    let pages = pages.ok_or_else(|| io::Error::other("/proc/self/statm does not begin with a number"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_the_limit_less_what_cannot_be_reclaimed() {
        assert_eq!(remaining("1000\n", "400\n", "anon 5\ninactive_file 100\n"), Some(700));
        assert_eq!(remaining("1000\n", "400\n", ""), Some(600));
        assert_eq!(remaining("1000\n", "1200\n", "inactive_file 100\n"), Some(0));
        assert_eq!(remaining("max\n", "400\n", ""), None);
        assert_eq!(remaining("", "", ""), None);
    }
}
