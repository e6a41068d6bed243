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

/// What is left of the memory; `None` if it has no limit, or none that can be read.
///
/// A container that runs out of memory is killed as a whole, so it is better to ask first.
pub(super) fn memory_headroom() -> Option<u64> {
    let v2 = |group: &Path| {
        let stat = read(group, "memory.stat").unwrap_or_default();
        remaining(&read(group, "memory.max")?, &read(group, "memory.current")?, field(&stat, "inactive_file"))
    };
    let v1 = |group: &Path| {
        let stat = read(group, "memory.stat").unwrap_or_default();
        let (max, current) = (read(group, "memory.limit_in_bytes")?, read(group, "memory.usage_in_bytes")?);
        remaining(&max, &current, field(&stat, "total_inactive_file"))
    };
    groups(None)
        .iter()
        .filter_map(|group| v2(group))
        .chain(groups(Some("memory")).iter().filter_map(|group| v1(group)))
        .min()
}

/// The limit of CPU time; `None` without one.
pub(super) fn cpu_limit() -> Option<CpuLimit> {
    let v2 = |group: &Path| {
        let text = read(group, "cpu.max")?;
        let (quota, period) = text.trim().split_once(' ')?;
        limit(quota, period)
    };
    let v1 = |group: &Path| limit(&read(group, "cpu.cfs_quota_us")?, &read(group, "cpu.cfs_period_us")?);
    let all = groups(None).into_iter().filter_map(|group| v2(&group));
    let all = all.chain(groups(Some("cpu")).into_iter().filter_map(|group| v1(&group)));
    all.min_by(|a, b| (a.quota.as_nanos() * b.period.as_nanos()).cmp(&(b.quota.as_nanos() * a.period.as_nanos())))
}

/// The CPU time that the container has used so far.
pub(super) fn cpu_used() -> Option<Duration> {
    let v2 = |group: &PathBuf| Some(Duration::from_micros(field(&read(group, "cpu.stat")?, "usage_usec")?));
    let v1 = |group: &PathBuf| Some(Duration::from_nanos(read(group, "cpuacct.usage")?.trim().parse().ok()?));
    groups(None).iter().find_map(v2).or_else(|| groups(Some("cpuacct")).iter().find_map(v1))
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

/// The difference between limit and use; file pages that were not used lately give way.
fn remaining(max: &str, current: &str, reclaimable: Option<u64>) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    // Version 1 writes the largest number of pages for no limit.
    let is_limit = max < 1 << 62;
    is_limit.then(|| max.saturating_sub(current.saturating_sub(reclaimable.unwrap_or(0))))
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
        assert_eq!(remaining("1000\n", "400\n", field(stat, "inactive_file")), Some(700));
        assert_eq!(remaining("1000\n", "400\n", field(stat, "inactive")), Some(600));
        assert_eq!(remaining("1000\n", "1200\n", Some(100)), Some(0));
        assert_eq!(remaining("max\n", "400\n", None), None);
        assert_eq!(remaining("9223372036854771712\n", "400\n", None), None);
        assert_eq!(remaining("", "", None), None);
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
