//! How many workers the container's CPU limit is worth.

use std::fs;

/// Without a limit a sidecar is modest: the machine belongs to the applications.
const WITHOUT_LIMIT: usize = 2;

/// The number of workers where nobody has said one.
pub fn default_workers() -> usize {
    let read = |path: &str| fs::read_to_string(path).ok();
    let v2 = read("/sys/fs/cgroup/cpu.max").and_then(|text| cpus_of_v2(&text));
    let v1 = || {
        let quota = read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
        let period = read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
        cpus(&quota, &period)
    };
    v2.or_else(v1).unwrap_or(WITHOUT_LIMIT)
}

/// Reads `cpu.max`: a quota and a period in microseconds, or `max` for no limit.
fn cpus_of_v2(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    cpus(quota, period)
}

/// Rounded up, at least one. `None` without a limit, which cgroup v1 writes as -1.
fn cpus(quota: &str, period: &str) -> Option<usize> {
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (period > 0).then(|| usize::try_from(quota.div_ceil(period)).unwrap_or(usize::MAX).clamp(1, 256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rounded_up() {
        assert_eq!(cpus_of_v2("10000 100000\n"), Some(1));
        assert_eq!(cpus_of_v2("250000 100000\n"), Some(3));
        assert_eq!(cpus_of_v2("max 100000\n"), None);
        assert_eq!(cpus("-1\n", "100000\n"), None);
        assert_eq!(cpus("100000", "0"), None);
        assert_eq!(cpus_of_v2("nonsense"), None);
    }
}
