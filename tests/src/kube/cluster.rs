//! A whole cluster of one node: beside the API server a scheduler, containerd, kubelet, kube-proxy and DNS.

use std::{
    fs,
    net::SocketAddr,
    ops::Deref,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    ApiServer, Image,
    assets::asset,
    ground::{CGROUPS, Daemon},
    kubeconfig,
    node::{self, NODE},
    pki::User,
    realm::Entrance,
};

/// How long a pod may need on a busy machine.
const PODS: Duration = Duration::from_secs(120);

/// Where control groups are.
const CGROUP_MOUNT: &str = "/sys/fs/cgroup";

/// A running cluster. It is ended with everything in it when dropped, or when the test ends in any other way, and leaves
/// nothing: its network, mounts and processes are in namespaces of their own.
pub struct Cluster {
    _daemons: [Daemon; 4],
    // After what depends on it.
    api: ApiServer,
}

impl Deref for Cluster {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.api
    }
}

impl Cluster {
    /// Starts one, and waits until its node is ready and names are answered. Pods can be made of the image
    /// `localhost/workload:test`, see `tests/kube-assets/workload`, and of what is [imported](Self::import).
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start() -> Self {
        let mut api = ApiServer::start_with_node();
        api.start_controllers();
        make_cgroups(&api);
        let containerd = containerd(&api);
        for image in images() {
            import(&api, image);
        }
        let daemons = [containerd, scheduler(&api), kubelet(&api), kube_proxy(&api)];
        let cluster = Self { _daemons: daemons, api };
        cluster.apply(include_str!("coredns.yaml"));
        cluster.wait(&["--for=condition=Ready", "node", NODE]);
        cluster.wait(&["--namespace=kube-system", "--for=condition=Available", "deployment", "coredns"]);
        cluster
    }

    /// Makes an image known to the node.
    ///
    /// # Panics
    /// When containerd does not take it.
    #[track_caller]
    pub fn import(&self, image: Image) {
        import(&self.api, image);
    }

    /// `kubectl wait` with these arguments.
    ///
    /// # Panics
    /// When it is in vain; with what the cluster says of its pods.
    #[track_caller]
    pub fn wait(&self, args: &[&str]) {
        let deadline = Instant::now() + PODS;
        loop {
            // It fails at once where what it waits for has not been made yet.
            let output = self.try_kubectl(&[&["wait", "--timeout=120s"], args].concat(), "");
            if output.status.success() {
                return;
            }
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(Instant::now() < deadline, "kubectl wait {args:?}: {why}\n{}", self.state());
            sleep(Duration::from_millis(200));
        }
    }

    /// An address out here that leads to one in the cluster: of a pod, a Service or the node.
    pub fn window(&self, to: SocketAddr) -> SocketAddr {
        entrance(&self.api).window_to(to)
    }

    /// A command in the network of the node.
    pub fn node_command(&self, program: &str) -> Command {
        entrance(&self.api).network(program)
    }

