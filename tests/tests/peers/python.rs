//! Python, with the libraries that people use there.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

/// The interpreter of the environment that `cargo xtask test` makes, outside of the checkout: see the rung `peers`.
fn interpreter() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache"))).expect("a home");
    let python = cache.join("wasmesh/peers/bin/python");
    assert!(python.exists(), "no {}: `cargo xtask test --rung peers` makes it", python.display());
    python
}

/// Ends a script when whoever has started it is gone, however that came, or when it takes longer than anything should.
const LEASH: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
def leash():
    sys.stderr.write('this takes too long\\n')
    os._exit(1)
timer = threading.Timer(100, leash)
timer.daemon = True
timer.start()
";

fn command(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(interpreter());
    command.arg("-c").arg(format!("{LEASH}\n{script}")).args(arguments);
    // The machine's own settings are not what is tested.
    for variable in ["http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(variable).env_remove(variable.to_uppercase());
    }
    command
}

/// A script that serves; killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one. It prints the address it listens on.
    ///
    /// # Panics
    /// When it ends before.
    #[track_caller]
    pub(crate) fn start(script: &str, arguments: &[&str]) -> Self {
        let mut child =
            command(script, arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let address = line.trim().parse().unwrap_or_else(|_| panic!("an address, not {line:?}"));
        Self { child, address }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script to its end; what it asserts must hold. Returns what it prints.
#[track_caller]
pub(crate) fn run(script: &str, arguments: &[&str]) -> String {
    let mut command = command(script, arguments);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python");
    let output = wait_with_output(child);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}

/// The library's own closes the script's input first, and with it the leash.
fn wait_with_output(mut child: Child) -> Output {
    let leash = child.stdin.take();
    let output = child.wait_with_output().expect("an ending");
    drop(leash);
    output
}
