//! The way of the API server to Services, webhooks above all. In a cluster kube-proxy makes it; here the API server asks this
//! HTTP proxy to connect it with a ClusterIP, and the test has said who listens for that.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
    task::JoinHandle,
};

use super::ground::Ground;
use crate::runtime;

/// `CLUSTERIP:PORT`, as the API server asks for it, to where it really leads.
type Known = Arc<Mutex<HashMap<String, SocketAddr>>>;

/// Who answers for Services.
pub(super) struct Ways {
    /// The configuration that the API server reads.
    pub(super) config: PathBuf,
    known: Known,
    accepting: JoinHandle<()>,
}

impl Ways {
    /// # Panics
    /// When it cannot listen.
    pub(super) fn new(ground: &Ground) -> Self {
        let socket = ground.path("ways.sock");
        let config = json!({
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{
                "name": "cluster",
                "connection": { "proxyProtocol": "HTTPConnect", "transport": { "uds": { "udsName": socket } } },
            }],
        });
        let config = ground.write("ways.json", &config.to_string());
        let known = Known::default();
        let _inside = runtime().enter();
        let listener = UnixListener::bind(socket).expect("a socket");
        let accepting = runtime().spawn(accept(listener, Arc::clone(&known)));
        Self { config, known, accepting }
    }

    /// From now on `service` (`CLUSTERIP:PORT`) is reached at `address`.
    pub(super) fn lead(&self, service: String, address: SocketAddr) {
        self.known.lock().expect("no panic while it is locked").insert(service, address);
    }
}

impl Drop for Ways {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, known: Known) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(lead(client, Arc::clone(&known)));
    }
}

async fn lead(mut client: UnixStream, known: Known) {
    let mut head = Vec::new();
    // Byte by byte: what follows the head is not ours.
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let asked = head.split(' ').nth(1).unwrap_or_default();
    let address = known.lock().expect("no panic while it is locked").get(asked).copied();
    let server = match address {
        Some(address) => TcpStream::connect(address).await.ok(),
        None => None,
    };
    let Some(mut server) = server else {
        let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
        return;
    };
    if client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
