//! A backend of HTTP/2 whose every frame a test may decide.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{Builder, SendResponse},
};
use hyper::{HeaderMap, Request, Response, StatusCode, header::HeaderValue};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{fresh_ip, runtime::runtime};

/// An HTTP/2 server (prior knowledge) on an address of its own. Every answer has a `backend` field with that address.
///
/// * `/echo` sends the request's body back, and its trailers;
/// * `/bytes/N` sends N bytes;
/// * `/reset/CODE` resets the stream; `/midway/CODE` after the head and some bytes;
/// * everything else is answered with the address.
pub struct Http2Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// How a backend behaves.
#[derive(Clone)]
pub struct Http2Options {
    /// Windows, limits and so on.
    pub settings: Builder,
    /// How long it takes to say anything on a new connection.
    pub late: Duration,
    /// Whether it says nothing before its client has; most servers send their settings at once.
    pub waits: bool,
    /// What is done with a request; otherwise it is answered by its path.
    pub script: Option<Script>,
}

type Script = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A request that a backend got.
pub struct Call {
    /// The request.
    pub request: Request<RecvStream>,
    /// How to answer it.
    pub respond: SendResponse<Bytes>,
    /// On which connection, counted from 0.
    pub connection: usize,
    /// Which request to this backend it is, counted from 0.
    pub number: usize,
    /// To whom.
    pub backend: SocketAddr,
    under_way: UnderWay,
}

/// Counts a request while a backend works on it. Over before its last frame is sent: whoever has that may send the next
/// request, and it may be here before the task that answered has come to its end.
struct UnderWay {
    on_connection: Arc<AtomicUsize>,
}

impl UnderWay {
    fn new(on_connection: &Arc<AtomicUsize>, shared: &Shared) -> Self {
        let now = on_connection.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_on_one_connection.fetch_max(now, Ordering::SeqCst);
        Self { on_connection: Arc::clone(on_connection) }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.on_connection.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Shared {
    options: Http2Options,
    address: SocketAddr,
    connections: AtomicUsize,
    requests: AtomicUsize,
    most_on_one_connection: AtomicUsize,
    /// How often connections were asked to end.
    goaways: watch::Sender<usize>,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self { settings: Builder::new(), late: Duration::ZERO, waits: false, script: None }
    }
}

impl Http2Options {
    /// Allows so many streams at once on each connection.
    #[must_use]
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.settings.max_concurrent_streams(streams);
        self
    }

    /// Does this with each request.
    #[must_use]
    pub fn script<F: Future<Output = ()> + Send + 'static>(
        mut self,
        script: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        self.script = Some(Arc::new(move |call| Box::pin(script(call))));
        self
    }
}

impl Http2Backend {
    /// Starts one.
    pub fn start() -> Self {
        Self::with(Http2Options::default())
    }

    /// Starts some.
    pub fn several<const N: usize>() -> [Self; N] {
        std::array::from_fn(|_| Self::start())
    }

    /// Starts one that behaves so.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn with(options: Http2Options) -> Self {
        let listener = runtime().block_on(TcpListener::bind((fresh_ip(), 0))).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            options,
            address,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            most_on_one_connection: AtomicUsize::new(0),
            goaways: watch::Sender::new(0),
        });
        let accepting = runtime().spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many requests it got.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many it was working on at once on one connection, at most.
    pub fn most_on_one_connection(&self) -> usize {
        self.shared.most_on_one_connection.load(Ordering::SeqCst)
    }

    /// Ends all connections as a graceful restart does: no new streams, the present ones to their end.
    pub fn go_away(&self) {
        self.shared.goaways.send_modify(|count| *count += 1);
    }
}

impl Drop for Http2Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(Arc::clone(&shared), stream));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
    let mut goaways = shared.goaways.subscribe();
    goaways.mark_unchanged();
    let _ = stream.set_nodelay(true);
    tokio::time::sleep(shared.options.late).await;
    if shared.options.waits {
        let _ = stream.readable().await;
    }
    let Ok(mut connection) = shared.options.settings.handshake(stream).await else { return };
    let here = Arc::new(AtomicUsize::new(0));
    loop {
        let next = tokio::select! {
            next = connection.accept() => next,
            Ok(()) = goaways.changed() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = next else { return };
        let call = Call {
            request,
            respond,
            connection: number,
            number: shared.requests.fetch_add(1, Ordering::SeqCst),
            backend: shared.address,
            under_way: UnderWay::new(&here, &shared),
        };
        let script = shared.options.script.clone();
        tokio::spawn(async move {
            match script {
                Some(script) => script(call).await,
                None => call.answer().await,
            }
        });
    }
}

impl Call {
    /// Answers by the path. A client that goes away is nobody's concern here.
    pub async fn answer(self) {
        let path = self.request.uri().path().to_owned();
        let after = |prefix: &str| path.strip_prefix(prefix).and_then(|number| number.parse::<u32>().ok());
        let _ = if path == "/echo" {
            self.echo().await
        } else if let Some(length) = after("/bytes/") {
            self.send(Bytes::from(vec![b'x'; length as usize]))
        } else if let Some(code) = after("/reset/") {
            self.reset(code)
        } else if let Some(code) = after("/midway/") {
            self.break_off(code).await
        } else {
            let text = format!("{}\n", self.backend);
            self.send(text.into())
        };
    }

    /// Answers with a status.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn status(mut self, status: StatusCode) -> Result<(), h2::Error> {
        let mut head = self.head();
        *head.status_mut() = status;
        drop(self.under_way);
        self.respond.send_response(head, true).map(drop)
    }

    /// Answers with a body.
    ///
    /// # Errors
    /// When the client is gone.
    pub fn send(mut self, body: Bytes) -> Result<(), h2::Error> {
        let mut stream = self.respond.send_response(self.head(), false)?;
        drop(self.under_way);
        stream.send_data(body, true)
    }

    /// Resets the stream.
    ///
    /// # Errors
    /// Never.
    pub fn reset(mut self, code: u32) -> Result<(), h2::Error> {
        drop(self.under_way);
        self.respond.send_reset(code.into());
        Ok(())
    }

    /// Reads the request's body to its end.
    ///
    /// # Errors
    /// When the client breaks off.
    pub async fn body(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut body = Vec::new();
        while let Some(data) = self.request.body_mut().data().await {
            let data = data?;
            self.request.body_mut().flow_control().release_capacity(data.len())?;
            body.extend(data);
        }
        Ok(body)
    }

    /// The head of an answer.
    pub fn head(&self) -> Response<()> {
        let mut head = Response::new(());
        let address = HeaderValue::from_str(&self.backend.to_string()).expect("an address is a header value");
        head.headers_mut().insert("backend", address);
        head
    }

    async fn echo(mut self) -> Result<(), h2::Error> {
        let mut stream = self.respond.send_response(self.head(), false)?;
        while let Some(data) = self.request.body_mut().data().await {
            let data = data?;
            self.request.body_mut().flow_control().release_capacity(data.len())?;
            stream.send_data(data, false)?;
        }
        let trailers = self.request.body_mut().trailers().await?;
        drop(self.under_way);
        stream.send_trailers(trailers.unwrap_or_else(HeaderMap::new))
    }

    async fn break_off(mut self, code: u32) -> Result<(), h2::Error> {
        let mut stream = self.respond.send_response(self.head(), false)?;
        stream.send_data(Bytes::from_static(b"only this"), false)?;
        // A reset overtakes what is queued: it is for the client to say when that has arrived.
        let _ = self.body().await;
        drop(self.under_way);
        stream.send_reset(code.into());
        Ok(())
    }
}
