//! Wires the parts of the control plane together and runs them.

mod cluster;

use std::{future::Future, io, time::Duration};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use wasmesh_proto::session::encoder::Encoder;
use wasmesh_telemetry::{listening, metrics};

use crate::{
    Options, admin,
    afar::{Afar, fetcher::Fetcher, secrets::Secrets},
    connections, events,
    findings::Findings,
    identity,
    injector::server::LINGER,
    kubernetes,
    options::Source,
    published::Latest,
    publisher,
    registry::Registry,
    server::{self, Discovery, Door, MostConnections, Shared, Streams},
    source::{SourceUpdate, folder},
    translate::policy::Grants,
};

/// How long connections and the API server may take at the end. In a cluster the injector lingers.
const PARTING: Duration = Duration::from_secs(2 + LINGER.as_secs());

/// The sockets of a control plane, bound by whoever starts it, so that a test can ask for port 0.
pub struct Listeners {
    /// For proxies.
    pub discovery: TcpListener,
    /// For operators.
    pub admin: TcpListener,
    /// For the API server; only in a cluster.
    pub webhook: Option<TcpListener>,
}

impl Listeners {
    /// Binds what the options ask for.
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it.
    ///
    /// # Panics
    /// Outside a runtime, whose sockets they are.
    pub fn bind(options: &Options) -> anyhow::Result<Self> {
        let bind = |what: &str, addr| {
            wasmesh_telemetry::bind(addr)
                .and_then(TcpListener::from_std)
                .with_context(|| format!("cannot listen for {what} on {addr}"))
        };
        let webhook = match options.source {
            Source::Kube => Some(bind("the API server (--webhook-listen)", options.injector.webhook_listen)?),
            Source::Folder(_) => None,
        };
        Ok(Self {
            discovery: bind("proxies (--discovery-listen)", options.discovery_listen)?,
            admin: bind("the admin server (--admin-listen)", options.admin_listen)?,
            webhook,
        })
    }

    /// Prints where they listen.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn announce(&self) -> io::Result<()> {
        listening::announce("discovery", self.discovery.local_addr()?);
        listening::announce("admin", self.admin.local_addr()?);
        if let Some(webhook) = &self.webhook {
            listening::announce("webhook", webhook.local_addr()?);
        }
        Ok(())
    }
}

/// What everything that runs has in common.
pub(crate) struct Core {
    pub(crate) latest: Latest,
    pub(crate) findings: Findings,
    pub(crate) streams: Streams,
    /// Turns true when the injector, if there is one, can answer.
    pub(crate) can_inject: watch::Sender<bool>,
    /// Turns true when the control plane ends.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Runs a control plane until `shutdown` ends.
///
/// # Errors
/// When the source cannot be read at all, or a listener fails.
pub async fn serve(options: Options, listeners: Listeners, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    match options.source {
        Source::Folder(_) => serve_behind(Door::open(), options, listeners, shutdown).await,
        Source::Kube => cluster::serve(kubernetes::connect().await?, options, listeners, shutdown).await,
    }
}

/// Runs a control plane that reads a folder until `shutdown` ends, with proxies coming in by this door.
///
/// # Errors
/// When the source cannot be read at all, or a listener fails.
pub async fn serve_behind(
    door: Door,
    options: Options,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Source::Folder(dir) = options.source.clone() else {
        anyhow::bail!("--source kube has a door of its own");
    };
    let source = async |updates| folder::run(dir, updates).await.context("the source cannot be read");
    let secrets = |core: &Core| Secrets::Folder(core.findings.afar.folder_secrets());
    run(options, listeners, shutdown, source, secrets, async |_: &Core| Ok(door), async |_: &Core| {}).await
}

/// Runs the walk from a source to the streams until `shutdown` ends. Proxies come in as soon as there is a `door`; `beside` runs
/// with it and may take leave at the end.
async fn run(
    options: Options,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
    source: impl AsyncFnOnce(mpsc::Sender<SourceUpdate>) -> anyhow::Result<()>,
    secrets: impl FnOnce(&Core) -> Secrets,
    door: impl AsyncFnOnce(&Core) -> anyhow::Result<Door>,
    beside: impl AsyncFnOnce(&Core),
) -> anyhow::Result<()> {
    let metrics = metrics::install();
    events::describe(&metrics);
    identity::events::describe();
    Afar::describe();
    connections::describe();
    let (updates_in, updates) = mpsc::channel(16);
    let (publish, latest) = watch::channel(None);
    let (stop, stopping) = watch::channel(false);
    let (is_open, opened) = watch::channel(false);
    let can_inject = watch::Sender::new(matches!(options.source, Source::Folder(_)));
    let core = Core { latest, findings: Findings::default(), streams: Streams::default(), can_inject, stopping };

    let admin = admin::pages(metrics.clone(), &core, opened);
    let server = async {
        let door = door(&core).await?;
        let shared = Shared {
            name: options.name,
            latest: core.latest.clone(),
            modules: core.findings.modules.clone(),
            trials: core.findings.trials.clone(),
            zones: core.findings.zones.clone(),
            owners: core.findings.owners.clone(),
            authenticator: door.authenticator,
            stream_life: options.stream_life,
            encoder: Encoder::default(),
            streams: core.streams.clone(),
            metrics,
            stopping: core.stopping.clone(),
        };
        let discovery = Discovery::new(shared, options.streams_per_second);
        is_open.send_replace(true);
        let stopped = stopped(core.stopping.clone());
        let most = MostConnections { total: options.max_connections, per_source: options.max_connections_per_source };
        server::serve(discovery, listeners.discovery, door.tls, most, stopped)
            .await
            .context("the discovery server failed")
    };
    let source = source(updates_in);
    let admin = admin.serve(listeners.admin, stopped(core.stopping.clone()));
    let fetcher = Fetcher::new(&options.afar, secrets(&core))?.run(core.findings.afar.clone());
    let grants = Grants { sensitive_headers: options.allow_sensitive_headers, modules: options.afar.allowed() };
    let registry = Registry::new(grants);
    let publisher = publisher::run(registry, updates, publish, core.findings.clone());
    let last_ones = async {
        let ((), server) = tokio::join!(beside(&core), server);
        server
    };
    tokio::pin!(source, last_ones);
    let work = async {
        tokio::select! {
            ended = &mut source => ended,
            ended = &mut last_ones => ended,
            () = publisher => Ok(()),
            () = fetcher => Ok(()),
            () = admin => Ok(()),
        }
    };
    let result = tokio::select! {
        ended = work => ended,
        () = shutdown => Ok(()),
    };
    // Streams are told, so that proxies move on at once; the connections close behind them.
    stop.send_replace(true);
    let _ = tokio::time::timeout(PARTING, last_ones).await;
    result
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
