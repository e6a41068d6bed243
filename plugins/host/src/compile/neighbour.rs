//! On which CPU the traffic is served that a compiler works beside.
//!
//! The kernel hands a container's CPU time out to CPUs, 5 ms at a time. Of a limit of 10 ms in each period, a compiler on a CPU of its own
//! takes half for the little that it does, and the traffic waits until what is left of it has been collected again. On the same
//! CPU both draw on the same slice, and the traffic goes first, because the compiler is nice.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::{
    process::Pid,
    thread::{CpuSet, sched_setaffinity},
};

/// The thread of this process that has used the most CPU time.
#[derive(Debug)]
pub(super) struct Neighbour {
    stat: PathBuf,
}

impl Neighbour {
    /// `None` where the kernel does not tell.
    pub(super) fn busiest_of_this_process() -> Option<Self> {
        let threads = fs::read_dir("/proc/self/task").ok()?.flatten().map(|thread| thread.path());
        let used = threads.filter_map(|thread| Some((used_ns(&thread)?, thread)));
        let (_, busiest) = used.max_by_key(|(used, _)| *used)?;
        Some(Self { stat: busiest.join("stat") })
    }

    /// Has a process run where this thread ran last.
    pub(super) fn attract(&self, process: Pid) {
        if let Some(cpu) = fs::read_to_string(&self.stat).ok().and_then(|stat| last_cpu(&stat)) {
            let mut cpus = CpuSet::new();
            cpus.set(cpu);
            // Where it may not run there, it runs where it may.
            let _ = sched_setaffinity(Some(process), &cpus);
        }
    }
}

fn used_ns(thread: &Path) -> Option<u64> {
    fs::read_to_string(thread.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// Field 39 of `/proc/PID/stat` (proc_pid_stat(5)). The second is a name in parentheses, which may have any bytes in it.
fn last_cpu(stat: &str) -> Option<usize> {
    let cpu = stat.rsplit_once(") ")?.1.split(' ').nth(36)?.parse().ok()?;
    (cpu < CpuSet::MAX_CPU).then_some(cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_found_behind_any_name() {
        let rest: Vec<String> =
            (3..=52).map(|field| if field == 39 { "5".to_owned() } else { format!("{}", 100 + field) }).collect();
        assert_eq!(last_cpu(&format!("77 (a b) c) {}", rest.join(" "))), Some(5));
        assert_eq!(last_cpu("77 (a) R 1"), None);
        assert_eq!(last_cpu("nonsense"), None);
    }

    #[test]
    fn this_process_runs_somewhere() {
        let neighbour = Neighbour::busiest_of_this_process().unwrap();
        let stat = fs::read_to_string(&neighbour.stat).unwrap();
        assert!(last_cpu(&stat).is_some(), "{stat}");
    }
}
