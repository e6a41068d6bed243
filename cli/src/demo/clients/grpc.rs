//! gRPC calls, many at a time, on one connection. There is never a second one: if it breaks, all further calls fail.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    client::conn::http2::{self, SendRequest},
    header::{CONTENT_TYPE, TE},
};
use hyper_util::rt::TokioExecutor;
use tokio::sync::OnceCell;

use super::tunnel;
use crate::demo::grpc;

/// How many calls are under way at a time.
pub(super) const CALLS: usize = 16;

const SERVICE: &str = "echo.default:9000";
const METHOD: &str = "http://echo.default:9000/demo.Echo/Say";

/// One caller of those that share the connection.
pub(super) struct Client {
    connection: Arc<Connection>,
    calls: u64,
}

struct Connection {
    proxy: SocketAddr,
    sender: OnceCell<SendRequest<Full<Bytes>>>,
}

/// All of them.
pub(super) fn clients(proxy: SocketAddr) -> impl Iterator<Item = Client> {
    let connection = Arc::new(Connection { proxy, sender: OnceCell::new() });
    std::iter::repeat_with(move || Client { connection: Arc::clone(&connection), calls: 0 }).take(CALLS)
}

impl super::Client for Client {
    async fn ask(&mut self) -> anyhow::Result<SocketAddr> {
        self.calls += 1;
        let said = format!("call {}", self.calls);
        let request = Request::post(METHOD).header(CONTENT_TYPE, grpc::CONTENT_TYPE).header(TE, "trailers");
        let request = request.body(Full::new(grpc::encode(&said)))?;
        let mut sender = self.connection.sender().await?;
        let response = sender.send_request(request).await.context("the call broke before the answer")?;
        let (head, body) = response.into_parts();
        ensure!(head.status == 200, "status {}", head.status);
        let body = body.collect().await.context("the call broke in the answer")?;
        // What ends without a message has its status in the head.
        let ending = body.trailers().unwrap_or(&head.headers);
        let field = |name| ending.get(name).and_then(|value| value.to_str().ok()).unwrap_or("none");
        let status = field(grpc::STATUS);
        ensure!(status == "0", "{} {status}: {}", grpc::STATUS, field(grpc::MESSAGE));
        let reply = grpc::decode(&body.to_bytes())?;
        let backend = reply.strip_suffix(&format!(" {said}")).and_then(|backend| backend.parse().ok());
        backend.with_context(|| format!("an answer that no backend of the demo has given: {reply:?}"))
    }
}

impl Connection {
    async fn sender(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        Ok(self.sender.get_or_try_init(|| self.open()).await?.clone())
    }

    async fn open(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let tunnel = tunnel::open(self.proxy, SERVICE).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), tunnel).await?;
        // Its errors reach the calls that suffer them.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}
