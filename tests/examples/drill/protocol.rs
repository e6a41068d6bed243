//! What is spoken with endpoints, from both sides. Every request carries its number.

pub(crate) mod dns;
mod grpc;
mod http;
mod tcp;

use std::{io, net::TcpStream as StdStream, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    endpoint::{Mood, Shared},
    ledger::{Id, Ledger, PATIENCE, Place},
};

/// What an endpoint says that answers garbage: no HTTP of any version.
const GARBAGE: &[u8] = b"\x15\x03\x01garbage: nobody understands this\r\n\r\n\0\0\0";

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    Tcp,
}

impl Protocol {
    pub(crate) const ALL: [Self; 3] = [Self::Http, Self::Grpc, Self::Tcp];

    /// The name of its port.
    pub(crate) fn port_name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }

    /// The port of the Service, and of its endpoints.
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Grpc => 81,
            Self::Tcp => 82,
        }
    }
}

/// Serves one connection until it ends, or the endpoint dies. An error breaks it.
pub(crate) async fn serve(protocol: Protocol, stream: TcpStream, raw: &StdStream, shared: &Shared) -> io::Result<()> {
    // Whoever was on the way when a connection breaks has reached the endpoint.
    let serve = async {
        match protocol {
            Protocol::Http => http::serve(stream, shared).await,
            Protocol::Tcp => tcp::serve(stream, shared).await,
            Protocol::Grpc => grpc::serve(stream, raw, shared).await,
        }
    };
    tokio::select! {
        served = serve => served,
        () = shared.is(Mood::Dead) => {
            let mut unread = vec![0; 64 * 1024];
            let length = raw.peek(&mut unread).unwrap_or(0);
            ids(protocol, &unread[..length]).into_iter().for_each(|id| shared.ledger.got(id));
            Err(broken())
        }
    }
}

/// The numbers of the requests in what was sent to an endpoint.
pub(crate) fn ids(protocol: Protocol, bytes: &[u8]) -> Vec<Id> {
    match protocol {
        Protocol::Http => http::ids(bytes),
        Protocol::Grpc => grpc::ids(bytes),
        Protocol::Tcp => tcp::ids(bytes),
    }
}

/// Asks over and over, until the ledger is closed.
pub(crate) async fn ask(protocol: Protocol, to: std::net::SocketAddr, pause: Duration, ledger: Arc<Ledger>) {
    match protocol {
        Protocol::Http => http::ask(to, pause, &ledger).await,
        Protocol::Grpc => grpc::ask(to, pause, &ledger).await,
        Protocol::Tcp => tcp::ask(to, pause, &ledger).await,
    }
}

impl Shared {
    fn mood(&self) -> Mood {
        *self.mood.borrow()
    }

    /// Takes its time, if it is slow.
    async fn think(&self) {
        if let Mood::Slow(time) = self.mood() {
            sleep(time).await;
        }
    }

    /// Waits until it is in this mood.
    async fn is(&self, wanted: Mood) {
        let mut mood = self.mood.clone();
        if mood.wait_for(|mood| *mood == wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a client has to say of the end of a request.
fn note(ledger: &Ledger, id: Id, outcome: Result<Place, String>) {
    match outcome {
        Ok(by) => ledger.succeeded(id, by),
        Err(words) => ledger.failed(id, words),
    }
}

/// Waits no longer than a client does; an error says what was spoken.
async fn patiently<T>(spoken: &str, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let outcome = timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(format!("no answer in {PATIENCE:?}")));
    outcome.map_err(|words| format!("{spoken}, {words}"))
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Who has answered this request, by its answer `ID PLACE`.
fn place_of(answer: &str, id: Id) -> Result<Place, String> {
    let parsed = answer.trim().split_once(' ').map(|(id, place)| (id.parse::<Id>(), place.parse::<Place>()));
    match parsed {
        Some((Ok(other), Ok(place))) if other == id => Ok(place),
        _ => Err(format!("the answer to another request, or none: {answer:?}")),
    }
}
