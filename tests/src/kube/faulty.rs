//! The real API server behind somebody who spoils its answers.

use std::{
    convert::Infallible,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::ApiServer;
use crate::{eventually, runtime};

type Body = BoxBody<Bytes, hyper::Error>;

/// What is done to an API server's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every request is answered with this status.
    Status(u16),
    /// Every answer comes this much later.
    Slow(Duration),
    /// Answers end before their body begins: lists have no end, watches are closed at once.
    Cut,
    /// Answers are no JSON.
    Garbage,
}

/// Stands before an API server, without TLS; whoever comes may do everything.
pub struct FaultyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    kubectl_proxy: Child,
    folder: tempfile::TempDir,
}

struct Shared {
    fault: Mutex<Fault>,
    /// Changes when all connections are to be closed.
    closing: watch::Sender<()>,
    requests: AtomicUsize,
    upstream: SocketAddr,
}

impl FaultyServer {
    /// Stands before this one.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn before(server: &ApiServer) -> Self {
        let mut kubectl_proxy = Command::new(server.kubectl_path())
            .args(["proxy", "--port=0", "--kubeconfig"])
            .arg(server.kubeconfig())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl");
        server.adopt("kubectl-proxy", kubectl_proxy.id());
        let mut line = String::new();
        let mut said = BufReader::new(kubectl_proxy.stdout.take().expect("a pipe"));
        said.read_line(&mut line).expect("a line");
        let upstream = line.trim().rsplit_once(' ').and_then(|(_, address)| address.parse().ok());
        let upstream = upstream.unwrap_or_else(|| panic!("kubectl proxy says {line:?}"));
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::None),
            closing: watch::Sender::new(()),
            requests: AtomicUsize::new(0),
            upstream,
        });
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).expect("a listener");
        let address = listener.local_addr().expect("an address");
        runtime().spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, kubectl_proxy, folder: tempfile::tempdir().expect("a folder") }
    }

    /// From now on.
    ///
    /// # Panics
    /// When a test has panicked with it.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("the fault") = fault;
    }

    /// Closes the connections that are open.
    pub fn close_all(&self) {
        self.shared.closing.send_replace(());
    }

    /// Waits until so many more requests have come.
    #[track_caller]
    pub fn until_asked(&self, more: usize) {
        let enough = self.shared.requests.load(Ordering::Relaxed) + more;
        eventually("requests come", || (self.shared.requests.load(Ordering::Relaxed) >= enough).then_some(()));
    }

    /// Says where it is.
    ///
    /// # Panics
    /// When the machine takes no file.
    pub fn kubeconfig(&self) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "faulty", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "anybody", "user": {} }],
            "contexts": [{ "name": "faulty", "context": { "cluster": "faulty", "user": "anybody" } }],
            "current-context": "faulty",
        });
        let path = Path::join(self.folder.path(), "kubeconfig.json");
        fs::write(&path, config.to_string()).expect("a file");
        path
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        let _ = self.kubectl_proxy.kill();
        let _ = self.kubectl_proxy.wait();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut closing = shared.closing.subscribe();
        let shared = Arc::clone(&shared);
        let answer = service_fn(move |request| answer(Arc::clone(&shared), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(async move {
            tokio::select! {
                _ = connection => {}
                _ = closing.changed() => {}
            }
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let fault = *shared.fault.lock().expect("the fault");
    let text = |status: u16, text: &'static str| {
        let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed();
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    };
    Ok(match fault {
        Fault::Status(status) => text(status, "spoilt"),
        Fault::Garbage => text(200, "<html>{\"kind\": 7"),
        Fault::Cut => text(200, ""),
        Fault::Slow(delay) => {
            tokio::time::sleep(delay).await;
            pass_on(&shared, request).await.unwrap_or_else(|_| text(502, "the API server is away"))
        }
        Fault::None => pass_on(&shared, request).await.unwrap_or_else(|_| text(502, "the API server is away")),
    })
}

async fn pass_on(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(shared.upstream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(BodyExt::boxed))
}
