//! The floor of the HTTP/2 library: a proxy of nothing but hyper, without names, policies, metrics or time-outs. One thread, a
//! connection to each backend, which take requests in turn.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use anyhow::{Context, Result, bail};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http2::{self as client, SendRequest},
    rt::Executor,
    server::conn::http2 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::{LocalSet, spawn_local},
};

/// As much room as our own proxy gives, for each stream and for each connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 100 * STREAM_WINDOW;

struct Backends {
    to: Vec<(SocketAddr, RefCell<Option<SendRequest<Incoming>>>)>,
    next: Cell<usize>,
}

/// Runs until it is ended.
pub(crate) fn run(listen: SocketAddr, to: Vec<SocketAddr>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(listen, to))
}

async fn serve(listen: SocketAddr, to: Vec<SocketAddr>) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let to = to.into_iter().map(|address| (address, RefCell::default())).collect();
    let backends = Rc::new(Backends { to, next: Cell::new(0) });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let backends = Rc::clone(&backends);
        let service = service_fn(move |request| {
            let backends = Rc::clone(&backends);
            async move { backends.forward(request).await }
        });
        let connection = server::Builder::new(Local)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(TokioIo::new(stream), service);
        spawn_local(connection);
    }
}

impl Backends {
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Incoming>> {
        let next = self.next.get();
        self.next.set((next + 1) % self.to.len());
        let Some((address, kept)) = self.to.get(next) else { bail!("no backends") };
        let open = kept.borrow().clone().filter(|open| !open.is_closed());
        let mut sender = match open {
            Some(open) => open,
            None => {
                let opened = connect(*address).await?;
                kept.replace(Some(opened.clone()));
                opened
            }
        };
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Incoming>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = client::Builder::new(Local)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await?;
    spawn_local(connection);
    Ok(sender)
}

/// Spawns on the one thread.
#[derive(Clone)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
