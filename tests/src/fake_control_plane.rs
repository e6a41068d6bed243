//! A control plane that says what a test tells it to.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
};

use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};
use wasmesh_core::{
    checksum::{Checksums, HeldVersions},
    name::ServiceName,
    policy::ModuleDigest,
};
use wasmesh_proto::{
    PROTOCOL, convert,
    wire::{
        self,
        discovery_server::{Discovery, DiscoveryServer},
        from_proxy::Message as FromProxy,
        to_proxy::Message as ToProxy,
    },
};

use crate::{PATIENCE, fresh_ip, runtime::runtime};

/// What the control plane fills a chunk with.
const CHUNK_BYTES: usize = 64 << 10;

/// A real gRPC server without a mind of its own.
pub struct FakeControlPlane {
    address: SocketAddr,
    streams: mpsc::Receiver<FakeStream>,
    modules: Modules,
    server: JoinHandle<()>,
}

/// What is answered to whoever asks for a module: by its digest, the chunks and how it ends.
type Modules = Arc<Mutex<HashMap<ModuleDigest, Vec<Result<wire::ModuleChunk, Status>>>>>;

/// The control plane's end of one stream, with the proxy's Hello.
pub struct FakeStream {
    /// How the proxy opened the stream.
    pub hello: wire::Hello,
    outbox: tokio::sync::mpsc::Sender<Result<wire::ToProxy, Status>>,
    inbox: mpsc::Receiver<FromProxy>,
    /// What the proxy should hold.
    held: BTreeMap<ServiceName, HeldVersions>,
    nonce: u64,
}

struct Service {
    streams: Mutex<mpsc::Sender<FakeStream>>,
    modules: Modules,
}

impl FakeControlPlane {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot.
    pub fn start() -> Self {
        let (opened, streams) = mpsc::channel();
        let listener = runtime().block_on(tokio::net::TcpListener::bind((fresh_ip(), 0))).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let modules = Modules::default();
        let service = Service { streams: Mutex::new(opened), modules: Arc::clone(&modules) };
        let service = DiscoveryServer::new(service);
        let server = runtime().spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Self { address, streams, modules, server }
    }

    /// The URL for proxies.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves a module from now on, and tells its digest.
    pub fn serve_module(&self, bytes: &[u8]) -> ModuleDigest {
        let digest = ModuleDigest(Sha256::digest(bytes).into());
        let total = bytes.len() as u64;
        let chunks = bytes.chunks(CHUNK_BYTES).enumerate().map(|(index, data)| {
            let total = if index == 0 { total } else { 0 };
            Ok(wire::ModuleChunk { data: data.to_vec().into(), total })
        });
        self.answer_module(digest, chunks.collect());
        digest
    }

    /// Answers whoever asks for this module with these chunks from now on, whatever they are.
    ///
    /// # Panics
    /// When the test has panicked already.
    pub fn answer_module(&self, digest: ModuleDigest, chunks: Vec<Result<wire::ModuleChunk, Status>>) {
        self.modules.lock().expect("a test that has not failed yet").insert(digest, chunks);
    }

    /// The next stream that a proxy opens, after its Hello.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn accept(&self) -> FakeStream {
        self.streams.recv_timeout(PATIENCE).expect("a proxy that opens a stream")
    }
}

impl Drop for FakeControlPlane {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[tonic::async_trait]
impl Discovery for Service {
    type StreamStream = ReceiverStream<Result<wire::ToProxy, Status>>;
    type ModuleStream = tokio_stream::Iter<std::vec::IntoIter<Result<wire::ModuleChunk, Status>>>;

