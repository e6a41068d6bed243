//! Wires the parts of the proxy together, each on its thread, and runs them until they have drained.

use std::{future::Future, io, net::SocketAddr, sync::Arc, thread};

use anyhow::{Context, bail};
use tokio::sync::{mpsc, oneshot, watch};
use wasmesh_core::{candidates::Viewpoint, ejection::EjectionRule};
use wasmesh_policy_host::{Compiler, HostOptions};
use wasmesh_proto::wire;
use wasmesh_telemetry::{listening, metrics};

use crate::{
    Options, admin, capture, cpus,
    discovery::{ControlPlane, Discovery, SharedStatus},
    dns::{self, Dns, DnsListener},
    drain, events,
    limits::Limits,
    owners::{Attribution, PodConnections, Sightings},
    policy::{
        fit::Fitter,
        keeper::Keeper,
        modules::Modules,
        notes::{Notes, Order},
        peers::Peers,
        status::PolicyStatus,
        wishes::Wishes,
    },
    worker::{self, ListenerKind, WorkerConfig, WorkerListener, bind_all},
    world::{World, WorldBuilder},
};

/// Requests for endpoints that wait for the discovery thread. A worker whose request finds no room asks again later.
const WANTED: usize = 1024;

/// The sockets of a proxy, bound before it runs, so that a test can ask for port 0.
pub struct Listeners {
    /// One list per worker.
    workers: Vec<Vec<WorkerListener>>,
    /// Where captured connections arrive.
    pub outbound: Vec<SocketAddr>,
    /// Where the HTTP proxy listens.
    pub http_proxy: Option<SocketAddr>,
    /// Where DNS is answered.
    pub dns: Vec<DnsListener>,
    /// For operators.
    pub admin: std::net::TcpListener,
}

impl Listeners {
    /// Binds what the options ask for.
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it. When there would be nothing to listen on.
    pub fn bind(options: &Options) -> anyhow::Result<Self> {
        if options.outbound_listen.is_empty() && options.http_proxy_listen.is_none() {
            bail!(
                "nothing to listen on: give --outbound-listen for captured connections, --http-proxy-listen, or both"
            );
        }
        let count = options.workers.map_or_else(cpus::default_workers, usize::from);
        let mut workers: Vec<Vec<WorkerListener>> = (0..count).map(|_| Vec::new()).collect();
        let mut bind = |kind, address, flag: &str| -> anyhow::Result<SocketAddr> {
            let (bound, sockets) =
                bind_all(kind, address, count).with_context(|| format!("cannot listen on {address} ({flag})"))?;
            workers.iter_mut().zip(sockets).for_each(|(worker, socket)| worker.push(socket));
            Ok(bound)
        };
        let mut outbound = Vec::new();
        for address in &options.outbound_listen {
            match bind(ListenerKind::Captured, *address, "--outbound-listen") {
                Ok(bound) => outbound.push(bound),
                // What a pod is given holds for nodes with IPv6 and without; where there is none, nothing is captured either.
                Err(error) if options.outbound_listen.len() > 1 && is_for_want_of_v6(*address, &error) => {
                    tracing::info!("this machine has no IPv6: nobody listens on {address}");
                }
                Err(error) => return Err(error),
            }
        }
        let http_proxy = options
            .http_proxy_listen
            .map(|address| bind(ListenerKind::HttpProxy, address, "--http-proxy-listen"))
            .transpose()?;
        let mut dns = Vec::new();
        for address in &options.dns_listen {
            match DnsListener::bind(*address) {
                Ok(bound) => dns.push(bound),
                Err(error)
                    if options.dns_listen.len() > 1 && wasmesh_telemetry::is_for_want_of_v6(*address, &error) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot listen on {address} (--dns-listen)"));
                }
            }
        }
        let admin = wasmesh_telemetry::bind(options.admin_listen)
            .with_context(|| format!("cannot listen on {} (--admin-listen)", options.admin_listen))?;
        Ok(Self { workers, outbound, http_proxy, dns, admin })
    }

    /// Prints where they listen.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn announce(&self) -> io::Result<()> {
        self.outbound.iter().for_each(|address| listening::announce("outbound", *address));
        self.http_proxy.iter().for_each(|address| listening::announce("http-proxy", *address));
        self.dns.iter().for_each(|listener| listening::announce("dns", listener.address));
        listening::announce("admin", self.admin.local_addr()?);
        Ok(())
    }
}

