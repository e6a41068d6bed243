//! Etcd, the API server and the controllers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::runtime::Runtime;

use super::{
    assets::asset,
    flags,
    ground::{Daemon, Ground},
    kubeconfig, kubectl, node,
    pki::{Identity, Pki, User},
    realm::Realm,
    ways::Ways,
};
use crate::{eventually, fresh_ip, runtime, until};

/// Five seconds on an idle machine; much more where everything else is built at the same time.
const START: Duration = Duration::from_secs(180);

/// The ClusterIP of the API server itself: the first there is.
const KUBERNETES: &str = "10.96.0.1";

/// The Service of the mesh's webhook.
const WEBHOOK: &str = "wasmesh-control-plane.wasmesh-system.svc";

/// A running API server; ended with everything that belongs to it when dropped, or when the test ends in any other way.
pub struct ApiServer {
    // In this order they are dropped: first who calls, then who is called.
    controllers: Option<Daemon>,
    server: Option<Daemon>,
    _etcd: Daemon,
    place: Place,
    ip: Ipv4Addr,
    pki: Pki,
    serving: Identity,
    /// What it shows to the webhook of the mesh.
    admission: PathBuf,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    ground: Ground,
}

/// Where it is, and how it reaches what is not it.
enum Place {
    /// On a loopback address, without nodes.
    Alone(Ways),
    /// Beside a node, which it calls as this client.
    WithNode { realm: Realm, kubelets: Identity },
}

