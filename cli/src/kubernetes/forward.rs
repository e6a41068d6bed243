//! Ports of pods, brought to this machine: `kubectl port-forward` without kubectl.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::net::{TcpListener, TcpStream};

use super::{Cluster, explain};
use crate::admin::AdminAddr;

/// A port of a pod for as long as the [`Cluster`] is there.
pub(crate) struct Forward {
    /// Where it is on this machine.
    pub(crate) addr: AdminAddr,
}

impl Cluster {
    /// Brings a port of a pod here. Connections to it arrive in the pod as if they came from inside.
    pub(crate) fn forward(&self, namespace: &str, pod: &str, port: u16) -> anyhow::Result<Forward> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        self.wait(async {
            // What does not work at all is better said now than as a connection that breaks.
            let trial = pods.portforward(pod, &[port]).await;
            trial
                .map_err(|error| anyhow!("cannot forward port {port} of pod {namespace}/{pod}: {}", explain(&error)))?
                .abort();
            let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
            let listener = listener.context("cannot listen on 127.0.0.1 to forward a port")?;
            let addr = AdminAddr::from(listener.local_addr()?);
            tokio::spawn(accept(listener, pods, pod.to_owned(), port));
            Ok(Forward { addr })
        })
    }
}

async fn accept(listener: TcpListener, pods: Api<Pod>, pod: String, port: u16) {
    while let Ok((stream, _)) = listener.accept().await {
        let (pods, pod) = (pods.clone(), pod.clone());
        tokio::spawn(async move {
            if let Err(error) = carry(stream, &pods, &pod, port).await {
                eprintln!("wasmesh: port {port} of pod {pod}: {error:#}");
            }
        });
    }
}

/// Carries one connection. A failure is said here, because whoever has made the connection only sees it end.
async fn carry(mut stream: TcpStream, pods: &Api<Pod>, pod: &str, port: u16) -> anyhow::Result<()> {
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(|error| anyhow!("{}", explain(&error)))?;
    let refused = forwarder.take_error(port);
    let mut there = forwarder.take_stream(port).context("the API server forwards another port")?;
    tokio::io::copy_bidirectional(&mut stream, &mut there).await.context("the connection has broken")?;
    drop(there);
    if let Some(refused) = refused
        && let Some(why) = refused.await
    {
        return Err(anyhow!("{}", why.trim()));
    }
    Ok(())
}
