//! A client of ours, with which one talks by lines: it stands still until it is told to go on.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::arena::{Arena, CLIENT_UID};

/// A running tool; killed when dropped.
pub(super) struct Tool {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Tool {
    pub(super) fn start(arena: &Arena, args: &[String]) -> Result<Self> {
        let mut command = Command::new(arena.path("wasmesh-bench-tools"));
        command.args(args).uid(CLIENT_UID).gid(CLIENT_UID);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run the client")?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("stdout was piped")?).lines();
        Ok(Self { child, stdin, stdout })
    }

    /// What it says next; an error with its last words if it has nothing to say any more.
    pub(super) fn line(&mut self) -> Result<String> {
        if let Some(line) = self.stdout.next() {
            return Ok(line?);
        }
        let complaint = self.child.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
        let (complaint, _backtrace) = complaint.split_once("Stack backtrace:").unwrap_or((&complaint, ""));
        bail!("{}", complaint.trim().trim_start_matches("Error: "))
    }

    pub(super) fn go(&mut self) -> Result<()> {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(b"go\n")?;
        }
        Ok(())
    }

    /// Its connections are kept until here.
    pub(super) fn end(mut self) -> Result<()> {
        self.stdin = None;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
