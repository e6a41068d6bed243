//! Who runs on which CPU.
//!
//! Left alone, the scheduler decides anew in each run whether client, proxy and backend share a CPU, and at one connection
//! that choice weighs more than the proxy: to wake another CPU from idle costs tens of microseconds in a virtual machine.
//! So with one exchange under way, where only one of them has work at a time, they share one CPU; with more the proxy has
//! a CPU for itself, and clients and backends have the others.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The CPUs that we may use.
#[derive(Debug)]
pub(super) struct Cpus(Vec<u32>);

/// Lists of CPUs.
#[derive(Debug, PartialEq, Eq)]
struct Placement {
    proxy: String,
    others: String,
}

impl Cpus {
    pub(super) fn allowed() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        parse(list.context("the kernel does not say which CPUs we may use")?.trim()).map(Self)
    }

    /// Puts processes where they belong with so many exchanges under way, with all their threads. Whatever we start later goes where `others` are.
    pub(super) fn place(&self, under_way: usize, proxy: &[u32], others: &[u32]) -> Result<()> {
        let Some(placement) = self.placement(under_way) else { return Ok(()) };
        proxy.iter().try_for_each(|process| pin(*process, &placement.proxy))?;
        let us = std::process::id();
        others.iter().chain([&us]).try_for_each(|process| pin(*process, &placement.others))
    }

    /// Nothing to choose with a single CPU.
    fn placement(&self, under_way: usize) -> Option<Placement> {
        let (last, rest) = self.0.split_last().filter(|(_, rest)| !rest.is_empty())?;
        let proxy = last.to_string();
        let rest = rest.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        Some(Placement { others: if under_way == 1 { proxy.clone() } else { rest }, proxy })
    }
}

/// `0-2,7`
fn parse(list: &str) -> Result<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>()?..=last.parse()?);
    }
    Ok(cpus)
}

fn pin(process: u32, cpus: &str) -> Result<()> {
    let mut taskset = Command::new("taskset");
    taskset.args(["--all-tasks", "--cpu-list", "--pid", cpus, &process.to_string()]).stdout(Stdio::null());
    ensure!(taskset.status().context("cannot run taskset")?.success(), "cannot put process {process} on CPUs {cpus}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Cpus, Placement, parse};

    #[track_caller]
    fn check(cpus: &str, under_way: usize, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(proxy, others)| Placement { proxy: proxy.to_owned(), others: others.to_owned() });
        assert_eq!(Cpus(parse(cpus).unwrap()).placement(under_way), expected, "{cpus}, {under_way}");
    }

    #[test]
    fn a_busy_proxy_has_a_cpu_for_itself() {
        check("0-1", 32, Some(("1", "0")));
        check("0-2,7", 2, Some(("7", "0,1,2")));
        check("0-3", 1, Some(("3", "3")));
        check("5", 32, None);
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("0-2,7,9-10").unwrap(), [0, 1, 2, 7, 9, 10]);
        assert!(parse("").is_err());
    }
}
