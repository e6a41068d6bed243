//! What the container of this process may use, and uses: cgroups of both versions.
//!
//! Every group from the process's own up to the root of what can be seen may set a limit, and the tightest counts. In a container the
//! root is the container's own group, whatever the path says that the host knows it by: then only the root is found.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where version 2 is mounted, and by its controllers version 1.
const ROOT: &str = "/sys/fs/cgroup";

/// How much CPU time the container gets in each period, from all CPUs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuLimit {
    pub(super) quota: Duration,
    pub(super) period: Duration,
}

/// The groups that this process is in and that say something.
#[derive(Debug)]
pub(super) struct Container {
    memory: Vec<Memory>,
    /// Those that have a limit, and what it is.
    cpu: Vec<(PathBuf, CpuLimit)>,
    /// Where the CPU time that was used is written, and in what unit.
    cpu_used: Option<Used>,
}

/// The files of a group with a limit of memory.
#[derive(Debug)]
struct Memory {
    group: PathBuf,
    files: &'static MemoryFiles,
}

#[derive(Debug)]
struct MemoryFiles {
    limit: &'static str,
    current: &'static str,
    /// In `memory.stat`: pages of files, which the kernel takes away before it ends anybody.
    files: [&'static str; 2],
}

#[derive(Debug)]
enum Used {
    V2(PathBuf),
    V1(PathBuf),
}

const MEMORY_V2: MemoryFiles =
    MemoryFiles { limit: "memory.max", current: "memory.current", files: ["inactive_file", "active_file"] };
const MEMORY_V1: MemoryFiles = MemoryFiles {
    limit: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    files: ["total_inactive_file", "total_active_file"],
};

impl Container {
    /// The one of this process. Outside of any it has no limits.
    pub(super) fn of_this_process() -> Self {
        let (v2, v1) = (groups(None), |controller| groups(Some(controller)));
        let memory = v2.iter().map(|group| (group.clone(), &MEMORY_V2));
        let memory = memory.chain(v1("memory").into_iter().map(|group| (group, &MEMORY_V1)));
        let memory = memory.map(|(group, files)| Memory { group, files }).filter(|memory| memory.left(true).is_some());
        let cpu = v2.iter().filter_map(|group| {
            let text = read(group, "cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some((group.clone(), limit(quota, period)?))
        });
        let cpu = cpu.chain(v1("cpu").into_iter().filter_map(|group| {
            let limit = limit(&read(&group, "cpu.cfs_quota_us")?, &read(&group, "cpu.cfs_period_us")?)?;
            Some((group, limit))
        }));
        let used = v2.iter().map(|group| Used::V2(group.join("cpu.stat")));
        let mut used = used.chain(v1("cpuacct").into_iter().map(|group| Used::V1(group.join("cpuacct.usage"))));
        Self { memory: memory.collect(), cpu: cpu.collect(), cpu_used: used.find(|used| used.so_far().is_some()) }
    }

    /// What is left of the memory; `None` if it has no limit, or none that can be read.
    ///
    /// A container that runs out of memory is killed as a whole, so it is better to ask first.
    pub(super) fn memory_left(&self) -> Option<u64> {
        self.memory.iter().filter_map(|memory| memory.left(true)).min()
    }

    /// Whether less is left of the memory than this.
    pub(super) fn has_less_memory_than(&self, bytes: u64) -> bool {
        // What could be reclaimed takes the kernel a while to say.
        let is_less = |memory: &Memory, exactly| memory.left(exactly).is_some_and(|left| left < bytes);
        self.memory.iter().any(|memory| is_less(memory, false) && is_less(memory, true))
    }

    pub(super) fn has_memory_limit(&self) -> bool {
        !self.memory.is_empty()
    }

    /// The tightest limit of CPU time; `None` without one.
    pub(super) fn cpu_limit(&self) -> Option<CpuLimit> {
        let share = |limit: &CpuLimit| limit.quota.as_secs_f64() / limit.period.as_secs_f64();
        self.cpu.iter().map(|(_, limit)| *limit).min_by(|a, b| share(a).total_cmp(&share(b)))
    }

    /// The CPU time that was used so far.
    pub(super) fn cpu_used(&self) -> Option<Duration> {
        self.cpu_used.as_ref()?.so_far()
    }

    /// In how many periods there was not enough CPU time so far.
    pub(super) fn throttled(&self) -> u64 {
        self.cpu.iter().filter_map(|(group, _)| field(&read(group, "cpu.stat")?, "nr_throttled")).sum()
    }
}

impl Memory {
    /// What is left; not `exactly`, if what could be reclaimed does not count.
    fn left(&self, exactly: bool) -> Option<u64> {
        let stat = if exactly { read(&self.group, "memory.stat").unwrap_or_default() } else { String::new() };
        let (max, current) = (read(&self.group, self.files.limit)?, read(&self.group, self.files.current)?);
        let reclaimable = self.files.files.iter().filter_map(|name| field(&stat, name)).sum();
        remaining(&max, &current, reclaimable)
    }
}

impl Used {
    fn so_far(&self) -> Option<Duration> {
        match self {
            Self::V2(file) => Some(Duration::from_micros(field(&fs::read_to_string(file).ok()?, "usage_usec")?)),
            Self::V1(file) => Some(Duration::from_nanos(fs::read_to_string(file).ok()?.trim().parse().ok()?)),
        }
    }
}

/// The groups of this process that can be seen, its own first: of version 2, or of a controller of version 1.
fn groups(controller: Option<&str>) -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = own.lines().find_map(|line| path_of(line, controller)) else { return Vec::new() };
    let root = Path::new(ROOT).join(controller.unwrap_or_default());
    Path::new(path).ancestors().map(|group| root.join(group)).filter(|group| group.is_dir()).collect()
}

/// The path in a line `hierarchy:controllers:/path`, relative to where it is mounted; version 2 has no controllers there.
fn path_of<'a>(line: &'a str, controller: Option<&str>) -> Option<&'a str> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let is_it = match controller {
        None => controllers.is_empty(),
        Some(controller) => controllers.split(',').any(|found| found == controller),
    };
    is_it.then(|| path.trim_start_matches('/'))
}

