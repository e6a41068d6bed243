//! Where a cluster with a node is: namespaces of its own for the network, mounts and processes. When their first process
//! ends, everything in them has ended and every mount is gone, whatever became of whoever started it.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener as Listener, TcpStream},
};

use super::{
    assets::asset,
    ground::{Daemon, Ground},
};
use crate::{fresh_ip, until};

/// What a kubelet wants of the kernel. It is of the whole machine, and here it is only said to be so.
const KERNEL: [(&str, &str); 7] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/printk", "4 4 1 7"),
];

/// Fresh folders where programs have no option to write elsewhere.
const FOLDERS: [&str; 2] = ["/run", "/var/log"];

/// Namespaces; gone with all that runs in them when dropped.
pub(super) struct Realm {
    _first: Daemon,
    entrance: Entrance,
}

/// The way in.
#[derive(Clone)]
pub(super) struct Entrance(PathBuf);

impl Realm {
    /// # Panics
    /// When this is not root, or the system does not allow it: such a test must not pass for having been left out.
    pub(super) fn new(ground: &Ground) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        let mut first = ground.start("realm", unshare.arg(asset("workload")).arg("pause"));
        let namespaces = PathBuf::from(format!("/proc/{}/ns", first.id()));
        let entrance = Entrance(namespaces);
        until("there are namespaces", || {
            first.must_run();
            entrance.is_open()
        });
        let realm = Self { _first: first, entrance };
        realm.furnish(ground);
        realm
    }

    pub(super) fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    fn furnish(&self, ground: &Ground) {
        let folders = FOLDERS.map(|folder| format!("mount -t tmpfs -o mode=755 tmpfs {folder}\n"));
        let kernel = KERNEL.map(|(name, value)| {
            let said = ground.write(&format!("kernel-{}", name.replace('/', "-")), &format!("{value}\n"));
            format!("mount --bind {} /proc/sys/{name}\n", said.display())
        });
        let script = ground.write("furnish.sh", &["set -e\n", &folders.concat(), &kernel.concat()].concat());
        self.entrance.run(self.entrance.whole("sh").arg(script));
    }
}

impl Entrance {
    fn is_open(&self) -> bool {
        // Before it has forked, the children's namespace is that of everybody.
        let children = self.0.join("pid_for_children").read_link();
        let ours = Path::new("/proc/self/ns/pid").read_link();
        children.is_ok_and(|children| ours.is_ok_and(|ours| ours != children))
    }

    /// A command in the network of the realm, otherwise outside: it can be killed like any other.
    pub(super) fn network(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.0.join("net").display())).arg(program.as_ref());
        command
    }

    /// A command that is wholly inside; what kills it is the end of the realm.
    pub(super) fn whole(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        for (kind, file) in [("net", "net"), ("mount", "mnt"), ("pid", "pid_for_children")] {
            command.arg(format!("--{kind}={}", self.0.join(file).display()));
        }
        command.arg(program.as_ref());
        command
    }

    /// # Panics
    /// When it fails; with what it said.
    #[track_caller]
    pub(super) fn run(&self, command: &mut Command) -> String {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An address out here that leads to one in there, for as long as the test runs.
    ///
    /// # Panics
    /// When it cannot listen here.
    pub(super) fn window(&self, listen: SocketAddr, to: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(listen).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let network = File::open(self.0.join("net")).expect("the network of the realm");
        thread::spawn(move || look(listener, &network, to));
        address
    }

    /// The same at an address that nobody else uses.
    pub(super) fn window_to(&self, to: SocketAddr) -> SocketAddr {
        self.window((fresh_ip(), 0).into(), to)
    }
}

/// A socket belongs to the network in which it is made: the listener to ours, connections to the realm's.
fn look(listener: TcpListener, network: &File, to: SocketAddr) -> io::Result<()> {
    move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = Listener::from_std(listener)?;
        loop {
            let (mut client, _) = listener.accept().await?;
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(to).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    })
}
