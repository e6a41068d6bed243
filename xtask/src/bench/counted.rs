//! A program whose instructions are counted: callgrind of valgrind around it, told what to do by way of its own back door.

use std::cell::Cell;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::arena::{Arena, EXEMPT_UID};
use super::process::Process;

/// The back door is a pipe that has the user's name in its own.
const USER: (&str, &str) = ("USER", "bench");

/// Where the counts of one program are written.
#[derive(Debug)]
pub(super) struct Counted {
    out: PathBuf,
    door: String,
    /// How many counts have been written; each has a file of its own.
    written: Cell<usize>,
}

impl Counted {
    pub(super) fn new(arena: &Arena, name: &str) -> Result<Self> {
        let folder = arena.path("");
        let door = format!("--vgdb-prefix={}/door-{name}", folder.display().to_string().trim_end_matches('/'));
        Ok(Self { out: arena.path(&format!("callgrind-{name}")), door, written: Cell::default() })
    }

    /// What is run, with the program and its arguments as its last.
    pub(super) fn wrapper(&self) -> Command {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--instr-atstart=no", &self.door]);
        command.arg(format!("--callgrind-out-file={}", self.out.display())).env(USER.0, USER.1).env("LOGNAME", USER.1);
        command
    }

    /// Has the program run under the counter from here on. It goes on slowly at first.
    pub(super) fn begin(&self, process: &Process) -> Result<()> {
        self.tell(process, "instrumentation on")
    }

    /// Counts from nothing again.
    pub(super) fn zero(&self, process: &Process) -> Result<()> {
        self.tell(process, "zero")
    }

    /// How many instructions there were since.
    pub(super) fn count(&self, process: &Process) -> Result<u64> {
        self.tell(process, "dump")?;
        self.written.set(self.written.get() + 1);
        let file = self.out.with_extension(self.written.get().to_string());
        let text = fs::read_to_string(&file).with_context(|| format!("no count in {}", file.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        total.and_then(|total| total.trim().parse().ok()).with_context(|| format!("no total in {}", file.display()))
    }

    fn tell(&self, process: &Process, what: &str) -> Result<()> {
        let mut command = Command::new("vgdb");
        command.arg(&self.door).arg(format!("--pid={}", process.id())).args(what.split(' '));
        command.uid(EXEMPT_UID).gid(EXEMPT_UID).env(USER.0, USER.1).env("LOGNAME", USER.1).stdin(Stdio::null());
        let output = command.output().context("cannot run vgdb of valgrind")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "callgrind cannot be told `{what}`: {}", said.trim());
        Ok(())
    }
}