impl ApiServer {
    /// The one of all tests in this binary, with controllers. It is never stopped.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        SHARED.get_or_init(|| {
            let mut server = Self::start();
            server.start_controllers();
            server
        })
    }

    /// Starts etcd and an API server, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start() -> Self {
        let ground = Ground::new();
        let pki = Pki::new(&ground);
        let ways = Ways::new(&ground);
        Self::start_at(ground, pki, fresh_ip(), Place::Alone(ways))
    }

    /// The same in a realm of its own, with the network of a node. The address leads there.
    #[track_caller]
    pub(super) fn start_with_node() -> Self {
        let ground = Ground::new();
        let pki = Pki::new(&ground);
        let realm = Realm::new(&ground);
        let network = ground.write("network.sh", &node::network());
        let entrance = realm.entrance();
        entrance.run(entrance.network("sh").arg(network));
        let ip = fresh_ip();
        let address = (ip, flags::API_PORT).into();
        entrance.window(address, address);
        let kubelets = pki.client(&ground, "kubelets", User { name: "kube-apiserver-kubelet-client", ..User::ADMIN });
        Self::start_at(ground, pki, ip, Place::WithNode { realm, kubelets })
    }

    #[track_caller]
    fn start_at(ground: Ground, pki: Pki, ip: Ipv4Addr, place: Place) -> Self {
        let user = User { name: "kube-apiserver", group: None };
        let names = ["localhost", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", KUBERNETES];
        let serving = pki.server(&ground, "apiserver", user, &[&names[..], &[&ip.to_string()]].concat());
        let admin = pki.client(&ground, "admin", User::ADMIN);
        let caller = pki.client(&ground, "webhooks", User { name: "kube-apiserver-webhooks", group: None });
        let admission = kubeconfig::of_webhook(&ground, WEBHOOK, &caller);
        let kubeconfig = kubeconfig::of_certificate(&ground, "admin.json", &url(ip), &pki.ca, &admin);
        let etcd = ground.start("etcd", place.command("etcd").args(flags::etcd(ip, &ground.path("etcd"))));
        let kubectl = asset("kubectl");
        let mut api_server = Self {
            controllers: None,
            server: None,
            _etcd: etcd,
            place,
            ip,
            pki,
            serving,
            admission,
            kubeconfig,
            kubectl,
            ground,
        };
        api_server.resume();
        api_server
    }

    /// Starts the controllers that belong to an API server: EndpointSlices, Deployments, ServiceAccounts, garbage and so
    /// on, but for those that would evict pods from nodes that do not exist. Waits until they work.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn start_controllers(&mut self) {
        let user = User { name: "system:kube-controller-manager", group: None };
        let identity = self.pki.client(&self.ground, "controllers", user);
        let kubeconfig =
            kubeconfig::of_certificate(&self.ground, "controllers.json", &self.url(), &self.pki.ca, &identity);
        let flags = flags::controllers(self.ip, &self.pki, &kubeconfig, self.realm().is_some());
        let mut command = self.place.command("kube-controller-manager");
        let mut controllers = self.ground.start("controllers", command.args(flags));
        let deadline = Instant::now() + START;
        while !self.try_kubectl(&["get", "serviceaccount", "default"], "").status.success() {
            controllers.must_run();
            assert!(Instant::now() < deadline, "the controllers do not work: {}", controllers.last_words());
        }
        self.controllers = Some(controllers);
    }

    /// The authority of the certificate that it shows to the webhook of the mesh, PEM.
    pub fn webhook_client_ca(&self) -> &Path {
        &self.pki.ca
    }

    /// Kills the API server; what it knows stays with etcd.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts the API server again, where it was and with what it knew, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn resume(&mut self) {
        let mut command = self.place.command("kube-apiserver");
        command
            .args(flags::api_server(self.ip, &self.pki, &self.serving, &self.admission))
            .args(self.place.flags(self.ip));
        let mut server = self.ground.start("apiserver", &mut command);
        let deadline = Instant::now() + START;
        while !self.is_ready() {
            server.must_run();
            assert!(Instant::now() < deadline, "the API server does not become ready: {}", server.last_words());
            sleep(Duration::from_millis(50));
        }
        self.server = Some(server);
    }

    /// Ends this process with the test, also when nothing is dropped.
    pub(super) fn adopt(&self, name: &str, pid: u32) {
        self.ground.write(&format!("{name}.pid"), &pid.to_string());
    }

    /// Where it is.
    pub fn url(&self) -> String {
        url(self.ip)
    }

    /// The certificate that signs its own, as a file.
    pub fn ca(&self) -> &Path {
        &self.pki.ca
    }

    /// For somebody who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The program of that name.
    pub(super) fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// A client that may do everything. It belongs to [`runtime`].
    ///
    /// # Panics
    /// When the kubeconfig is of no use.
    pub fn client(&self) -> Client {
        self.client_of(&self.kubeconfig, runtime())
    }

    /// A client of this kubeconfig that belongs to this runtime.
    ///
    /// # Panics
    /// When the kubeconfig is of no use.
    pub fn client_of(&self, kubeconfig: &Path, runtime: &Runtime) -> Client {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            Client::try_from(config.expect("a kubeconfig")).expect("a client")
        })
    }

    /// What `kubectl` says to this, with this as its input.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str], stdin: &str) -> String {
        kubectl::said(args, self.try_kubectl(args, stdin))
    }

    /// The same for what may fail.
    pub fn try_kubectl(&self, args: &[&str], stdin: &str) -> Output {
        kubectl::kubectl(&self.kubectl, &self.kubeconfig, &self.ground.path("kubectl"), args, stdin)
    }

    /// The same with another kubeconfig.
    pub fn try_kubectl_as(&self, kubeconfig: &Path, args: &[&str], stdin: &str) -> Output {
        kubectl::kubectl(&self.kubectl, kubeconfig, &self.ground.path("kubectl"), args, stdin)
    }

    /// Applies a manifest, YAML or JSON.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        self.kubectl(&["apply", "--filename", "-"], manifest);
    }

    /// Makes a namespace that no other test knows, whose name begins so. Pods can be made in it if there are controllers.
    #[track_caller]
    pub fn namespace(&self, name: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let namespace = format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &namespace], "");
        if self.controllers.is_some() {
            let account = ["--namespace", &namespace, "get", "serviceaccount", "default"];
            until("the namespace has its ServiceAccount", || self.try_kubectl(&account, "").status.success());
        }
        namespace
    }

    /// A token of a ServiceAccount for this audience, good for an hour. The options are those of `kubectl create token`:
    /// `--bound-object-kind=Pod` for instance.
    #[track_caller]
    pub fn token(&self, namespace: &str, account: &str, audience: &str, options: &[&str]) -> String {
        let audience = format!("--audience={audience}");
        let args = [&["--namespace", namespace, "create", "token", account, &audience][..], options].concat();
        self.kubectl(&args, "").trim().to_owned()
    }

    /// A kubeconfig of a ServiceAccount: whoever uses it may do what the account may, and nothing more.
    #[track_caller]
    pub fn account_kubeconfig(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.kubectl(&["--namespace", namespace, "create", "token", account], "");
        let file = format!("account-{namespace}-{account}.json");
        kubeconfig::of_token(&self.ground, &file, &self.url(), &self.pki.ca, token.trim())
    }

    /// Leads the API server to this address when it calls this port of a Service, a webhook for instance. The Service
    /// needs a ClusterIP, and no endpoints.
    #[track_caller]
    pub fn lead(&self, namespace: &str, service: &str, port: u16, address: SocketAddr) {
        let Place::Alone(ways) = &self.place else { panic!("beside a node, kube-proxy leads to endpoints") };
        let jsonpath = "jsonpath={.spec.clusterIP}";
        let ip = eventually("the Service has a ClusterIP", || {
            let args = ["--namespace", namespace, "get", "service", service, "--output", jsonpath];
            let output = self.try_kubectl(&args, "");
            (output.status.success() && !output.stdout.is_empty()).then_some(output.stdout)
        });
        let ip = String::from_utf8(ip).expect("an address");
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
        ways.lead(format!("{host}:{port}"), address);
    }

    /// Where its node is, if it has one.
    pub(super) fn realm(&self) -> Option<&Realm> {
        match &self.place {
            Place::Alone(_) => None,
            Place::WithNode { realm, .. } => Some(realm),
        }
    }

    pub(super) fn ground(&self) -> &Ground {
        &self.ground
    }

    pub(super) fn pki(&self) -> &Pki {
        &self.pki
    }

    fn is_ready(&self) -> bool {
        self.try_kubectl(&["get", "--raw", "/readyz"], "").status.success()
    }
}

impl Place {
    fn command(&self, name: &str) -> Command {
        match self {
            Self::Alone(_) => Command::new(asset(name)),
            Self::WithNode { realm, .. } => realm.entrance().network(asset(name)),
        }
    }

    fn flags(&self, ip: Ipv4Addr) -> Vec<String> {
        match self {
            Self::Alone(ways) => flags::api_server_alone(ip, &ways.config),
            Self::WithNode { kubelets, .. } => flags::api_server_with_node(kubelets),
        }
    }
}

fn url(ip: Ipv4Addr) -> String {
    format!("https://{ip}:{}", flags::API_PORT)
}
