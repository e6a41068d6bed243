//! A binary of the mesh as a child: started, asked for its ports, listened to, and ended whatever happens.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsStr,
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use wasmesh_telemetry::listening;

/// How long a binary may take until it listens. It takes milliseconds, on a machine that has time for it.
const START: Duration = Duration::from_secs(20);

/// Lines of a log that are kept: enough to see why something ended.
const LOG_LINES: usize = 30;

/// Killed when dropped.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    ports: BTreeMap<String, SocketAddr>,
    log: Log,
}

/// The last lines that a process has written to stderr.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<VecDeque<String>>>);

/// Finds a binary beside this one, where a build and an installation put them.
pub(super) fn beside_this(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find out where this binary is")?;
    let path = this.with_file_name(name);
    if !path.is_file() {
        bail!(
            "the demo needs {name} beside wasmesh, and {} does not exist: `cargo build --bins` builds all, and `cargo \
             xtask demo` does that and runs the demo",
            path.display()
        );
    }
    Ok(path)
}

impl Process {
    /// Starts a binary and waits until it has announced all these listeners.
    pub(super) async fn start<A: AsRef<OsStr>>(
        name: &'static str,
        args: impl IntoIterator<Item = A>,
        listeners: &[&str],
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(beside_this(name)?)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let log = Log::default();
        if let Some(stderr) = child.stderr.take() {
            log.follow(stderr);
        }
        let stdout = child.stdout.take().context("a child without stdout")?;
        let mut process = Self { name, child, ports: BTreeMap::new(), log };
        match timeout(START, process.learn_ports(stdout, listeners)).await {
            Ok(learnt) => learnt?,
            Err(_) => bail!("{name} does not listen after {START:?}{}", process.log),
        }
        Ok(process)
    }

    async fn learn_ports(&mut self, stdout: ChildStdout, listeners: &[&str]) -> anyhow::Result<()> {
        let mut lines = BufReader::new(stdout).lines();
        while !listeners.iter().all(|name| self.ports.contains_key(*name)) {
            let Some(line) = lines.next_line().await? else {
                let status = self.child.wait().await?;
                bail!("{} has ended with {status} before it listened{}", self.name, self.log);
            };
            if let Some((name, addr)) = listening::parse(&line) {
                self.ports.insert(name.to_owned(), addr);
            }
        }
        // Read on, or the pipe would fill or break under it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    /// Where it listens under this name.
    pub(super) fn port(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        self.ports.get(listener).copied().with_context(|| format!("{} listens on no {listener}", self.name))
    }

    /// Ends it by SIGKILL and waits until it is gone.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("cannot end {}", self.name))
    }

    /// Comes when it has ended by itself, as an error; meanwhile whoever waits for it to do something can do so.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("{} has ended: {status}", self.name),
            Err(error) => anyhow!("{} is lost: {error}", self.name),
        }
    }

    /// Its name and the end of its log.
    pub(super) fn last_words(&mut self) -> String {
        let ended = match self.child.try_wait() {
            Ok(Some(status)) => format!("{} has ended: {status}", self.name),
            Ok(None) | Err(_) => self.name.to_owned(),
        };
        format!("{ended}{}", self.log)
    }
}

impl Log {
    fn follow(&self, from: impl AsyncRead + Unpin + Send + 'static) {
        let log = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = log.lock();
                if kept.len() == LOG_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As the end of a sentence about the process.
impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.lock();
        f.write_str(if lines.is_empty() { "; it has logged nothing" } else { "; the end of its log:" })?;
        lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}
