//! A client of HTTP/2 with prior knowledge, by a library that shows streams, windows and resets.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use hyper::{HeaderMap, Method, Request, Response};
use tokio::net::TcpStream;

use crate::captured::tunnel;

/// One connection through the proxy; clones share it.
#[derive(Clone)]
pub struct Http2Client {
    sender: SendRequest<Bytes>,
    authority: String,
}

/// A whole response.
#[derive(Debug)]
pub struct Http2Response {
    /// Status and headers.
    pub head: Response<()>,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: HeaderMap,
}

impl Http2Client {
    /// Connects to `destination` (`NAME:PORT`) through a proxy.
    ///
    /// # Errors
    /// When there is no such connection.
    pub async fn connect(proxy: SocketAddr, destination: &str) -> io::Result<Self> {
        // What others begin with; the library's own is without a limit.
        Self::connect_with(
            Builder::new().initial_max_send_streams(100).max_concurrent_reset_streams(4096),
            proxy,
            destination,
        )
        .await
    }

    /// The same, but says nothing on the connection for so long.
    ///
    /// # Errors
    /// When there is no such connection.
    pub async fn connect_after(silence: Duration, proxy: SocketAddr, destination: &str) -> io::Result<Self> {
        let stream = tunnel(proxy, destination).await?;
        tokio::time::sleep(silence).await;
        Self::on(&Builder::new(), stream, destination).await
    }

    /// The same with settings of one's own.
    ///
    /// # Errors
    /// When there is no such connection.
    pub async fn connect_with(builder: &Builder, proxy: SocketAddr, destination: &str) -> io::Result<Self> {
        Self::on(builder, tunnel(proxy, destination).await?, destination).await
    }

    async fn on(builder: &Builder, stream: TcpStream, destination: &str) -> io::Result<Self> {
        let (sender, connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its errors reach the requests that suffer them.
            let _ = connection.await;
        });
        Ok(Self { sender, authority: destination.to_owned() })
    }

    /// Sends the head of a request. It waits while the peer allows no more streams.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        is_whole: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{}{path}", self.authority).parse().expect("a path");
        *request.headers_mut() = headers;
        self.sender.clone().ready().await?.send_request(request, is_whole)
    }

    /// GETs a path.
    ///
    /// # Errors
    /// When the connection breaks or the stream is reset.
    pub async fn get(&self, path: &str) -> Result<Http2Response, h2::Error> {
        let (response, _) = self.send(Method::GET, path, HeaderMap::new(), true).await?;
        whole(response.await?).await
    }

    /// POSTs a body to a path.
    ///
    /// # Errors
    /// When the connection breaks or the stream is reset.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Http2Response, h2::Error> {
        let (response, mut stream) = self.send(Method::POST, path, HeaderMap::new(), false).await?;
        stream.send_data(body.into(), true)?;
        whole(response.await?).await
    }
}

impl Http2Response {
    /// The first value of a field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// Which backend answered.
    ///
    /// # Panics
    /// When none did.
    pub fn backend(&self) -> SocketAddr {
        self.header("backend")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no backend: {self:?}"))
    }
}

/// Reads a response to its end.
async fn whole(response: Response<RecvStream>) -> Result<Http2Response, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend(data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    Ok(Http2Response { head: Response::from_parts(head, ()), body, trailers })
}
