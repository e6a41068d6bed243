//! A backend that answers with its address and remembers what it was asked.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};

use crate::{fresh_ip, runtime::runtime};

/// An HTTP/1.1 server on an address of its own. Every answer has a `backend` field with that address.
///
/// * `/echo` streams the request's body back;
/// * `/bytes/N` streams N bytes;
/// * `/status/N` answers with that status;
/// * everything else is answered with the address.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<Running>,
}

/// Ends when `stop` is dropped.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A request that a backend got.
#[derive(Debug, Clone)]
pub struct Seen {
    /// On which connection, counted from 0.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// The target of the request line.
    pub target: String,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

struct Shared {
    address: SocketAddr,
    connections: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    held: watch::Sender<bool>,
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

impl Backend {
    /// Starts one.
    pub fn start() -> Self {
        Self::on(bind((fresh_ip(), 0).into()))
    }

    /// Starts some.
    pub fn several<const N: usize>() -> [Self; N] {
        std::array::from_fn(|_| Self::start())
    }

    /// Serves on a listener that is there already.
    ///
    /// # Panics
    /// When it cannot.
    pub fn on(listener: std::net::TcpListener) -> Self {
        let address = listener.local_addr().expect("an address");
        let shared = Shared {
            address,
            connections: AtomicUsize::new(0),
            seen: Mutex::default(),
            held: watch::Sender::new(false),
        };
        let mut backend = Self { address, shared: Arc::new(shared), running: None };
        backend.run(listener);
        backend
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has been asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen().clone()
    }

    /// How many requests that were.
    pub fn requests(&self) -> usize {
        self.shared.seen().len()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Keeps all requests waiting from now on.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Answers them.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Stops as a crash would: connections break, new ones are refused.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            drop(running.stop);
            // Over only when all sockets are closed, those of connections too: `abort` would return before.
            let _ = runtime().block_on(running.task);
        }
    }

    /// Starts again, on the same address.
    pub fn restart(&mut self) {
        self.kill();
        self.run(bind(self.address));
    }

    fn run(&mut self, listener: std::net::TcpListener) {
        let shared = Arc::clone(&self.shared);
        let (stop, mut stopped) = oneshot::channel::<()>();
        let task = runtime().spawn(async move {
            listener.set_nonblocking(true).expect("a listener of a runtime");
            let listener = TcpListener::from_std(listener).expect("a listener of a runtime");
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(Arc::clone(&shared).serve(stream));
                        while connections.try_join_next().is_some() {}
                    }
                    _ = &mut stopped => break,
                }
            }
            drop(listener);
            connections.shutdown().await;
        });
        self.running = Some(Running { stop, task });
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let shared = Arc::clone(&self);
            async move { Ok::<_, Infallible>(shared.answer(connection, request).await) }
        });
        let _ = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, connection: usize, request: Request<Incoming>) -> Answer {
        let headers = request.headers().iter();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let seen = Seen {
            connection,
            method: request.method().to_string(),
            target: request.uri().to_string(),
            headers: headers.map(|(name, value)| (name.to_string(), text(value))).collect(),
        };
        self.seen().push(seen);
        let _ = self.held.subscribe().wait_for(|held| !*held).await;
        let mut answer = self.by_path(request);
        let address = HeaderValue::from_str(&self.address.to_string()).expect("an address is a header value");
        answer.headers_mut().insert("backend", address);
        answer
    }

    fn by_path(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        if path == "/echo" {
            return Response::new(request.into_body().boxed());
        }
        if let Some(length) = number_after(&path, "/bytes/") {
            return Response::new(Filler(length).boxed());
        }
        let mut answer = Response::new(whole(format!("{}\n", self.address)));
        if let Some(status) = number_after(&path, "/status/").and_then(|status| StatusCode::from_u16(status).ok()) {
            *answer.status_mut() = status;
            if status == StatusCode::NO_CONTENT {
                *answer.body_mut() = whole(String::new());
            }
        }
        answer
    }
}

/// A body of that many bytes, made as it is read.
struct Filler(u64);

impl Body for Filler {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        static BLOCK: [u8; 64 * 1024] = [b'x'; 64 * 1024];
        let length = self.0.min(BLOCK.len() as u64);
        self.0 -= length;
        Poll::Ready((length > 0).then(|| Ok(Frame::data(Bytes::from_static(&BLOCK[..length as usize])))))
    }
}

fn number_after<N: std::str::FromStr>(path: &str, prefix: &str) -> Option<N> {
    path.strip_prefix(prefix)?.parse().ok()
}

fn whole(text: String) -> BoxBody<Bytes, hyper::Error> {
    Full::from(text).map_err(|never| match never {}).boxed()
}

fn bind(address: SocketAddr) -> std::net::TcpListener {
    std::net::TcpListener::bind(address).unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"))
}
