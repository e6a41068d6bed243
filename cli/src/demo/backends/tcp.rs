//! Speaks first: greets by the backend's name, then says everything back.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncWriteExt, copy},
    net::TcpStream,
};

/// What the greeting begins with; the name and the end of the line follow.
pub(in crate::demo) const GREETING: &str = "hello from ";

/// Serves one connection to its end.
pub(super) async fn serve(mut stream: TcpStream, backend: SocketAddr) -> anyhow::Result<()> {
    stream.write_all(format!("{GREETING}{backend}\n").as_bytes()).await?;
    let (mut from, mut to) = stream.split();
    copy(&mut from, &mut to).await?;
    Ok(to.shutdown().await?)
}
