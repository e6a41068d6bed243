//! Connections whose servers speak first: a greeting, a line there and back, and the end.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::tunnel;
use crate::demo::backends::GREETING;

/// How many clients there are; each opens one connection after the other.
pub(super) const CLIENTS: usize = 8;

const SERVICE: &str = "greeter.default:4000";

/// One client.
pub(super) struct Client {
    proxy: SocketAddr,
}

/// All of them.
pub(super) fn clients(proxy: SocketAddr) -> impl Iterator<Item = Client> {
    (0..CLIENTS).map(move |_| Client { proxy })
}

impl super::Client for Client {
    async fn ask(&mut self) -> anyhow::Result<SocketAddr> {
        let mut connection = BufReader::new(TokioIo::new(tunnel::open(self.proxy, SERVICE).await?));
        let mut greeting = String::new();
        connection.read_line(&mut greeting).await.context("the connection broke before the greeting")?;
        let backend = greeting.strip_prefix(GREETING).and_then(|name| name.trim_end().parse().ok());
        let backend =
            backend.with_context(|| format!("a greeting that is none of the demo's backends': {greeting:?}"))?;
        let said = "good day\n";
        connection.write_all(said.as_bytes()).await.context("the connection broke after the greeting")?;
        connection.shutdown().await.context("the connection broke before its end")?;
        let mut heard = String::new();
        connection.read_to_string(&mut heard).await.context("the connection broke before its end")?;
        ensure!(heard == said, "{backend} was told {said:?} and said {heard:?}");
        Ok(backend)
    }
}
