//! The gRPC face of the discovery service.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wasmesh_proto::{convert, session::encoder::Encoder, wire, wire::discovery_server};
use wasmesh_telemetry::Metrics;

use super::{
    admission::Admission,
    downloads::{Chunks, Downloads},
    shared::Shared,
    stream::Stream,
    streams::Streams,
};
use crate::{
    events,
    policies::{modules::Modules, trials::Trials},
    published::Latest,
};

/// Messages made but not yet taken by the connection. More would only be memory: an update is made when the last one
/// has been acknowledged.
const OUTBOX: usize = 4;

/// How long a new stream may be kept waiting for its turn before it is told to come back later.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves the streams of all proxies.
pub struct Discovery {
    shared: Arc<Shared>,
    admission: Mutex<Admission>,
    downloads: Downloads,
    started: Instant,
}

impl Discovery {
    /// A service that serves `latest` and the modules that it names, counts the faults of trials, and admits `streams_per_second`. `name` tells replicas apart in logs.
    pub fn new(
        name: String,
        latest: Latest,
        (modules, trials): (Modules, Trials),
        streams: Streams,
        metrics: Metrics,
        stopping: watch::Receiver<bool>,
        streams_per_second: u32,
    ) -> Self {
        let shared = Shared { name, latest, modules, trials, encoder: Encoder::default(), streams, metrics, stopping };
        Self {
            shared: Arc::new(shared),
            admission: Mutex::new(Admission::new(streams_per_second, streams_per_second)),
            downloads: Downloads::default(),
            started: Instant::now(),
        }
    }

    async fn admit(&self) -> Result<(), Status> {
        let now = self.started.elapsed();
        let wait = self.admission.lock().unwrap_or_else(PoisonError::into_inner).admit(now, PATIENCE);
        match wait {
            Some(wait) if wait.is_zero() => Ok(()),
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(())
            }
            None => {
                events::stream_ended("", "overload", "too many proxies connect at once; it will come again");
                Err(Status::unavailable("too many proxies connect at once, try again later"))
            }
        }
    }
}

#[tonic::async_trait]
impl discovery_server::Discovery for Discovery {
    type StreamStream = ReceiverStream<Result<wire::ToProxy, Status>>;
    type ModuleStream = Chunks;

    async fn stream(
        &self,
        request: Request<Streaming<wire::FromProxy>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        self.admit().await?;
        let (outbox, messages) = mpsc::channel(OUTBOX);
        tokio::spawn(Stream::new(Arc::clone(&self.shared), request.into_inner(), outbox).run());
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn module(&self, request: Request<wire::ModuleRequest>) -> Result<Response<Self::ModuleStream>, Status> {
        let digest = convert::digest_from_wire(&request.into_inner().module)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Some(bytes) = self.shared.modules.get(&digest) else {
            events::module_unknown(&digest);
            return Err(Status::not_found(format!("no policy names module {digest}, or none does any more")));
        };
        self.downloads.begin(digest, bytes).await.map(Response::new)
    }
}
