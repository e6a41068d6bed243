//! A container's limits without a container: a control group, of whichever version this machine has.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";
const NAME: &str = "wasmesh-bench";
const PERIOD_US: u64 = 100_000;

/// What whoever runs in it gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of a CPU, in thousandths.
    pub(super) cpu_millis: u64,
    pub(super) memory_bytes: u64,
}

/// Groups of this name; they are removed when dropped, by when whoever was in them must have ended.
#[derive(Debug)]
pub(super) struct Container {
    /// One, or with version 1 one for each controller.
    groups: Vec<PathBuf>,
}

impl Container {
    pub(super) fn new(limits: Limits) -> Result<Self> {
        let quota = limits.cpu_millis * PERIOD_US / 1000;
        let (memory, root) = (limits.memory_bytes.to_string(), Path::new(ROOT));
        let container = if root.join("cgroup.controllers").exists() {
            let container = Self { groups: vec![root.join(NAME)] };
            write(&root.join("cgroup.subtree_control"), "+cpu +memory")?;
            container.make()?;
            container.set("cpu.max", &format!("{quota} {PERIOD_US}"))?;
            container.set("memory.max", &memory)?;
            container
        } else {
            let container = Self { groups: ["cpu", "cpuacct", "memory"].map(|name| root.join(name).join(NAME)).into() };
            container.make()?;
            container.set("cpu.cfs_period_us", &PERIOD_US.to_string())?;
            container.set("cpu.cfs_quota_us", &quota.to_string())?;
            container.set("memory.limit_in_bytes", &memory)?;
            container
        };
        Ok(container)
    }

    fn make(&self) -> Result<()> {
        self.groups.iter().try_for_each(|group| match fs::create_dir(group) {
            // Left by a run that was killed.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            made => made.with_context(|| format!("cannot make the control group {}", group.display())),
        })
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let group = self.groups.iter().find(|group| group.join(file).exists());
        write(&group.with_context(|| format!("this machine's control groups have no {file}"))?.join(file), value)
    }

    /// Does something in it: processes that are started stay, we do not.
    pub(super) fn within<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.groups.iter().try_for_each(|group| enter(group))?;
        let done = work();
        self.groups.iter().filter_map(|group| group.parent()).try_for_each(enter)?;
        done
    }

    /// The most memory that was used in it at a time, in KiB.
    pub(super) fn memory_peak_kib(&self) -> Option<u64> {
        let peak: u64 = self.read(&["memory.peak", "memory.max_usage_in_bytes"])?.trim().parse().ok()?;
        Some(peak / 1024)
    }

    /// How often somebody in it was killed for want of memory.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        let events = self.read(&["memory.events", "memory.oom_control"])?;
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
    }

    /// In how many periods the CPU time was used up before the end.
    pub(super) fn throttled(&self) -> Option<u64> {
        self.read(&["cpu.stat"])?.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse().ok())
    }

    fn read(&self, files: &[&str]) -> Option<String> {
        let places = self.groups.iter().flat_map(|group| files.iter().map(|file| group.join(file)));
        places.into_iter().find_map(|place| fs::read_to_string(place).ok())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for group in &self.groups {
            let _ = fs::remove_dir(group);
        }
    }
}

/// Moves this process into a group.
fn enter(group: &Path) -> Result<()> {
    write(&group.join("cgroup.procs"), "0")
}

fn write(file: &Path, value: &str) -> Result<()> {
    fs::write(file, value).with_context(|| format!("cannot write {value:?} into {}", file.display()))
}
