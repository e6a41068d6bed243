//! The clients of the demo: streams of requests, calls or connections through the sidecar, one after the other for each
//! client.

mod grpc;
mod http;
mod tcp;
mod tunnel;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{protocol::Protocol, tally::Recorder};

/// Between an answer and the next request: the stream is to show the mesh at work, not this machine at its limit.
const PAUSE: Duration = Duration::from_millis(2);

/// A client that waits longer for an answer counts an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// After an error: a mesh that is down is not asked in a tight loop.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// One client.
trait Client: Send + 'static {
    /// Asks once, in whatever way, and says which backend has answered.
    fn ask(&mut self) -> impl Future<Output = anyhow::Result<SocketAddr>> + Send;

    /// Whether it asks for the next version.
    fn is_tester(&self) -> bool {
        false
    }
}

/// How many requests are under way at a time.
pub(super) fn at_a_time(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Http => http::CLIENTS,
        Protocol::Grpc => grpc::CALLS,
        Protocol::Tcp => tcp::CLIENTS,
    }
}

/// The running clients.
pub(super) struct Load {
    clients: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Starts the clients. Call it inside a runtime.
    pub(super) fn start(protocol: Protocol, proxy: SocketAddr, recorder: &Arc<Recorder>) -> Self {
        let mut load = Self { clients: JoinSet::new(), stop: watch::Sender::new(false) };
        match protocol {
            Protocol::Http => http::clients(proxy).for_each(|client| load.add(client, recorder)),
            Protocol::Grpc => grpc::clients(proxy).for_each(|client| load.add(client, recorder)),
            Protocol::Tcp => tcp::clients(proxy).for_each(|client| load.add(client, recorder)),
        }
        load
    }

    fn add(&mut self, client: impl Client, recorder: &Arc<Recorder>) {
        self.clients.spawn(run(client, Arc::clone(recorder), self.stop.subscribe()));
    }

    /// Lets every client finish what it has begun.
    pub(super) async fn finish(mut self) {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
    }
}

async fn run(mut client: impl Client, recorder: Arc<Recorder>, stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        let Some(part) = recorder.sent() else { break };
        let outcome = match timeout(PATIENCE, client.ask()).await {
            Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        let pause = if outcome.is_ok() { PAUSE } else { AFTER_ERROR };
        recorder.ended(part, client.is_tester(), outcome);
        sleep(pause).await;
    }
}
