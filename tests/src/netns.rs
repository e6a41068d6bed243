//! Network namespaces in which traffic is captured, without a trace outside of them.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::SocketAddr,
    os::fd::AsFd,
    path::PathBuf,
    process::{self, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::process::{Process, binary};

/// The user that the proxy runs as; its traffic is not captured.
pub const PROXY_UID: u32 = 19_000;

/// The namespace's own addresses besides loopback.
const OWN_V4: &str = "192.0.2.1";
const OWN_V6: &str = "2001:db8::1";

/// Where captured connections arrive.
pub const OUTBOUND_PORT: u16 = 19_001;

/// Redirects everything to the proxy but what it sends itself and what stays on this host.
///
/// A packet that begins a connection is told from all others, so that installing the table does not cut connections.
const CAPTURE: &str = "
table inet wasmesh_test {
  chain output {
    type nat hook output priority -100; policy accept;
    meta skuid 19000 return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    tcp flags & (fin|syn|rst|ack) == syn redirect to :19001
  }
}
";

/// A network namespace of its own; gone when dropped.
pub struct Netns {
    name: String,
    /// A copy of the proxy that its user can read, wherever the checkout is.
    programs: TempDir,
}

impl Default for Netns {
    /// A namespace with loopback, a default route that leads nowhere, and no capture.
    ///
    /// # Panics
    /// When this is not root, or the system does not allow it: such a test must not pass for having been left out.
    fn default() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("wasmesh-test-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]));
        let netns = Self { name, programs: tempfile::tempdir().expect("a temporary folder") };
        netns.ip(&["link", "set", "lo", "up"]);
        // Without a route connect() would fail before anything could be captured. This one leads nowhere: loopback takes
        // no packet for an address that nobody has.
        // The addresses are the pod's own, so to speak: a connection needs one to come from.
        netns.add_address(OWN_V4);
        netns.add_address(OWN_V6);
        netns.ip(&["route", "add", "default", "dev", "lo", "src", OWN_V4]);
        netns.ip(&["-6", "route", "add", "default", "dev", "lo", "src", OWN_V6]);
        netns
    }
}

impl Netns {
    /// Captures all outbound connections from now on.
    ///
    /// # Panics
    /// When the rules cannot be installed.
    pub fn capture(&self) {
        let mut nft = self.command("nft");
        let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
        nft.stdin.take().expect("a pipe").write_all(CAPTURE.as_bytes()).expect("rules");
        assert!(nft.wait().is_ok_and(|status| status.success()), "nft does not take the rules");
    }

    /// Takes IPv6 away from the namespace, as on a node that has it switched off.
    ///
    /// # Panics
    /// When the kernel does not let it be switched.
    pub fn disable_ipv6(&self) {
        self.enter(|| fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").expect("IPv6 switched off"));
    }

    /// Gives the namespace one more address.
    pub fn add_address(&self, address: &str) {
        let family = if address.contains(':') { "-6" } else { "-4" };
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        self.ip(&[&[family, "addr", "add", address, "dev", "lo"], nodad].concat());
    }

    /// A command that runs inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Does something on a thread that is inside. Sockets made there stay inside, wherever they are used.
    ///
    /// # Panics
    /// When the namespace cannot be entered, or the work panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = PathBuf::from("/run/netns").join(&self.name);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let file = fs::File::open(path).expect("the namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("the namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Binds inside.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub fn listen(&self, address: SocketAddr) -> std::net::TcpListener {
        self.enter(|| std::net::TcpListener::bind(address))
            .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"))
    }

    /// What the system knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a proxy inside, as its own user and without any capability.
    #[track_caller]
    pub fn proxy(&self, control_plane: &str, name: &str) -> Process {
        self.proxy_with(control_plane, name, &[])
    }

    /// The same with more options.
    #[track_caller]
    pub fn proxy_with(&self, control_plane: &str, name: &str, options: &[&str]) -> Process {
        use std::os::unix::fs::PermissionsExt;
        let program = self.programs.path().join("wasmesh-proxy");
        match fs::copy(binary("wasmesh-proxy"), &program) {
            // A second proxy runs the first one's copy.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
            copied => drop(copied.expect("a copy of the proxy")),
        }
        fs::set_permissions(self.programs.path(), fs::Permissions::from_mode(0o755)).expect("a readable folder");
        let mut command = self.command("setpriv");
        let uid = PROXY_UID.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        command.arg("--no-new-privs").arg(program).args(["run", "--control-plane", control_plane]);
        command.args(["--name", name]);
        for address in ["127.0.0.1", "[::1]"] {
            command.args(["--outbound-listen", &format!("{address}:{OUTBOUND_PORT}")]);
        }
        command.args(["--first-use-wait", "20", "--admin-listen", "127.0.0.1:0"]).args(options);
        Process::start(command, &["outbound", "admin"])
    }

    fn ip(&self, arguments: &[&str]) {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
