//! An address that leads to a destination through the proxy, as a captured connection would.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{fresh_ip, runtime::runtime};

/// For programs that know no proxy: what connects here is led by a CONNECT to a destination of the mesh.
pub struct Captured {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Captured {
    /// Leads to `destination` (`NAME:PORT`) through the proxy that listens at `proxy`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn to(proxy: SocketAddr, destination: &str) -> Self {
        let listener = runtime().block_on(TcpListener::bind((fresh_ip(), 0))).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let destination = destination.to_owned();
        let accepting = runtime().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(lead(client, proxy, destination.clone()));
            }
        });
        Self { address, accepting }
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn lead(mut client: TcpStream, proxy: SocketAddr, destination: String) {
    let _ = client.set_nodelay(true);
    if let Ok(mut tunnel) = tunnel(proxy, &destination).await {
        let _ = copy_bidirectional(&mut client, &mut tunnel).await;
    }
}

/// A connection to `destination` (`NAME:PORT`) through the proxy.
///
/// # Errors
/// When the proxy does not open it.
pub(crate) async fn tunnel(proxy: SocketAddr, destination: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to whoever uses the tunnel.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 200 ") {
        return Ok(stream);
    }
    Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()))
}