    /// What the cluster says of its pods, for people who look for why a test failed.
    pub fn state(&self) -> String {
        let say = |args: &[&str]| {
            let output = self.try_kubectl(args, "");
            let both = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&both).into_owned()
        };
        let pods = say(&["get", "pods", "--all-namespaces", "--output=wide"]);
        let events = say(&["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]);
        let events: Vec<_> = events.lines().collect();
        format!("{pods}\n{}", events[events.len().saturating_sub(40)..].join("\n"))
    }
}

fn entrance(api: &ApiServer) -> &Entrance {
    api.realm().expect("a realm").entrance()
}

/// A control group of its own, in every hierarchy: a kubelet takes away what it finds beside its own pods.
fn make_cgroups(api: &ApiServer) {
    let name = cgroup(api);
    api.ground().write(CGROUPS, &format!("{CGROUP_MOUNT}{name} {CGROUP_MOUNT}/*{name}"));
    let mount = Path::new(CGROUP_MOUNT);
    let unified = mount.join("cgroup.controllers").is_file();
    let entries = fs::read_dir(mount).expect("control groups").map(|entry| entry.expect("a hierarchy").path());
    let hierarchies = if unified { vec![mount.to_owned()] } else { entries.collect() };
    for hierarchy in hierarchies.into_iter().filter(|path| path.is_dir() && !path.is_symlink()) {
        fs::create_dir_all(hierarchy.join(&name[1..])).expect("a control group");
    }
}

/// Its path in each hierarchy.
fn cgroup(api: &ApiServer) -> String {
    format!("/{}", api.ground().folder().file_name().expect("a folder with a name").display())
}

fn images() -> [Image; 3] {
    let workload = asset("workload");
    [
        Image::new(node::PAUSE_IMAGE, &["/workload", "pause"]).program("/workload", &workload),
        Image::new("localhost/workload:test", &["/workload"]).program("/workload", &workload),
        Image::new("localhost/coredns:test", &["/coredns"]).program("/coredns", &asset("coredns")),
    ]
}

#[track_caller]
fn import(api: &ApiServer, image: Image) {
    let path = api.ground().path("image.tar");
    fs::write(&path, image.pack()).expect("an image");
    let mut import = ctr(api);
    entrance(api).run(import.args(["images", "import", "--all-platforms=false"]).arg(path));
}

fn ctr(api: &ApiServer) -> Command {
    let mut ctr = Command::new(asset("ctr"));
    ctr.arg("--address").arg(api.ground().path("containerd.sock")).args(["--namespace", "k8s.io"]);
    ctr
}

fn containerd(api: &ApiServer) -> Daemon {
    let ground = api.ground();
    let program = asset("containerd");
    let binaries = program.parent().expect("a folder");
    fs::create_dir_all(ground.path("cni")).expect("a folder");
    ground.write("cni/10-test.conflist", &node::cni(ground.folder()).to_string());
    let config = ground.write("containerd.toml", &node::containerd(ground.folder(), binaries));
    let mut command = entrance(api).whole(&program);
    // It looks for its shim where it looks for programs.
    let path = std::env::var("PATH").unwrap_or_default();
    command.arg("--config").arg(config).env("PATH", format!("{}:{path}:/usr/sbin:/sbin", binaries.display()));
    let mut containerd = ground.start("containerd", &mut command);
    let deadline = Instant::now() + PODS;
    while !ctr(api).arg("version").output().is_ok_and(|output| output.status.success()) {
        containerd.must_run();
        assert!(Instant::now() < deadline, "containerd does not answer: {}", containerd.last_words());
        sleep(Duration::from_millis(50));
    }
    containerd
}

fn scheduler(api: &ApiServer) -> Daemon {
    let user = User { name: "system:kube-scheduler", group: None };
    let identity = api.pki().client(api.ground(), "scheduler", user);
    let kubeconfig = kubeconfig::of_certificate(api.ground(), "scheduler.json", &api.url(), api.ca(), &identity);
    let mut command = entrance(api).network(asset("kube-scheduler"));
    for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
        command.arg(format!("--{flag}={}", kubeconfig.display()));
    }
    api.ground().start("scheduler", command.args(["--bind-address=127.0.0.1", "--leader-elect=false"]))
}

fn kubelet(api: &ApiServer) -> Daemon {
    let ground = api.ground();
    let user = User { name: "system:node:node", group: Some("system:nodes") };
    let client = api.pki().client(ground, "node", user);
    let serving = api.pki().server(ground, "node-serving", user, &[NODE, "127.0.0.1", node::NODE_V4]);
    let kubeconfig = kubeconfig::of_certificate(ground, "node.json", &api.url(), api.ca(), &client);
    ground.write("resolv.conf", "nameserver 127.0.0.1\n");
    let config = node::kubelet(ground.folder(), &cgroup(api), api.ca(), &serving.certificate, &serving.key);
    let config = ground.write("kubelet.json", &config.to_string());
    let mut command = entrance(api).whole(asset("kubelet"));
    command.arg(format!("--config={}", config.display())).arg(format!("--kubeconfig={}", kubeconfig.display()));
    command.arg(format!("--root-dir={}", ground.path("kubelet").display()));
    command.arg(format!("--cert-dir={}", ground.path("kubelet-pki").display()));
    command.arg(format!("--hostname-override={NODE}"));
    command.arg(format!("--node-ip={},{}", node::NODE_V4, node::NODE_V6));
    ground.start("kubelet", &mut command)
}

fn kube_proxy(api: &ApiServer) -> Daemon {
    let ground = api.ground();
    let identity = api.pki().client(ground, "kube-proxy", User { name: "system:kube-proxy", group: None });
    let kubeconfig = kubeconfig::of_certificate(ground, "kube-proxy.json", &api.url(), api.ca(), &identity);
    let config = ground.write("kube-proxy-config.json", &node::kube_proxy(&kubeconfig).to_string());
    let mut command = entrance(api).network(asset("kube-proxy"));
    ground.start("kube-proxy", command.arg(format!("--config={}", config.display())))
}
