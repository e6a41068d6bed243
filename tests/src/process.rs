//! The built binaries, as processes.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use wasmesh_telemetry::listening;

use crate::{Admin, eventually};

/// The path of a built binary of the workspace. It is brought up to date first: cargo knows whether that is necessary.
///
/// # Panics
/// When it cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| build(&["wasmesh-proxy", "wasmesh-control-plane"])).join(name)
}

/// The path of the command line, likewise. Few tests need it.
///
/// # Panics
/// When it cannot be built.
pub fn command_line() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| build(&["wasmesh"])).join("wasmesh")
}

fn build(packages: &[&str]) -> PathBuf {
    // TARGET/PROFILE/deps/test-0123456789abcdef
    let test = env::current_exe().expect("the path of this test");
    let folder = test.ancestors().nth(2).expect("the folder of the profile").to_owned();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo says of the package that it tests: build scripts ask for the same names, so everything above those would be built anew.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    // With this package, so that dependencies have the features that the test was built with.
    cargo.args(["build", "--quiet", "-p", "wasmesh-tests"]);
    packages.iter().for_each(|package| {
        cargo.args(["-p", package]);
    });
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    cargo.arg("--target-dir").arg(folder.parent().expect("the target folder"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo");
    assert!(status.success(), "the binaries cannot be built");
    folder
}

/// A running process of the mesh; killed when dropped.
pub struct Process {
    child: Child,
    /// Where it listens, by name.
    pub listeners: BTreeMap<String, SocketAddr>,
}

impl Process {
    /// Starts a command and waits until it has said where these listeners are.
    ///
    /// # Panics
    /// When it ends before.
    #[track_caller]
    pub fn start(mut command: Command, listeners: &[&str]) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut found = BTreeMap::new();
        while !listeners.iter().all(|name| found.contains_key(*name)) {
            let line = lines.next().unwrap_or_else(|| panic!("{command:?} ends without listening")).expect("a line");
            found.extend(listening::parse(&line).map(|(name, address)| (name.to_owned(), address)));
        }
        // Whoever prints into a full pipe waits.
        thread::spawn(move || lines.for_each(drop));
        Self { child, listeners: found }
    }

    /// Starts a control plane that reads this folder and listens for proxies on this address.
    #[track_caller]
    pub fn control_plane(source: &Path, discovery: SocketAddr) -> Self {
        let mut command = Command::new(binary("wasmesh-control-plane"));
        command.arg("--source").arg(source);
        command.args(["--discovery-listen", &discovery.to_string(), "--admin-listen", "127.0.0.1:0"]);
        Self::start(command, &["discovery", "admin"])
    }

    /// Starts a proxy with an HTTP proxy listener.
    #[track_caller]
    pub fn proxy(control_plane: &str, options: &[&str]) -> Self {
        let mut command = Command::new(binary("wasmesh-proxy"));
        command.args(["run", "--control-plane", control_plane, "--first-use-wait", "20"]);
        command.args(["--http-proxy-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(options);
        Self::start(command, &["http-proxy", "admin"])
    }

    /// The address of a listener.
    ///
    /// # Panics
    /// When there is none of this name.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self.listeners.get(listener).unwrap_or_else(|| panic!("nothing is listening for {listener}"))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process ids of its children.
    ///
    /// # Panics
    /// When it has ended.
    pub fn children(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("a running process");
        children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
    }

    /// Its admin server.
    pub fn admin(&self) -> Admin {
        Admin(self.address("admin"))
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Sends SIGSTOP: it does nothing any more, and its sockets stay.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("a process to signal");
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().ok().flatten())
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
