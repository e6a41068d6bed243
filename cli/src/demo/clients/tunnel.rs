//! The way through the sidecar for what is not a plain request: a CONNECT to a name of the mesh.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, client::conn::http1, header::HOST, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection to the sidecar itself.
pub(super) async fn connect(proxy: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(proxy).await.context("cannot connect to the sidecar")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection to a Service, which the sidecar treats as if it had captured it on its way there.
pub(super) async fn open(proxy: SocketAddr, service: &'static str) -> anyhow::Result<Upgraded> {
    let stream = TokioIo::new(connect(proxy).await?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(async move { connection.with_upgrades().await.ok() });
    let request = Request::connect(service).header(HOST, service).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("the connection broke before the tunnel stood")?;
    let status = response.status();
    if status != 200 {
        let body = response.collect().await.context("the sidecar's refusal broke off")?.to_bytes();
        bail!("no tunnel, status {status}: {}", String::from_utf8_lossy(&body).trim());
    }
    hyper::upgrade::on(response).await.context("the connection broke when the tunnel stood")
}
