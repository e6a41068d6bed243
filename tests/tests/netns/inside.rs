//! A mesh inside a network namespace.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Output,
};

use wasmesh_tests::{
    Backend, Connection, ControlPlane, Folder, Scripted, Service, fresh_ip, netns::Netns, process::Process, until,
};

/// What the proxy is called in the control plane's status.
const PROXY: &str = "default/captured";

/// A namespace in which everything is captured by a proxy of this mesh.
pub(crate) struct Inside {
    pub(crate) netns: Netns,
    pub(crate) folder: Folder,
    pub(crate) control_plane: ControlPlane,
    pub(crate) proxy: Process,
}

impl Inside {
    pub(crate) fn of<const N: usize>(netns: Netns, services: [Service; N]) -> Self {
        let folder = Folder::default();
        folder.put(&services);
        let control_plane = netns.enter(|| ControlPlane::start(folder.path()));
        let proxy = netns.proxy(&control_plane.url(), "captured");
        let inside = Self { netns, folder, control_plane, proxy };
        inside.netns.enter(|| inside.control_plane.wait_current(PROXY));
        inside.netns.capture();
        inside
    }

    pub(crate) fn apply<const N: usize>(&self, services: [Service; N]) {
        self.netns.enter(|| {
            let before = self.control_plane.sequence();
            self.folder.put(&services);
            self.control_plane.wait_published_after(before);
            self.control_plane.wait_current(PROXY);
        });
    }

    /// A client inside that knows nothing but an address.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        Connection::from_stream(self.netns.enter(|| TcpStream::connect(address))?)
    }

    /// Runs curl inside; without any proxy.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Output {
        let mut command = self.netns.command("curl");
        command.args(["-q", "--noproxy", "*", "-sS", "--max-time", "30"]).args(arguments).output().expect("curl")
    }

    /// A metric of the proxy.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.netns.enter(|| self.proxy.admin().metric(name, &[]))
    }

    pub(crate) fn until_metric(&self, name: &str, at_least: f64) {
        until(&format!("{name} is at least {at_least}"), || self.metric(name) >= at_least);
    }
}

pub(crate) fn backend(netns: &Netns) -> Backend {
    Backend::on(netns.listen((fresh_ip(), 0).into()))
}

pub(crate) fn backend_at(netns: &Netns, address: SocketAddr) -> Backend {
    Backend::on(netns.listen(address))
}

pub(crate) fn scripted(netns: &Netns, script: impl Fn(Connection) + Send + Sync + 'static) -> Scripted {
    let listener: TcpListener = netns.listen((fresh_ip(), 0).into());
    Scripted::on(listener, script)
}

/// `ADDRESS:80`, as in a URL.
pub(crate) fn url(vip: IpAddr) -> String {
    format!("http://{}/", SocketAddr::from((vip, 80)))
}
