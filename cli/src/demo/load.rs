//! The clients of the demo: a stream of requests on connections that are kept, through the sidecar's HTTP proxy.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{backends::BACKEND_HEADER, tally::Recorder};

/// How many clients there are; each has one connection and sends one request after the other.
pub(super) const CLIENTS: usize = 8;

/// Every form of the Service's name; clients take turns with them.
const TARGETS: [&str; 4] = [
    "http://podinfo.default/",
    "http://podinfo/",
    "http://podinfo.default.svc/",
    "http://podinfo.default.svc.cluster.local/",
];

/// Between an answer and the next request: the stream is to show the mesh at work, not this machine at its limit.
const PAUSE: Duration = Duration::from_millis(2);

/// A client that waits longer for an answer counts an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// After an error: a mesh that is down is not asked in a tight loop.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// The running clients.
pub(super) struct Load {
    clients: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Starts the clients. Call it inside a runtime.
    pub(super) fn start(proxy: SocketAddr, recorder: &Arc<Recorder>) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let target = TARGETS[number % TARGETS.len()];
            let client = Client { proxy, target, connection: None };
            clients.spawn(client.run(Arc::clone(recorder), stopping.clone()));
        }
        Self { clients, stop }
    }

    /// Lets every client finish its request.
    pub(super) async fn finish(mut self) {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
    }
}

struct Client {
    proxy: SocketAddr,
    target: &'static str,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Client {
    async fn run(mut self, recorder: Arc<Recorder>, stopping: watch::Receiver<bool>) {
        while !*stopping.borrow() {
            let Some(part) = recorder.sent() else { break };
            let outcome = match timeout(PATIENCE, self.request()).await {
                Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            };
            let pause = if outcome.is_ok() { PAUSE } else { AFTER_ERROR };
            recorder.ended(part, outcome);
            sleep(pause).await;
        }
    }

    /// Sends one request and says which backend has answered. A connection survives only a request that went well.
    async fn request(&mut self) -> anyhow::Result<SocketAddr> {
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        connection.ready().await.context("the sidecar has closed a connection that was to be kept")?;
        let host = self.target.trim_start_matches("http://").trim_end_matches('/');
        let request = Request::get(self.target).header(header::HOST, host).body(Empty::new())?;
        let response = connection.send_request(request).await.context("the connection broke before the answer")?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the connection broke in the answer")?.to_bytes();
        let text = || String::from_utf8_lossy(&body).trim().to_owned();
        ensure!(head.status == 200, "status {}: {}", head.status, text());
        let backend = head.headers.get(BACKEND_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let backend = backend.ok_or_else(|| anyhow!("an answer that no backend of the demo has given: {}", text()))?;
        if text() != format!("hello from {backend}") {
            bail!("the answer of {backend} came garbled: {:?}", text());
        }
        let closes = head.headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes() == b"close");
        self.connection = (!closes).then_some(connection);
        Ok(backend)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.proxy).await.context("cannot connect to the sidecar")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its errors reach the request that suffers them.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}
