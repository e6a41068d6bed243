//! Speaks HTTP/1.1.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::sleep};

use super::WORK;

/// Names the backend in each of its answers.
pub(in crate::demo) const BACKEND_HEADER: &str = "x-backend";

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, backend: SocketAddr) -> anyhow::Result<()> {
    let name = HeaderValue::try_from(backend.to_string())?;
    let answer = service_fn(|_| async {
        sleep(WORK).await;
        let mut response = Response::new(Full::new(Bytes::from(format!("hello from {backend}\n"))));
        response.headers_mut().insert(BACKEND_HEADER, name.clone());
        Ok::<_, Infallible>(response)
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await?)
}