    async fn stream(
        &self,
        request: Request<Streaming<wire::FromProxy>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (outbox, messages) = tokio::sync::mpsc::channel(1024);
        let (received, inbox) = mpsc::channel();
        let streams = self.streams.lock().map_err(|_| Status::internal("the test has panicked"))?.clone();
        let mut from_proxy = request.into_inner();
        tokio::spawn(async move {
            let Ok(Some(wire::FromProxy { message: Some(FromProxy::Hello(hello)) })) = from_proxy.message().await
            else {
                return;
            };
            let _ = streams.send(FakeStream { hello, outbox, inbox, held: BTreeMap::new(), nonce: 0 });
            while let Ok(Some(message)) = from_proxy.message().await {
                if received.send(message.message.expect("a message of a known kind")).is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn module(&self, request: Request<wire::ModuleRequest>) -> Result<Response<Self::ModuleStream>, Status> {
        let digest = convert::digest_from_wire(&request.into_inner().module)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let modules = self.modules.lock().map_err(|_| Status::internal("the test has panicked"))?;
        let Some(chunks) = modules.get(&digest) else {
            return Err(Status::not_found("the fake has no such module"));
        };
        Ok(Response::new(tokio_stream::iter(chunks.clone())))
    }
}

impl FakeStream {
    /// Sends a message.
    pub fn send(&self, message: ToProxy) {
        // The proxy may be gone; then the test fails where it expects something from it.
        let _ = self.outbox.blocking_send(Ok(wire::ToProxy { message: Some(message) }));
    }

    /// Sends a message without content, as a newer revision might.
    pub fn send_unknown(&self) {
        let _ = self.outbox.blocking_send(Ok(wire::ToProxy { message: None }));
    }

    /// Says Welcome.
    pub fn welcome(&self) {
        self.send(ToProxy::Welcome(wire::Welcome { protocol: PROTOCOL, control_plane: "fake".to_owned(), node: None }));
    }

    /// Ends the stream with a status.
    pub fn end(self, status: Status) {
        let _ = self.outbox.blocking_send(Err(status));
    }

    /// What comes next from the proxy. Questions whose an address is come when they like, and are passed over.
    ///
    /// # Panics
    /// When nothing comes.
    #[track_caller]
    pub fn receive(&self) -> FromProxy {
        loop {
            match self.inbox.recv_timeout(PATIENCE).expect("a message from the proxy") {
                FromProxy::OwnersRequest(_) => {}
                message => return message,
            }
        }
    }

    /// The addresses of the proxy's next question whose they are; it must come before anything else.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect_owners_request(&self) -> Vec<SocketAddr> {
        match self.inbox.recv_timeout(PATIENCE).expect("a message from the proxy") {
            FromProxy::OwnersRequest(request) => {
                let addresses = request.addresses.iter().map(convert::address_from_wire);
                addresses.collect::<Result<_, _>>().expect("addresses")
            }
            other => panic!("an OwnersRequest expected, got {other:?}"),
        }
    }

    /// Says whose addresses are.
    pub fn tell_owners(&self, owners: &[(SocketAddr, &[&str])]) {
        let told = owners.iter().map(|(address, services)| wire::AddressOwners {
            address: Some(convert::address_to_wire(*address)),
            services: services.iter().map(|name| (*name).to_owned()).collect(),
        });
        self.send(ToProxy::Owners(wire::Owners { addresses: told.collect() }));
    }

    /// What has come and was not looked at.
    pub fn pending(&self) -> Vec<FromProxy> {
        self.inbox.try_iter().collect()
    }

    /// The proxy's next acknowledgement; it must come before anything else.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect_ack(&self) -> wire::Ack {
        match self.receive() {
            FromProxy::Ack(ack) => ack,
            other => panic!("an Ack expected, got {other:?}"),
        }
    }

    /// The proxy's next subscription; it must come before anything else.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect_subscribe(&self) -> wire::Subscribe {
        match self.receive() {
            FromProxy::Subscribe(subscribe) => subscribe,
            other => panic!("a Subscribe expected, got {other:?}"),
        }
    }

    /// An update with a new nonce and the checksum that follows if all of it is applied. Not sent yet.
    pub fn draft(&mut self, items: Vec<wire::Item>, removed: &[&str]) -> wire::Update {
        self.nonce += 1;
        for name in removed.iter().filter_map(|name| name.parse::<ServiceName>().ok()) {
            self.held.remove(&name);
        }
        for item in &items {
            if let Ok(name) = item.name.parse() {
                self.held.insert(name, convert::held_versions(item.entry_version, item.endpoints_version));
            }
        }
        let removed = removed.iter().map(|name| (*name).to_owned()).collect();
        wire::Update { nonce: self.nonce, items, removed, checksum: self.checksum(), ..Default::default() }
    }

    /// Sends an update and returns how it was acknowledged.
    #[track_caller]
    pub fn update(&mut self, items: Vec<wire::Item>, removed: &[&str]) -> wire::Ack {
        let update = self.draft(items, removed);
        let nonce = update.nonce;
        self.send(ToProxy::Update(update));
        let ack = self.expect_ack();
        assert_eq!(ack.nonce, nonce, "the acknowledgement names another update");
        ack
    }

    /// The sum over all that the proxy should hold.
    pub fn checksum(&self) -> u64 {
        let mut sums = Checksums::default();
        self.held.iter().for_each(|(name, held)| sums.add(name, held));
        sums.total()
    }
}