fn read(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

/// A number in a file with lines `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The difference between limit and use; what can be reclaimed gives way.
fn remaining(max: &str, current: &str, reclaimable: u64) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    // Version 1 writes the largest number of pages for no limit.
    let is_limit = max < 1 << 62;
    is_limit.then(|| max.saturating_sub(current.saturating_sub(reclaimable)))
}

/// A quota and a period, in microseconds; the quota is `max` in version 2 and -1 in version 1 if there is no limit.
fn limit(quota: &str, period: &str) -> Option<CpuLimit> {
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (period > 0).then_some(CpuLimit { quota: Duration::from_micros(quota), period: Duration::from_micros(period) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_the_limit_less_what_cannot_be_reclaimed() {
        let stat = "anon 5\ninactive_file 100\ninactive_file_more 7\n";
        assert_eq!(field(stat, "inactive_file"), Some(100));
        assert_eq!(field(stat, "inactive"), None);
        assert_eq!(remaining("1000\n", "400\n", 100), Some(700));
        assert_eq!(remaining("1000\n", "1200\n", 100), Some(0));
        assert_eq!(remaining("max\n", "400\n", 0), None);
        assert_eq!(remaining("9223372036854771712\n", "400\n", 0), None);
        assert_eq!(remaining("", "", 0), None);
    }

    #[test]
    fn a_limit_of_cpu_is_a_share_of_a_period() {
        let (quota, period) = (Duration::from_millis(10), Duration::from_millis(100));
        assert_eq!(limit("10000", "100000\n"), Some(CpuLimit { quota, period }));
        for (quota, period) in [("max", "100000"), ("-1\n", "100000\n"), ("100000", "0"), ("nonsense", "")] {
            assert_eq!(limit(quota, period), None, "{quota} {period}");
        }
    }

    #[test]
    fn a_group_is_found_by_its_controller() {
        assert_eq!(path_of("0::/kubepods/pod1", None), Some("kubepods/pod1"));
        assert_eq!(path_of("0::/", None), Some(""));
        assert_eq!(path_of("4:cpu,cpuacct:/a", Some("cpuacct")), Some("a"));
        assert_eq!(path_of("4:cpu,cpuacct:/a", Some("memory")), None);
        assert_eq!(path_of("4:cpu:/a", None), None);
        assert_eq!(path_of("nonsense", None), None);
    }
}
