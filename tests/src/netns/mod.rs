//! Network namespaces in which traffic is captured, without a trace outside of them.

mod sidecar;

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
pub use sidecar::{OUTBOUND_PORT, PROXY_UID};
use tempfile::TempDir;

/// The namespace's own addresses besides loopback.
const OWN_V4: &str = "192.0.2.1";
const OWN_V6: &str = "2001:db8::1";

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
        netns.ip("link set lo up");
        // Without a route connect() would fail before anything could be captured. This one leads nowhere: loopback takes
        // no packet for an address that nobody has.
        // The addresses are the pod's own, so to speak: a connection needs one to come from.
        netns.add_address(OWN_V4);
        netns.add_address(OWN_V6);
        netns.ip(&format!("route add default dev lo src {OWN_V4}"));
        netns.ip(&format!("-6 route add default dev lo src {OWN_V6}"));
        netns
    }
}

impl Netns {
    /// Captures all outbound connections from now on.
    ///
    /// # Panics
    /// When the rules cannot be installed.
    pub fn capture(&self) {
        self.nft(CAPTURE);
    }

    /// `nft` with these rules, inside.
    ///
    /// # Panics
    /// When it does not take them.
    #[track_caller]
    pub fn nft(&self, rules: &str) {
        let mut nft = self.command("nft");
        let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
        nft.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("rules");
        assert!(nft.wait().is_ok_and(|status| status.success()), "nft does not take these rules:\n{rules}");
    }

    /// Takes IPv6 away from the namespace, as on a node that has it switched off.
    ///
    /// # Panics
    /// When the kernel does not let it be switched.
    pub fn disable_ipv6(&self) {
        self.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    }

    /// Gives the namespace one more address.
    pub fn add_address(&self, address: &str) {
        let (family, nodad) = if address.contains(':') { ("-6", " nodad") } else { ("-4", "") };
        self.ip(&format!("{family} addr add {address} dev lo{nodad}"));
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

    /// Takes IPv4 and IPv6 apart, so that both wildcards can be listened on: the kernel's default is that `::` has both.
    ///
    /// # Panics
    /// When the kernel does not let it be switched.
    pub fn separate_families(&self) {
        self.sysctl("net/ipv6/bindv6only", "1");
    }

    /// Sets a variable of the kernel that belongs to network namespaces.
    ///
    /// # Panics
    /// When there is none of this name, or it does not take the value.
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = Path::new("/proc/sys").join(name);
        self.enter(|| fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }

    /// Gives the namespace a resolv.conf: whoever is run there by [`command`](Self::command) finds it in its place.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn resolv_conf(&self, text: &str) {
        let folder = self.etc();
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("resolv.conf"), text).expect("a resolv.conf");
    }

    /// Where ip(8) looks for files that are to lie in /etc.
    fn etc(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    /// `ip` with these words, inside.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        run(Command::new("ip").args(["-n", &self.name]).args(words.split(' ')));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
        let _ = fs::remove_dir_all(self.etc());
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
