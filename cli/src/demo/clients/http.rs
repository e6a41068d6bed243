//! Requests in HTTP/1.1 to the sidecar as a proxy, on connections that are kept.

use std::net::SocketAddr;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;

use super::tunnel;
use crate::demo::backends::BACKEND_HEADER;

/// How many clients there are; each has one connection and sends one request after the other.
pub(super) const CLIENTS: usize = 8;

/// Every form of the Service's name; clients take turns with them.
const TARGETS: [&str; 4] = [
    "http://podinfo.default/",
    "http://podinfo/",
    "http://podinfo.default.svc/",
    "http://podinfo.default.svc.cluster.local/",
];

/// Every so many-th client is a tester: it asks for the next version, if somebody cares.
const TESTERS: usize = 4;

/// What a tester's requests say.
const TESTER: (&str, &str) = ("x-canary", "yes");

/// One client and its connection.
pub(super) struct Client {
    proxy: SocketAddr,
    is_tester: bool,
    target: &'static str,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

/// All of them.
pub(super) fn clients(proxy: SocketAddr) -> impl Iterator<Item = Client> {
    let targets = TARGETS.into_iter().cycle().take(CLIENTS).enumerate();
    targets.map(move |(at, target)| Client { proxy, is_tester: at % TESTERS == 0, target, connection: None })
}

impl super::Client for Client {
    /// A connection survives only a request that went well.
    async fn ask(&mut self) -> anyhow::Result<SocketAddr> {
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        connection.ready().await.context("the sidecar has closed a connection that was to be kept")?;
        let host = self.target.trim_start_matches("http://").trim_end_matches('/');
        let mut request = Request::get(self.target).header(header::HOST, host);
        if self.is_tester {
            request = request.header(TESTER.0, TESTER.1);
        }
        let request = request.body(Empty::new())?;
        let response = connection.send_request(request).await.context("the connection broke before the answer")?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the connection broke in the answer")?.to_bytes();
        let text = || String::from_utf8_lossy(&body).trim().to_owned();
        ensure!(head.status == 200, "status {}: {}", head.status, text());
        let backend = head.headers.get(BACKEND_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let backend = backend.ok_or_else(|| anyhow!("an answer that no backend of the demo has given: {}", text()))?;
        if text() != format!("hello from {backend}") {
            bail!("the answer of {backend} came garbled: {:?}", text());
        }
        let closes = head.headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes() == b"close");
        self.connection = (!closes).then_some(connection);
        Ok(backend)
    }

    fn is_tester(&self) -> bool {
        self.is_tester
    }
}

impl Client {
    async fn connect(&self) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
        let stream = tunnel::connect(self.proxy).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Its errors reach the request that suffers them.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}
