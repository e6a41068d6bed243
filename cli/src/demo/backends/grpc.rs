//! Speaks gRPC: says whatever is called back, behind the backend's own name.

use std::{convert::Infallible, future::ready, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Body, Incoming},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::watch, time::sleep};

use super::WORK;
use crate::demo::grpc;

/// Serves one connection to its end. When the backend leaves, GOAWAY says up to which call it answers.
pub(super) async fn serve(
    stream: TcpStream,
    backend: SocketAddr,
    mut leaving: watch::Receiver<()>,
) -> anyhow::Result<()> {
    let service = service_fn(move |request| answer(backend, request));
    let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        _ = leaving.changed() => serving.as_mut().graceful_shutdown(),
    }
    Ok(serving.await?)
}

async fn answer(
    backend: SocketAddr,
    request: Request<Incoming>,
) -> anyhow::Result<Response<impl Body<Data = Bytes, Error = Infallible>>> {
    let said = grpc::decode(&request.into_body().collect().await?.to_bytes())?;
    sleep(WORK).await;
    let reply = Full::new(grpc::encode(&format!("{backend} {said}")));
    let trailers = HeaderMap::from_iter([(HeaderName::from_static(grpc::STATUS), HeaderValue::from_static("0"))]);
    let mut response = Response::new(reply.with_trailers(ready(Some(Ok(trailers)))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    Ok(response)
}
