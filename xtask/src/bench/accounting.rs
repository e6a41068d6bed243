//! What the kernel says a process and its children have used.

use std::fs;
use std::path::Path;

/// Of a process and all its descendants together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Nanoseconds on a CPU, in user mode and in the kernel.
    pub(super) cpu: u64,
    /// Resident memory, in KiB. Pages shared between parent and child count twice.
    pub(super) rss: u64,
}

/// Linux counts in hundredths of a second where it shows clock ticks.
const TICK: u64 = 10_000_000;

/// Reads what a tree of processes has used so far. Exact while it sleeps: for a running thread the kernel brings the
/// figure up to date at its next tick.
pub(super) fn usage(root: u32) -> Usage {
    let tree = tree(root);
    Usage { cpu: tree.iter().map(|pid| cpu(*pid)).sum(), rss: tree.iter().map(|pid| rss(*pid)).sum() }
}

/// A process, and then its descendants.
pub(super) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<_> = processes().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        let children = parents.iter().filter(|(_, parent)| *parent == tree[next]).map(|(pid, _)| *pid);
        tree.extend(children.collect::<Vec<_>>());
        next += 1;
    }
    tree
}

fn processes() -> Vec<u32> {
    numbers(Path::new("/proc"))
}

fn numbers(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// The scheduler's own account of all threads, in nanoseconds; clock ticks where the kernel keeps none.
fn cpu(pid: u32) -> u64 {
    let threads = numbers(&Path::new("/proc").join(pid.to_string()).join("task"));
    let exact = threads.iter().map(|thread| first_number(&format!("/proc/{pid}/task/{thread}/schedstat"))).sum();
    if exact > 0 { exact } else { ticks(pid) * TICK }
}

fn ticks(pid: u32) -> u64 {
    let stat = stat(pid).unwrap_or_default();
    [11, 12].into_iter().filter_map(|field| stat.get(field)?.parse::<u64>().ok()).sum()
}

fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn first_number(path: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The fields after the name, which may have spaces and parentheses itself.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{TICK, cpu, ticks, tree, usage};

    #[test]
    fn the_account_of_this_process_grows_and_its_sources_agree() {
        let me = std::process::id();
        let before = usage(me);
        let mut sum = 0_u64;
        while ticks(me) * TICK < before.cpu + 10 * TICK {
            sum = (0..100_000_u64).fold(sum, |sum, n| std::hint::black_box(sum.wrapping_mul(31) ^ n));
        }
        let (exact, coarse) = (cpu(me), ticks(me) * TICK);
        assert!(usage(me).cpu > before.cpu && before.rss > 0, "{before:?}");
        assert!(exact > coarse / 3 && exact < coarse * 3 + 20 * TICK, "{exact} and {coarse}");
    }

    #[test]
    fn children_belong_to_the_tree() {
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let tree = tree(std::process::id());
        assert_eq!(tree.first(), Some(&std::process::id()));
        assert!(tree.contains(&child.id()), "{tree:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
