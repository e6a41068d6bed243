//! Takes connections from a listener and gives each a task.

use std::{fmt::Display, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::net::TcpStream;

use super::{
    Worker,
    listener::{ListenerKind, Listening},
    original_destination::original_destination,
};
use crate::{
    clock::now_us,
    destination::Destination,
    events, http,
    tcp::{self, Stream},
};

/// How long to wait after accept has failed: the usual cause, no free file descriptors, does not pass by itself.
const PAUSE: Duration = Duration::from_millis(50);

/// How long to wait for one of those who are served to end: often enough for a crowd that has given up to be worked through.
const TURN: Duration = Duration::from_millis(5);

pub(super) async fn run(worker: Rc<Worker>, listening: Listening) {
    loop {
        // Whoever is accepted needs a second descriptor to get anywhere. Others wait in the kernel until somebody has ended, and do not
        // take it from those who are being served.
        if worker.config.drain.open_connections() >= worker.config.limits.connections_by_files {
            out_of_files(&worker, &"as many as there are file descriptors for");
            tokio::time::sleep(TURN).await;
            continue;
        }
        match listening.socket.accept().await {
            Ok((connection, client)) => take(&worker, listening.kind, connection, client),
            Err(error) if is_the_clients_fault(&error) => {}
            Err(error) => {
                out_of_files(&worker, &error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Says so once a second.
fn out_of_files(worker: &Worker, why: &dyn Display) {
    let now = now_us();
    if now.saturating_sub(worker.last_accept_error_us.replace(now)) > 1_000_000 {
        events::accept_failed(why);
    }
}

/// The client gave up between its SYN and our accept.
fn is_the_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn take(worker: &Rc<Worker>, kind: ListenerKind, connection: TcpStream, client: SocketAddr) {
    tcp::prepare(&connection);
    if worker.config.drain.open_connections() >= worker.config.limits.connections {
        events::too_many_connections();
        connection.refuse();
        return;
    }
    let open = worker.config.drain.enter();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        match kind {
            ListenerKind::HttpProxy => http::serve_proxy_client(&worker, connection, client).await,
            ListenerKind::Captured => match original_destination(&connection) {
                // Somebody has dialled the listener itself: passed on, it would come straight back.
                Ok(destination) if connection.local_addr().is_ok_and(|listener| listener == destination) => {
                    events::refused_as_loop(Some(client.ip()), "the destination is the proxy itself");
                    connection.refuse();
                }
                Ok(destination) => tcp::serve_stream(&worker, connection, Destination::Address(destination)).await,
                Err(error) => {
                    events::refused_as_loop(
                        Some(client.ip()),
                        &format!("the connection was not redirected here ({error})"),
                    );
                    connection.refuse();
                }
            },
        }
        drop(open);
    });
}
