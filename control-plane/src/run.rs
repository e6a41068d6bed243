//! Wires the parts of the control plane together and runs them.

use std::{future::Future, io};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use wasmesh_proto::session::encoder::Encoder;
use wasmesh_telemetry::{listening, metrics};

use crate::{
    Options, admin, events,
    findings::Findings,
    identity, kubernetes,
    options::Source,
    publisher,
    registry::Registry,
    server::{self, Discovery, Door, Shared, Streams},
    source::{folder, kube},
};

/// The sockets of a control plane, bound by whoever starts it, so that a test can ask for port 0.
pub struct Listeners {
    /// For proxies.
    pub discovery: TcpListener,
    /// For operators.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds what the options ask for.
    ///
    /// # Errors
    /// When an address cannot be bound; the error names it.
    pub async fn bind(options: &Options) -> anyhow::Result<Self> {
        let bind = async |what: &str, addr| {
            TcpListener::bind(addr).await.with_context(|| format!("cannot listen for {what} on {addr}"))
        };
        Ok(Self {
            discovery: bind("proxies (--discovery-listen)", options.discovery_listen).await?,
            admin: bind("the admin server (--admin-listen)", options.admin_listen).await?,
        })
    }

    /// Prints where they listen.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn announce(&self) -> io::Result<()> {
        listening::announce("discovery", self.discovery.local_addr()?);
        listening::announce("admin", self.admin.local_addr()?);
        Ok(())
    }
}

/// Runs a control plane until `shutdown` ends.
///
/// # Errors
/// When the source cannot be read at all, or a listener fails.
pub async fn serve(options: Options, listeners: Listeners, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    serve_behind(Door::open(), options, listeners, shutdown).await
}

/// Runs a control plane until `shutdown` ends, with proxies coming in by this door.
///
/// # Errors
/// When the source cannot be read at all, or a listener fails.
pub async fn serve_behind(
    door: Door,
    options: Options,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let metrics = metrics::install();
    events::describe(&metrics);
    identity::events::describe();
    let (updates_in, updates) = mpsc::channel(16);
    let (publish, latest) = watch::channel(None);
    let (stop, stopping) = watch::channel(false);
    let (streams, findings) = (Streams::default(), Findings::default());

    let admin = admin::pages(metrics.clone(), &latest, streams.clone(), findings.clone());
    let shared = Shared {
        name: options.name,
        latest,
        modules: findings.modules.clone(),
        trials: findings.trials.clone(),
        authenticator: door.authenticator,
        stream_life: options.stream_life,
        encoder: Encoder::default(),
        streams,
        metrics,
        stopping: stopping.clone(),
    };
    let discovery = Discovery::new(shared, options.streams_per_second);
    let server = server::serve(discovery, listeners.discovery, door.tls, stopped(stopping.clone()));

    let registry = Registry::new(options.allow_sensitive_headers);
    let source = async {
        match options.source {
            Source::Folder(dir) => folder::run(dir, updates_in).await.context("the source cannot be read"),
            Source::Kube => {
                kube::run(kubernetes::connect().await?, updates_in).await;
                Ok(())
            }
        }
    };
    let admin = admin.serve(listeners.admin, stopped(stopping));
    let publisher = publisher::run(registry, updates, publish, findings);
    tokio::pin!(source, server);
    let work = async {
        tokio::select! {
            ended = &mut source => ended,
            ended = &mut server => ended.context("the discovery server failed"),
            () = publisher => Ok(()),
            () = admin => Ok(()),
        }
    };
    let result = tokio::select! {
        ended = work => ended,
        () = shutdown => Ok(()),
    };
    // Streams are told, so that proxies move on at once; the connections close behind them.
    stop.send_replace(true);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), server).await;
    result
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
