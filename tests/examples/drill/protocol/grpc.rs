//! Streams of gRPC: a call, some messages back, a status. Several share a connection.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream as StdStream},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use h2::{
    RecvStream, client,
    server::{self, SendResponse},
};
use hyper::{HeaderMap, Method, Request, Response, header::HeaderValue};
use tokio::{net::TcpStream, task::JoinSet, time::sleep};

use super::{GARBAGE, broken, patiently};
use crate::{
    endpoint::{Mood, Shared},
    ledger::{Id, Ledger, Place},
};

/// What is large, and how large. It has no number.
const LARGE: &str = "/large";
const LARGE_BYTES: usize = 8 << 20;

/// Streams of a connection at once.
const STREAMS: usize = 4;
/// Messages of an answer.
const MESSAGES: usize = 5;
/// Begins the message of a request: heads are compressed, messages are not.
const MARK: &str = "request ";

pub(super) async fn serve(stream: TcpStream, raw: &StdStream, shared: &Shared) -> io::Result<()> {
    let mut connection = server::handshake(stream).await.map_err(io::Error::other)?;
    let served = tokio::select! {
        served = serve_calls(&mut connection, raw, shared) => served,
        () = shared.is(Mood::Dead) => Err(broken()),
    };
    if served.is_err() {
        // Whoever was on the way has reached it.
        while let Some(Some(Ok(call))) = connection.accept().now_or_never() {
            note(&call.0, shared);
        }
    }
    served
}

async fn serve_calls(
    connection: &mut server::Connection<TcpStream, Bytes>,
    raw: &StdStream,
    shared: &Shared,
) -> io::Result<()> {
    let mut calls = JoinSet::new();
    let mut leaves = pin!(shared.is(Mood::Leaving));
    let mut is_leaving = false;
    loop {
        tokio::select! {
            call = connection.accept() => {
                let Some(call) = call else { return Ok(()) };
                let (request, mut respond) = call.map_err(io::Error::other)?;
                let Some(id) = note(&request, shared) else {
                    // Of a flood, which does not listen.
                    let is_large = request.uri().path() == LARGE;
                    if let Ok(mut body) = respond.send_response(Response::new(()), !is_large)
                        && is_large
                    {
                        // As much of it goes on its way as there is a window for.
                        let _ = body.send_data(Bytes::from_static(&[b'x'; LARGE_BYTES]), true);
                    }
                    continue;
                };
                if shared.mood() == Mood::Garbage {
                    let mut raw = raw;
                    raw.write_all(GARBAGE)?;
                    return Err(broken());
                }
                calls.spawn(answer(id, request, respond, shared.clone()));
            }
            Some(answered) = calls.join_next() => answered.map_err(io::Error::other)??,
            () = &mut leaves, if !is_leaving => {
                is_leaving = true;
                connection.graceful_shutdown();
            }
        }
    }
}

/// The numbers of the requests in these bytes.
pub(super) fn ids(bytes: &[u8]) -> Vec<Id> {
    let text = String::from_utf8_lossy(bytes);
    text.split(MARK).skip(1).filter_map(|rest| rest.split('\n').next()?.parse().ok()).collect()
}

fn note(request: &Request<RecvStream>, shared: &Shared) -> Option<Id> {
    let id = id_of(request)?;
    shared.ledger.got(id);
    Some(id)
}

async fn answer(
    id: Id,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Shared,
) -> io::Result<()> {
    let failed = io::Error::other::<h2::Error>;
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data.map_err(failed)?;
        body.flow_control().release_capacity(data.len()).map_err(failed)?;
    }
    shared.think().await;
    let mood = shared.mood();
    if mood == Mood::Closing {
        return Err(broken());
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(head, false).map_err(failed)?;
    for number in 0..MESSAGES {
        if mood == Mood::Breaking && number == MESSAGES / 2 {
            return Err(broken());
        }
        stream.send_data(message(&format!("{id} {}\n", shared.place)), false).map_err(failed)?;
        tokio::task::yield_now().await;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // Before it is sent: what is handed over is on its way when the connection is flushed.
    stream.send_trailers(trailers).map_err(failed)?;
    shared.ledger.answered(id, shared.place);
    Ok(())
}

pub(super) async fn ask(to: SocketAddr, pause: Duration, ledger: &Ledger) {
    while !ledger.is_closed() {
        let connected = async {
            let stream = TcpStream::connect(to).await?;
            let _ = stream.set_nodelay(true);
            client::handshake(stream).await.map_err(io::Error::other)
        };
        let (sender, connection) = match connected.await {
            Ok(connected) => connected,
            Err(error) => {
                let Some(id) = ledger.begin() else { return };
                ledger.failed(id, format!("connect: {error}"));
                sleep(pause).await;
                continue;
            }
        };
        let streams = async move {
            let asking: Vec<_> = (0..STREAMS).map(|_| ask_on(&sender, to, pause, ledger)).collect();
            join_all(asking).await;
            drop(sender);
        };
        tokio::join!(async { drop(connection.await) }, streams);
    }
}

/// Until the connection is of no use any more.
async fn ask_on(sender: &client::SendRequest<Bytes>, to: SocketAddr, pause: Duration, ledger: &Ledger) {
    // A connection that takes no more requests has lost none by that.
    while let Ok(sender) = sender.clone().ready().await {
        let Some(id) = ledger.begin() else { return };
        let outcome = patiently("gRPC", call(sender, to, id)).await;
        let has_failed = outcome.is_err();
        super::note(ledger, id, outcome);
        sleep(pause).await;
        if has_failed {
            return;
        }
    }
}

async fn call(mut sender: client::SendRequest<Bytes>, to: SocketAddr, id: Id) -> Result<Place, String> {
    let failed = |what: &'static str| move |error: h2::Error| format!("{what}: {error}");
    let request = Request::builder().method(Method::POST).uri(format!("http://{to}/drill.Echo/{id}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(()).map_err(|error| error.to_string())?;
    let (response, mut body) = sender.send_request(request, false).map_err(failed("send"))?;
    body.send_data(message(&format!("{MARK}{id}\n")), true).map_err(failed("send"))?;
    let response = response.await.map_err(failed("answer"))?;
    let status = grpc_status(response.headers());
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(failed("messages"))?;
        body.flow_control().release_capacity(data.len()).map_err(failed("messages"))?;
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(failed("trailers"))?.unwrap_or_default();
    match grpc_status(&trailers).or(status) {
        Some(status) if status.starts_with("0 ") => {}
        other => return Err(format!("status {}", other.as_deref().unwrap_or("missing"))),
    }
    let answer = String::from_utf8_lossy(bytes.get(5..).unwrap_or_default()).into_owned();
    let expected =
        message(answer.lines().next().map(|line| format!("{line}\n")).unwrap_or_default().as_str()).repeat(MESSAGES);
    if bytes != expected {
        return Err("not the messages that were sent".to_owned());
    }
    super::place_of(answer.lines().next().unwrap_or_default(), id)
}

fn grpc_status(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Some(format!("{} {}", text("grpc-status")?, text("grpc-message").unwrap_or_default()))
}

/// A message as gRPC frames it: not compressed, its length, itself.
fn message(text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], text.as_bytes()].concat().into()
}

fn id_of<B>(request: &Request<B>) -> Option<Id> {
    request.uri().path().rsplit('/').next()?.parse().ok()
}
