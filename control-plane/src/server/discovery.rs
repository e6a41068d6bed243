//! The gRPC face of the discovery service.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::server::TlsConnectInfo};
use wasmesh_proto::{convert, wire, wire::discovery_server};

use super::{
    called::Called,
    downloads::{Chunks, Downloads},
    shared::Shared,
    stream::Stream,
    tls::Caller,
};
use crate::{
    connections::Call,
    events,
    identity::{Identity, KNOWN_WITHIN},
    pace::Pace,
};

/// Messages made but not yet taken by the connection. More would only be memory: an update is made when the last one
/// has been acknowledged.
const OUTBOX: usize = 4;

/// How long a new stream may be kept waiting for its turn before it is told to come back later.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a proxy waits for its stream to be opened; then it gives up, and all that was done for it was in vain.
const OPENED_WITHIN: Duration = Duration::from_secs(15);

const _: () = assert!(KNOWN_WITHIN.as_millis() + PATIENCE.as_millis() < OPENED_WITHIN.as_millis());

/// Serves the streams of all proxies.
pub struct Discovery {
    shared: Arc<Shared>,
    admission: Mutex<Pace>,
    downloads: Downloads,
    started: Instant,
}

impl Discovery {
    /// A service that admits so many streams per second.
    pub fn new(shared: Shared, streams_per_second: u32) -> Self {
        Self {
            shared: Arc::new(shared),
            admission: Mutex::new(Pace::new(streams_per_second, streams_per_second)),
            downloads: Downloads::default(),
            started: Instant::now(),
        }
    }

    /// Who calls, and what keeps the place of their connection for this call, where connections are counted.
    async fn identify<T>(&self, request: &Request<T>) -> Result<(Identity, Option<Call>), Status> {
        let caller = request.extensions().get::<TlsConnectInfo<Caller>>().map(TlsConnectInfo::get_ref);
        let from = caller.map_or_else(|| request.remote_addr(), |caller| caller.from);
        let identity = self.shared.authenticator.identify(request.metadata(), from).await?;
        let too_many = || Status::unavailable("too many connections, try again later");
        let call = caller.map(|caller| caller.seat.begin().ok_or_else(too_many)).transpose()?;
        Ok((identity, call))
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
    type StreamStream = Called<ReceiverStream<Result<wire::ToProxy, Status>>>;
    type ModuleStream = Called<Chunks>;

    async fn stream(
        &self,
        request: Request<Streaming<wire::FromProxy>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        // First: who may not come in takes nobody's turn. What that costs the API server is bounded by address and in all
        // (`identity::TokenChecker`), and whoever has to come again because it is not their turn is known by then.
        let (identity, call) = self.identify(&request).await?;
        self.admit().await?;
        let (outbox, messages) = mpsc::channel(OUTBOX);
        tokio::spawn(Stream::new(Arc::clone(&self.shared), identity, request.into_inner(), outbox).run());
        Ok(Response::new(Called::new(ReceiverStream::new(messages), call)))
    }

    async fn module(&self, request: Request<wire::ModuleRequest>) -> Result<Response<Self::ModuleStream>, Status> {
        let (_, call) = self.identify(&request).await?;
        let digest = convert::digest_from_wire(&request.into_inner().module)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Some(bytes) = self.shared.modules.get(&digest) else {
            events::module_unknown(&digest);
            return Err(Status::not_found(format!("no policy names module {digest}, or none does any more")));
        };
        let chunks = self.downloads.begin(digest, bytes).await?;
        Ok(Response::new(Called::new(chunks, call)))
    }
}
