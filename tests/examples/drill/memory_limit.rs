//! A limit of memory, as a container has one: a control group, of whichever version this machine has.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = "/sys/fs/cgroup";
const NAME: &str = "wasmesh-drill";

/// A group; removed when dropped, by when whoever was in it must have ended.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    group: PathBuf,
}

impl MemoryLimit {
    /// Puts a process into a group with so much memory.
    ///
    /// # Panics
    /// When the system has no such groups.
    pub(crate) fn of(process: u32, bytes: u64) -> Self {
        let root = Path::new(ROOT);
        let (group, limit) = if root.join("cgroup.controllers").exists() {
            write(&root.join("cgroup.subtree_control"), "+memory");
            (root.join(NAME), "memory.max")
        } else {
            (root.join("memory").join(NAME), "memory.limit_in_bytes")
        };
        // One that was left by a drill that was killed will do.
        let _ = fs::create_dir(&group);
        write(&group.join(limit), &bytes.to_string());
        write(&group.join("cgroup.procs"), &process.to_string());
        Self { group }
    }

    /// How often somebody was killed for want of memory.
    pub(crate) fn kills(&self) -> u64 {
        let files = ["memory.events", "memory.oom_control"].map(|file| fs::read_to_string(self.group.join(file)));
        let lines = files.iter().flatten().flat_map(|text| text.lines());
        lines.filter_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok()).sum()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
    }
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
