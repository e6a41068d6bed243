//! The two sidecars of a pod, run as their containers run them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use super::{Netns, run};
use crate::process::{Process, binary};

/// The user that the proxy runs as; its traffic is not captured.
pub const PROXY_UID: u32 = 19_000;

/// Where captured connections arrive.
pub const OUTBOUND_PORT: u16 = 19_001;

impl Netns {
    /// Starts a proxy inside, as its own user and without any capability.
    #[track_caller]
    pub fn proxy(&self, control_plane: &str, name: &str) -> Process {
        self.proxy_with(control_plane, name, &[])
    }

    /// The same with more options.
    #[track_caller]
    pub fn proxy_with(&self, control_plane: &str, name: &str, options: &[&str]) -> Process {
        Process::start(self.proxy_command(control_plane, name, options), &["outbound", "admin"])
    }

    /// Starts a proxy by a program that becomes another one, such as `env` or `prlimit`, with these words.
    #[track_caller]
    pub fn proxy_by(&self, starter: &[String], control_plane: &str, name: &str) -> Process {
        Process::start(self.proxy_command_by(starter, control_plane, name, &[]), &["outbound", "admin"])
    }

    /// The same with an HTTP proxy, as the first process of a namespace of processes, as in a container. What is started, and what
    /// ends as the proxy does, is its parent.
    #[track_caller]
    pub fn proxy_as_first_process(&self, control_plane: &str, name: &str) -> Process {
        let proxy = self.proxy_command(control_plane, name, &["--http-proxy-listen=127.0.0.1:0"]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(proxy.get_program()).args(proxy.get_args());
        Process::start(command, &["outbound", "http-proxy", "admin"])
    }

    /// Starts nothing yet.
    ///
    /// # Panics
    /// When the proxy cannot be copied to where its user can read it.
    fn proxy_command(&self, control_plane: &str, name: &str, options: &[&str]) -> Command {
        self.proxy_command_by(&[], control_plane, name, options)
    }

    fn proxy_command_by(&self, starter: &[String], control_plane: &str, name: &str, options: &[&str]) -> Command {
        let program = self.programs.path().join("wasmesh-proxy");
        // By another process: while this one had it open to write, whoever is started by another thread just then would have it open as
        // well for a moment, and nobody could run it.
        run(Command::new("install").args(["-m", "755"]).arg(binary("wasmesh-proxy")).arg(&program));
        fs::set_permissions(self.programs.path(), fs::Permissions::from_mode(0o755)).expect("a readable folder");
        let mut command = self.command("setpriv");
        let uid = PROXY_UID.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command.arg("--no-new-privs").args(starter);
        command.arg(program).args(["run", "--control-plane", control_plane]);
        command.args(["--name", name]);
        for address in ["127.0.0.1", "[::1]"] {
            command.args(["--outbound-listen", &format!("{address}:{OUTBOUND_PORT}")]);
        }
        command.args(["--first-use-wait", "20", "--admin-listen", "127.0.0.1:0"]).args(options);
        command
    }

    /// `wasmesh-proxy capture` inside, as root with these capabilities (setpriv's `--bounding-set`).
    pub fn capture_command(&self, capabilities: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("setpriv");
        command.args(["--bounding-set", capabilities, "--inh-caps=-all", "--no-new-privs"]);
        command.arg(binary("wasmesh-proxy")).arg("capture").args(arguments).env("RUST_BACKTRACE", "0");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts `wasmesh-proxy capture run` inside, as root with NET_ADMIN and nothing else.
    ///
    /// # Panics
    /// When the socket's path is no text.
    #[track_caller]
    pub fn hold_capture(&self, socket: &Path, options: &[&str]) -> Process {
        let socket = socket.to_str().expect("a path");
        let mut command = self.capture_command("-all,+net_admin", &[&["run", "--socket", socket], options].concat());
        command.stderr(Stdio::inherit());
        Process::start(command, &[])
    }
}
