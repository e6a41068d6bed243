//! The API server, for commands that look into a cluster. They ask it as whoever the kubeconfig says, once each, and wait.

mod forward;
mod pods;
pub(crate) mod trust;

use std::{future::Future, time::Duration};

use anyhow::{Context, anyhow};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::runtime::Runtime;
use wasmesh_telemetry::with_causes;

pub(crate) use pods::{PodRef, containers, sidecar};

/// The namespace of the installation.
pub(crate) const SYSTEM: &str = "wasmesh-system";

/// An API server that does not answer within this time is not there.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster, as the kubeconfig describes it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace that the context names.
    pub(crate) namespace: String,
    /// Where its API server is.
    pub(crate) server: String,
    runtime: Runtime,
}

impl Cluster {
    /// The cluster of this context, or of the current one.
    pub(crate) fn connect(context: Option<&str>) -> anyhow::Result<Self> {
        // A thread of its own: connections that are forwarded go on while the command waits for what comes over them.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (client, namespace, server) = runtime.block_on(connect(context))?;
        Ok(Self { client, namespace, server, runtime })
    }

    /// Waits for an answer.
    pub(crate) fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(answer)
    }
}

async fn connect(context: Option<&str>) -> anyhow::Result<(Client, String, String)> {
    const ADVICE: &str = "cannot tell which cluster is meant: set KUBECONFIG, or choose a context with --context";
    let mut config = match context {
        None => Config::infer().await.map_err(|error| anyhow!("{ADVICE}: {error}"))?,
        Some(name) => {
            let kubeconfig = Kubeconfig::read().map_err(|error| anyhow!("{ADVICE}: {error}"))?;
            let options = KubeConfigOptions { context: Some(name.to_owned()), ..Default::default() };
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            config.with_context(|| format!("cannot use the context {name:?} of the kubeconfig"))?
        }
    };
    config.connect_timeout = Some(TIMEOUT);
    config.read_timeout = Some(TIMEOUT);
    let namespace = config.default_namespace.clone();
    let server = config.cluster_url.to_string();
    let client =
        Client::try_from(config).map_err(|error| anyhow!("cannot use the configuration for {server}: {error}"))?;
    Ok((client, namespace, server))
}

/// What went wrong, for people: what the API server has said, or else every cause.
pub(crate) fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => with_causes(error),
    }
}
