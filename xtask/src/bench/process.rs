//! Programs under measurement: started as another user, ended by their id.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::arena::{Arena, EXEMPT_UID};

/// How long a program may take until it listens; one that is looked at closely takes long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some are ready within few milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A running program; killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in the arena's folder as the exempt user. What it prints goes into a file of its name.
    pub(super) fn start(arena: &Arena, name: &str, mut command: Command) -> Result<Self> {
        let log = arena.path(&format!("{name}.log"));
        let out = File::create(&log)?;
        command.uid(EXEMPT_UID).gid(EXEMPT_UID).current_dir(arena.path(""));
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it accepts connections.
    pub(super) fn listens(&mut self, address: &str) -> Result<()> {
        let address: SocketAddr = address.parse().with_context(|| format!("no address: {address}"))?;
        self.waits(|| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
            .with_context(|| format!("{} does not listen on {address}", self.name))
    }

    /// Waits until something holds.
    pub(super) fn waits(&mut self, mut holds: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !holds() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended with {status}: {}", self.name, self.last_words());
            }
            if start.elapsed() > PATIENCE {
                bail!("{} is not ready after {PATIENCE:?}: {}", self.name, self.last_words());
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx's master would leave its worker behind.
        for child in super::accounting::tree(self.id()).into_iter().skip(1) {
            let _ = Command::new("kill").args(["-KILL", &child.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
