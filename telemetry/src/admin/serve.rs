//! The sockets of the admin server.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Admin;

/// At once: more than any mix of probes, scrapes and people.
const CONNECTIONS: usize = 64;
/// For the head of the request.
const HEAD: Duration = Duration::from_secs(5);
/// For a connection in all: a client that sends or reads more slowly than this has left.
const CONNECTION: Duration = Duration::from_secs(30);
/// For one over which something is told while it happens.
const STREAM: Duration = Duration::from_secs(3_700);
/// For answers still on their way when the server is to stop.
const GOODBYE: Duration = Duration::from_secs(1);
/// When the process is out of file descriptors, trying again at once would only burn CPU.
const BREATHER: Duration = Duration::from_millis(100);

impl Admin {
    /// Answers on `listener` until `shutdown` ends, then a second longer for what is being answered.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut open = Open::default();
        tokio::select! {
            () = Arc::new(self).accept(&listener, &mut open) => {}
            () = shutdown => {}
        }
        drop(listener);
        let _ = timeout(GOODBYE, open.done()).await;
    }

    async fn accept(self: Arc<Self>, listener: &TcpListener, open: &mut Open) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => open.add(Arc::clone(&self).connection(stream, peer)),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!("admin server cannot accept: {error}");
                    sleep(BREATHER).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let is_long = AtomicBool::new(false);
        let answer = service_fn(async |request: Request<Incoming>| {
            let answer = self.answer(request.method(), request.uri(), peer.ip()).await;
            is_long.store(matches!(answer.body(), Either::Right(_)), Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        let mut ended = timeout(CONNECTION, connection.as_mut()).await;
        if ended.is_err() && is_long.load(Ordering::Relaxed) {
            ended = timeout(STREAM, connection).await;
        }
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("admin connection from {peer}: {error}"),
            Err(_) => tracing::debug!("admin connection from {peer}: not done in time"),
        }
    }
}

/// The connections being served, the oldest first.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    handles: VecDeque<AbortHandle>,
}

impl Open {
    /// Where there are too many, the oldest goes: an honest client is answered in milliseconds, so the oldest is one
    /// that holds its connection, and a liveness probe never has to wait behind it.
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.handles.retain(|handle| !handle.is_finished());
        if self.handles.len() >= CONNECTIONS
            && let Some(oldest) = self.handles.pop_front()
        {
            oldest.abort();
        }
        self.handles.push_back(self.tasks.spawn(connection));
    }

    async fn done(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Errors of a connection that ended before it was accepted: no fault of ours.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
