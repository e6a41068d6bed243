//! A pod and the rest of its cluster: two network namespaces with a wire between them.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use tempfile::TempDir;
use wasmesh_tests::{
    PATIENCE, Scripted,
    netns::{Netns, OUTBOUND_PORT, PROXY_UID},
    process::Process,
    until,
};

/// Addresses of Services. The cluster answers all of them, as kube-proxy would.
pub(crate) const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 7));
pub(crate) const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 7));
pub(crate) const VIPS: [IpAddr; 2] = [VIP4, VIP6];

/// Where the cluster's endpoints are.
pub(crate) const NODE4: &str = "10.1.0.2";
pub(crate) const NODE6: &str = "fd01::2";

/// The pod's own addresses.
pub(crate) const POD: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1))];

/// Options that capture the Services of both families.
pub(crate) const SERVICES: [&str; 2] = ["--service-cidr=10.96.0.0/16", "--service-cidr=fd00:96::/64"];

/// Both ways into the kernel.
pub(crate) const BACKENDS: [&str; 2] = ["--backend=nftables", "--backend=iptables"];

/// A port on which the cluster says `direct` to everyone.
pub(crate) const PORT: u16 = 7000;

/// Two namespaces.
pub(crate) struct Pod {
    pub(crate) netns: Netns,
    pub(crate) cluster: Netns,
    /// What the two sidecars share, as an emptyDir.
    pub(crate) shared: TempDir,
}

impl Default for Pod {
    fn default() -> Self {
        let (netns, cluster) = (Netns::default(), Netns::default());
        let shared = tempfile::tempdir().expect("a temporary folder");
        std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let pod = Self { netns, cluster, shared };
        let peer = pod.cluster.name();
        pod.netns.ip(&format!("link add eth0 type veth peer name pod0 netns {peer}"));
        for (netns, device, v4, v6) in
            [(&pod.netns, "eth0", "10.1.0.1/24", "fd01::1/64"), (&pod.cluster, "pod0", "10.1.0.2/24", "fd01::2/64")]
        {
            netns.ip(&format!("addr add {v4} dev {device}"));
            netns.ip(&format!("-6 addr add {v6} dev {device} nodad"));
            netns.ip(&format!("link set {device} up"));
        }
        pod.netns.ip("route replace default via 10.1.0.2 src 10.1.0.1");
        pod.netns.ip("-6 route replace default via fd01::2 src fd01::1");
        pod.cluster.ip("route add local 10.96.0.0/16 dev lo");
        pod.cluster.ip("-6 route add local fd00:96::/64 dev lo");
        pod.cluster.ip("route replace default via 10.1.0.1");
        pod.cluster.ip("-6 route replace default via fd01::1");
        // Until the wire is up a connection would take the kernel's first retransmission, a second.
        until("the wire is up", || pod.netns.enter(|| TcpStream::connect((NODE4, 1))).is_err_and(is_refused));
        until("the wire is up", || pod.netns.enter(|| TcpStream::connect((NODE6, 1))).is_err_and(is_refused));
        pod
    }
}

impl Pod {
    /// A pod in a cluster that says `direct` on [`PORT`] of every Service address.
    pub(crate) fn in_a_cluster_that_answers() -> Self {
        let pod = Self::default();
        pod.cluster_says("direct", PORT);
        pod
    }

    /// The cluster says this on a port of every Service address.
    pub(crate) fn cluster_says(&self, word: &'static str, port: u16) {
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            says(listen(&self.cluster, (any, port).into()), word);
        }
    }

    /// In place of a proxy, something in the pod that says `captured` to every connection that is led to it.
    pub(crate) fn fake_proxy(&self) -> [Scripted; 2] {
        ["127.0.0.1", "::1"].map(|ip| {
            let address = SocketAddr::from((ip.parse::<IpAddr>().unwrap(), OUTBOUND_PORT));
            says(listen(&self.netns, address), "captured")
        })
    }

    /// Who answers a connection of the pod.
    pub(crate) fn ask(&self, address: impl Into<SocketAddr>) -> io::Result<String> {
        let address = address.into();
        self.netns.enter(move || hear(TcpStream::connect(address)?))
    }

    /// Runs `wasmesh-proxy capture` in the pod as root with NET_ADMIN and nothing else, as its container does.
    pub(crate) fn capture(&self, arguments: &[&str]) -> Output {
        self.netns.capture_command("-all,+net_admin", arguments).output().expect("capture")
    }

    /// The same, which must succeed. Returns what it prints.
    #[track_caller]
    pub(crate) fn must_capture(&self, arguments: &[&str]) -> String {
        let output = self.capture(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "capture {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Where `capture run` listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.shared.path().join("capture.sock")
    }

    /// Starts `capture run`.
    pub(crate) fn hold(&self, options: &[&str]) -> Process {
        self.netns.hold_capture(&self.socket(), options)
    }

    /// A command in the pod as some user without privileges.
    pub(crate) fn as_user(&self, uid: u32, program: &str) -> Command {
        let mut command = self.netns.command("setpriv");
        let uid = uid.to_string();
        command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "--bounding-set=-all"]).arg(program);
        command
    }

    /// What the proxy's own user, or another one, gets to hear on [`PORT`].
    pub(crate) fn ask_as(&self, uid: u32, ip: IpAddr) -> String {
        let url = format!("telnet://{}", SocketAddr::from((ip, PORT)));
        let output = self.as_user(uid, "curl").args(["-q", "-sS", "--max-time", "30", &url]).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn ask_as_proxy(&self, ip: IpAddr) -> String {
        self.ask_as(PROXY_UID, ip)
    }
}

/// Listens on one family only, so that both wildcards can be had.
pub(crate) fn listen(netns: &Netns, address: SocketAddr) -> TcpListener {
    netns.separate_families();
    netns.listen(address)
}

/// Says a word to everyone and hangs up.
pub(crate) fn says(listener: TcpListener, word: &'static str) -> Scripted {
    Scripted::on(listener, move |mut connection| {
        let _ = connection.send(word);
    })
}

pub(crate) fn hear(mut stream: TcpStream) -> io::Result<String> {
    let mut text = String::new();
    stream.set_read_timeout(Some(PATIENCE.min(Duration::from_secs(30))))?;
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[allow(clippy::needless_pass_by_value, reason = "for is_err_and")]
pub(crate) fn is_refused(error: io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}