fn is_for_want_of_v6(address: SocketAddr, error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(|error| wasmesh_telemetry::is_for_want_of_v6(address, error))
}

/// Runs a proxy until `shutdown` ends and its connections have drained.
///
/// # Errors
/// When the control plane's URL is none, or a thread cannot be started or ends by itself.
pub async fn serve(options: Options, listeners: Listeners, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let limits = Limits::new(&options, listeners.workers.len());
    let metrics = metrics::install();
    events::describe(&metrics);
    dns::describe();
    let control_plane = ControlPlane::of(&options)?;
    let (publish, worlds) = watch::channel(Arc::new(World::default()));
    let (want, wanted) = mpsc::channel(WANTED);
    let (control, drain) = drain::channel();
    let status = SharedStatus::default();
    let (policy_status, policies) = watch::channel(PolicyStatus::default());

    let readiness = admin::ProxyReadiness::new(worlds.clone(), options.startup_grace);
    let pod_connections = PodConnections::default();
    let (wishes, wished) = Wishes::new();
    let shown = admin::Shown {
        name: options.name.clone(),
        control_plane: options.control_plane.clone(),
        worlds: worlds.clone(),
        status: status.clone(),
        policies: policies.clone(),
        pod_connections: pod_connections.clone(),
        wishes,
    };
    let pages = admin::pages(metrics.clone(), readiness, shown);
    let admin_socket = listeners.admin;
    let admin_ended = spawn_with_runtime("wasmesh-admin", async move {
        match tokio::net::TcpListener::from_std(admin_socket) {
            Ok(listener) => pages.serve(listener, std::future::pending()).await,
            Err(error) => tracing::error!("the admin server cannot run: {error}"),
        }
    })?;

    let builder = WorldBuilder::new(Viewpoint { node: options.node_name.clone(), zone: options.zone.clone() });
    let pod = [("namespace", options.namespace.clone()), ("proxy", options.name.clone())]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let node = wire::Node {
        proxy: format!("{}/{}", options.namespace, options.name),
        namespace: options.namespace.clone(),
        node: options.node_name.clone(),
        zone: options.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let idle_after = options.endpoints_idle_timeout;
    let (channel, connected) = watch::channel(None);
    let peers = Peers::default();
    let sightings = Sightings::default();
    let (questions, asked) = mpsc::channel(1);
    let (told, answers) = mpsc::channel(4);
    let attribution = Attribution {
        sightings: sightings.clone(),
        worlds: worlds.clone(),
        questions,
        answers,
        counts: pod_connections,
    };
    let discovery = Discovery {
        control_plane,
        node,
        builder,
        publish,
        wanted,
        status,
        idle_after,
        channel,
        policies,
        peers: peers.clone(),
        addresses: (asked, told),
    };
    let discovery_ended = spawn_with_runtime("wasmesh-discovery", async {
        tokio::join!(discovery.run(), attribution.run());
    })?;

    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let ejection = EjectionRule {
        failures: options.ejection_failures,
        first_pause_us: micros(options.ejection_pause),
        max_pause_us: micros(options.ejection_max_pause),
    };
    if let Some(path) = options.capture_socket.clone() {
        spawn_with_runtime("wasmesh-capture", capture::refuse_client::run(path, worlds.clone()))?;
    }

    // The name of a pod survives a restart of its containers.
    let identity = xxhash_rust::xxh3::xxh3_64(options.name.as_bytes());
    let (orders, inboxes): (Vec<_>, Vec<_>) = listeners.workers.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let (notes, told) = mpsc::unbounded_channel();
    let keeper = Keeper {
        worlds: worlds.clone(),
        modules: Modules::new(connected, host_options(&options), options.module_jitter),
        fitter: Fitter::new(pod, worlds.clone(), orders.len(), Notes(notes), peers),
        workers: orders,
        notes: told,
        identity,
        status: policy_status,
        wishes: wished,
        name: options.name.clone(),
    };
    let keeper_ended = spawn_with_runtime("wasmesh-policies", keeper.run())?;

    let dns = Dns::new(&options, listeners.dns, worlds.clone(), want.clone())?;
    let dns = dns.map(|dns| spawn_made("wasmesh-dns", move || dns.run())).transpose()?;
    let dns_ended = async {
        match dns {
            Some(ended) => drop(ended.await),
            None => std::future::pending().await,
        }
    };

    let config = WorkerConfig {
        worlds,
        wanted: want,
        own_listeners: listeners.outbound.iter().chain(&listeners.http_proxy).copied().collect(),
        drain,
        metrics,
        sightings,
        namespace: options.namespace.as_str().into(),
        cluster_domain: options.cluster_domain.as_str().into(),
        connect_timeout: options.connect_timeout,
        client_idle_timeout: options.client_idle_timeout,
        first_use_wait: options.first_use_wait,
        ejection,
        limits,
        identity,
    };
    let mut workers = Vec::new();
    for (number, (sockets, orders)) in listeners.workers.into_iter().zip(inboxes).enumerate() {
        workers.push(spawn_worker(number, config.clone(), sockets, orders)?);
    }
    let mut all_ended = std::pin::pin!(async {
        for worker in workers {
            match worker.await {
                Ok(result) => result.context("a worker has failed")?,
                Err(_) => bail!("a worker has ended unexpectedly"),
            }
        }
        Ok(())
    });
    tokio::select! {
        ended = &mut all_ended => return ended,
        // Without these threads it would run on blind or with a picture that grows old: better be restarted.
        _ = admin_ended => bail!("the admin server has ended unexpectedly"),
        _ = discovery_ended => bail!("the connection to the control plane has ended unexpectedly"),
        () = dns_ended => bail!("DNS has ended unexpectedly"),
        _ = keeper_ended => bail!("the keeper of policies has ended unexpectedly"),
        () = shutdown => {}
    }
    let left = tokio::select! {
        ended = &mut all_ended => return ended,
        left = control.drain(options.drain_timeout) => left,
    };
    if left > 0 {
        tracing::warn!(connections = left, "still open after {:?}; they are cut", options.drain_timeout);
    }
    control.stop();
    all_ended.await
}

/// How modules are compiled: in a child process with limits, which is this very program.
fn host_options(options: &Options) -> HostOptions {
    // This very program, also when its file has been replaced by another version meanwhile.
    let child = Compiler::Child { program: "/proc/self/exe".into(), args: vec!["compile-policy".into()] };
    let compiler = if options.compile_in_process { Compiler::InProcess } else { child };
    HostOptions {
        cache: options.module_cache.clone(),
        max_memory_bytes: options.max_policy_memory as usize * 1024 * 1024,
        ..HostOptions::new(compiler)
    }
}

fn spawn_worker(
    number: usize,
    config: WorkerConfig,
    sockets: Vec<WorkerListener>,
    orders: mpsc::UnboundedReceiver<Order>,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (ended, end) = oneshot::channel();
    thread::Builder::new().name(format!("wasmesh-worker-{number}")).spawn(move || {
        // Nobody listens any more only when the proxy is ending anyway.
        let _ = ended.send(worker::run(config, sockets, orders));
    })?;
    Ok(end)
}

/// Runs a task on a thread of its own, away from the workers: a scrape must not show in a request's time. What is returned
/// tells when it ends.
fn spawn_with_runtime(
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> io::Result<oneshot::Receiver<()>> {
    spawn_made(name, move || task)
}

/// The same for a task that must not leave its thread.
fn spawn_made<T: Future<Output = ()>>(
    name: &'static str,
    make: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<()>> {
    // One thread for what blocks, names to look up and modules to load: an allocator keeps what each thread has freed.
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build()?;
    // Dropped with the thread, however it ends.
    let (running, ended) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(make());
        drop(running);
    })?;
    Ok(ended)
}
