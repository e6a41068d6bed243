//! A proxy that says what a test tells it to.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use wasmesh_proto::{
    PROTOCOL,
    session::client::{ClientSession, Reaction},
    wire::{self, discovery_client::DiscoveryClient, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};

use crate::{PATIENCE, runtime::runtime};

/// A real gRPC client without a mind of its own.
pub struct FakeProxy {
    client: DiscoveryClient<Channel>,
    outbox: mpsc::Sender<wire::FromProxy>,
    inbox: Streaming<wire::ToProxy>,
    /// What came while nothing was expected.
    early: Option<Result<Option<wire::ToProxy>, Status>>,
    /// How many proxies each Service has, as it was told last.
    peers: HashMap<String, u32>,
}

/// A Hello of a proxy of this name that holds nothing.
pub fn hello(name: &str, subscriptions: &[&str]) -> wire::Hello {
    wire::Hello {
        protocol: PROTOCOL,
        node: Some(wire::Node { proxy: name.to_owned(), ..Default::default() }),
        subscriptions: subscriptions.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

impl FakeProxy {
    /// Opens a stream; says nothing on it.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[track_caller]
    pub fn connect(control_plane: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{control_plane}")).expect("a URL");
        Self::over(endpoint, "").expect("a stream")
    }

    /// Opens a stream over whatever the endpoint says, and shows this token if there is one.
    ///
    /// # Errors
    /// The status with which the control plane refuses.
    ///
    /// # Panics
    /// When there is no connection.
    #[track_caller]
    pub fn over(endpoint: Endpoint, token: &str) -> Result<Self, Status> {
        let (outbox, messages) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(messages));
        if !token.is_empty() {
            let bearer = format!("Bearer {token}").parse().expect("a token that fits into a header");
            request.metadata_mut().insert("authorization", bearer);
        }
        let (client, inbox) = runtime().block_on(async {
            let mut client = DiscoveryClient::new(endpoint.connect().await.expect("a control plane"));
            let inbox = client.stream(request).await?.into_inner();
            Ok::<_, Status>((client, inbox))
        })?;
        Ok(Self { client, outbox, inbox, early: None, peers: HashMap::new() })
    }

    /// Fetches a module, chunk by chunk.
    ///
    /// # Errors
    /// The status with which the control plane refuses.
    pub fn module(&self, digest: &[u8]) -> Result<Vec<wire::ModuleChunk>, Status> {
        let (mut client, request) = (self.client.clone(), wire::ModuleRequest { module: digest.to_vec() });
        runtime().block_on(async {
            let mut answer = client.module(request).await?.into_inner();
            let mut chunks = Vec::new();
            while let Some(chunk) = answer.message().await? {
                chunks.push(chunk);
            }
            Ok(chunks)
        })
    }

    /// Opens a stream with this Hello, or hears why not.
    ///
    /// # Errors
    /// The status with which the control plane refuses.
    pub fn try_open(control_plane: SocketAddr, hello: wire::Hello) -> Result<(), Status> {
        let hello = wire::FromProxy { message: Some(FromProxy::Hello(hello)) };
        runtime().block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{control_plane}")).expect("a URL");
            let mut client = DiscoveryClient::new(endpoint.connect().await.expect("a control plane"));
            let mut inbox = client.stream(tokio_stream::iter([hello])).await?.into_inner();
            inbox.message().await.map(|_| ())
        })
    }

    /// Fetches a module without a stream.
    ///
    /// # Errors
    /// The status with which the control plane refuses.
    pub fn try_module(control_plane: SocketAddr, digest: &[u8]) -> Result<(), Status> {
        let request = wire::ModuleRequest { module: digest.to_vec() };
        runtime().block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{control_plane}")).expect("a URL");
            let mut client = DiscoveryClient::new(endpoint.connect().await.expect("a control plane"));
            client.module(request).await.map(|_| ())
        })
    }

    /// Opens a stream and says this Hello.
    #[track_caller]
    pub fn open(control_plane: SocketAddr, hello: wire::Hello) -> Self {
        let proxy = Self::connect(control_plane);
        proxy.send(FromProxy::Hello(hello));
        proxy
    }

    /// Ends the stream and keeps the connection, as long as what is returned lives.
    #[must_use]
    pub fn hang_up(self) -> impl Sized {
        self.client
    }

    /// Sends a message.
    pub fn send(&self, message: FromProxy) {
        self.send_raw(wire::FromProxy { message: Some(message) });
    }

    /// Sends a message that may have no content.
    pub fn send_raw(&self, message: wire::FromProxy) {
        // The stream may have ended; then the test sees its status.
        let _ = self.outbox.blocking_send(message);
    }

    /// Sends a message if there is room for it.
    pub fn try_send(&self, message: FromProxy) -> bool {
        self.outbox.try_send(wire::FromProxy { message: Some(message) }).is_ok()
    }

    /// What comes next, or how the stream ended. Word of peers may come at any time: it is taken in by the way.
    ///
    /// # Errors
    /// When the control plane has ended the stream.
    ///
    /// # Panics
    /// When nothing comes.
    #[track_caller]
    pub fn receive(&mut self) -> Result<ToProxy, Status> {
        let message = self.next(PATIENCE).expect("a message from the control plane");
        match message? {
            Some(message) => Ok(message.message.expect("a message of a known kind")),
            None => Err(Status::ok("closed")),
        }
    }

    /// Whether nothing comes for a while. For what must never come: it cannot be waited for. What comes is kept.
    pub fn is_quiet(&mut self) -> bool {
        self.early = self.next(Duration::from_millis(100));
        self.early.is_none()
    }

    /// How many proxies balance over the endpoints of a Service, once that has been told. What else comes is kept.
    pub fn peers(&mut self, service: &str) -> Option<u32> {
        self.early = self.next(Duration::from_millis(1));
        self.peers.get(service).copied()
    }

    /// The next message but word of peers, if one comes in time.
    fn next(&mut self, patience: Duration) -> Option<Result<Option<wire::ToProxy>, Status>> {
        if let Some(early) = self.early.take() {
            return Some(early);
        }
        let deadline = Instant::now() + patience;
        loop {
            let message = runtime().block_on(async { timeout_at(deadline, self.inbox.message()).await }).ok()?;
            match message {
                Ok(Some(wire::ToProxy { message: Some(ToProxy::Peers(peers)) })) => {
                    let told = peers.services.into_iter().map(|service| (service.service, service.count));
                    self.peers.extend(told);
                }
                other => return Some(other),
            }
        }
    }

    /// The status with which the control plane ends the stream, whatever comes before.
    #[track_caller]
    pub fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.receive() {
                return status;
            }
        }
    }

    /// The Welcome; it must come next.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect_welcome(&mut self) -> wire::Welcome {
        match self.receive() {
            Ok(ToProxy::Welcome(welcome)) => welcome,
            other => panic!("a Welcome expected, got {other:?}"),
        }
    }

    /// An update, put together from its parts; it must come next.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn expect_update(&mut self) -> wire::Update {
        let mut whole = wire::Update::default();
        loop {
            match self.receive() {
                Ok(ToProxy::Update(part)) => {
                    whole.nonce = part.nonce;
                    whole.items.extend(part.items);
                    whole.removed.extend(part.removed);
                    whole.absent.extend(part.absent);
                    whole.checksum = part.checksum;
                    if !part.more {
                        return whole;
                    }
                }
                other => panic!("an Update expected, got {other:?}"),
            }
        }
    }

    /// Acknowledges an update as applied.
    pub fn ack(&self, update: &wire::Update) {
        self.send(FromProxy::Ack(wire::Ack { nonce: update.nonce, rejected: Vec::new(), checksum: update.checksum }));
    }

    /// Does with the next message what a proxy would do.
    #[track_caller]
    pub fn step(&mut self, session: &mut ClientSession) -> Result<Reaction, Status> {
        let message = self.receive()?;
        let mut reaction = session
            .on_message(wire::ToProxy { message: Some(message) })
            .unwrap_or_else(|error| panic!("the control plane breaks the protocol: {error}"));
        reaction.replies.drain(..).for_each(|reply| self.send_raw(reply));
        Ok(reaction)
    }

    /// Says Hello for a session that may hold something already, and plays the proxy until it has everything. Returns how many
    /// items that took.
    ///
    /// # Panics
    /// When the control plane breaks the protocol, or what it sends does not lead where it says.
    #[track_caller]
    pub fn catch_up(&mut self, session: &mut ClientSession, name: &str) -> usize {
        self.send_raw(session.hello(wire::Node { proxy: name.to_owned(), ..Default::default() }));
        let mut items = 0;
        loop {
            let message = self.receive().unwrap_or_else(|status| panic!("the stream has ended: {status}"));
            if let ToProxy::Update(update) = &message {
                items += update.items.len() + update.removed.len();
            }
            let reaction = session
                .on_message(wire::ToProxy { message: Some(message) })
                .unwrap_or_else(|error| panic!("the control plane breaks the protocol: {error}"));
            reaction.replies.into_iter().for_each(|reply| self.send_raw(reply));
            if let Some(applied) = reaction.applied {
                assert!(!applied.diverged && applied.rejected.is_empty(), "{:?}", applied.rejected);
                return items;
            }
        }
    }
}
