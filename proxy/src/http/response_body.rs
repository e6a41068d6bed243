//! Bodies of responses: an endpoint's, streamed, or one made here.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::{
    answer::{Failure, grpc_status},
    connection::{Lease, is_stream_reset},
    exchange::Exchange,
    inflow::Inflow,
    outlet::Outlet,
};

/// The body of a response to the client.
pub enum ResponseBody {
    /// Made here.
    Own(Full<Bytes>),
    /// Streamed from an endpoint, whose exchange ends with it.
    Exchanged(Inflow, Option<Exchange>),
    /// Streamed from somewhere else, on a connection that ends with it.
    Direct(Inflow, Lease),
}

impl ResponseBody {
    /// No bytes at all.
    pub fn empty() -> Self {
        Self::Own(Full::new(Bytes::new()))
    }

    /// Says that it goes to a client of HTTP/1.1.
    pub(super) fn go_to(&mut self, outlet: &Arc<Outlet>) {
        match self {
            Self::Own(_) => {}
            Self::Exchanged(body, _) | Self::Direct(body, _) => body.go_to(outlet),
        }
    }

    /// Takes over the exchange of a connection that stops being HTTP.
    pub(super) fn take_exchange(&mut self) -> Option<Exchange> {
        let Self::Exchanged(_, exchange) = self else { return None };
        let mut exchange = exchange.take()?;
        exchange.switched();
        Some(exchange)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Direct(body, _) => Pin::new(body).poll_frame(cx),
            Self::Exchanged(body, exchange) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                if let (Some(Ok(frame)), Some(exchange)) = (&frame, &mut *exchange)
                    && let Some(trailers) = frame.trailers_ref()
                {
                    exchange.trailers(trailers);
                }
                match &frame {
                    Some(Err(error)) => {
                        let is_grpc = exchange.as_ref().is_some_and(Exchange::is_grpc);
                        exchange.take().into_iter().for_each(Exchange::broke);
                        // A reset of the stream is for the client to see; it cannot see a connection of ours.
                        if is_grpc && !is_stream_reset(error) {
                            let status = grpc_status(&Failure::in_response(error));
                            return Poll::Ready(Some(Ok(Frame::trailers(status))));
                        }
                    }
                    Some(Ok(_)) if !body.is_end_stream() => {}
                    Some(Ok(_)) | None => exchange.take().into_iter().for_each(Exchange::completed),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Exchanged(body, _) | Self::Direct(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Exchanged(body, _) | Self::Direct(body, _) => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Self::Exchanged(body, exchange) = self else { return };
        let Some(exchange) = exchange.take() else { return };
        // A body without bytes has ended without being polled.
        if body.is_end_stream() { exchange.completed() } else { exchange.abandoned() }
    }
}
