//! From a request to its answer: route, forward, and what a proxy changes on the way.

use std::{net::IpAddr, rc::Rc};

use hyper::{
    Method, Request, Response, Uri,
    body::Incoming,
    header::{HOST, HeaderValue},
};
use wasmesh_core::route::Refusal;

use super::{
    answer::{ErrorReason, Failure},
    forward::{forward, forward_direct},
    headers::{strip_hop_by_hop, strip_proxy_fields, to_origin_form},
    proxy_request::destination_of,
    response_body::ResponseBody,
    upgrade,
    version::HttpVersion,
};
use crate::{
    destination::Destination,
    policy::question::ConnectionSource,
    tcp::{attempts, dial},
    worker::{Cell, NoMore, Routed, Worker},
};

/// Answers a request to the explicit HTTP proxy.
pub(super) async fn answer_proxy_request(
    worker: &Rc<Worker>,
    client: Option<IpAddr>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let destination =
        destination_of(&request).map_err(|error| Failure::new(ErrorReason::BadRequest, error.to_string()))?;
    strip_proxy_fields(request.headers_mut());
    if request.method() == Method::CONNECT {
        return connect(worker, destination, client, request).await;
    }
    let mut uri: Uri = std::mem::take(request.uri_mut());
    to_origin_form(&mut uri, request.headers_mut());
    *request.uri_mut() = uri;
    answer(worker, &destination, client, request, HttpVersion::Http1).await
}

/// Routes a request, whose target is as an origin server gets it, and forwards it.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    destination: &Destination,
    client: Option<IpAddr>,
    mut request: Request<Incoming>,
    version: HttpVersion,
) -> Result<Response<ResponseBody>, Failure> {
    let upgrades = strip_hop_by_hop(request.headers_mut()).is_some() && version == HttpVersion::Http1;
    let client_upgrade = upgrades.then(|| hyper::upgrade::on(&mut request));
    if version == HttpVersion::Http1 && !request.headers().contains_key(HOST) {
        // Allowed in 1.0, but the next hop is spoken to in 1.1.
        let host = HeaderValue::try_from(destination.to_string());
        request.headers_mut().extend(host.ok().map(|host| (HOST, host)));
    }
    *request.version_mut() = version.on_next_hop();
    let limits = &worker.config.limits;
    // Whose it is has to be found out first, which may take as long as the first use of a Service.
    let routing = limits.enter_routed_request().ok_or_else(Failure::overload)?;
    let mut response = match worker.route(destination).await {
        Routed::Mesh(cell) => {
            drop(routing);
            let _waiting = limits.enter_request(cell.waiting()).ok_or_else(Failure::overload)?;
            forward(worker, destination, client, cell, request, version).await?
        }
        Routed::Passthrough(to) => {
            drop(routing);
            let _waiting = limits.enter_passed_request().ok_or_else(Failure::overload)?;
            forward_direct(worker, &to, request, version).await?
        }
        Routed::Refused(refusal) => return Err(refused(refusal)),
        Routed::NotYet => return Err(not_yet()),
    };
    strip_hop_by_hop(response.headers_mut());
    // A version is that of one connection: a server of HTTP/1.0 must not end the client's.
    *response.version_mut() = version.on_next_hop();
    if let Some(client) = client_upgrade {
        upgrade::join(client, &mut response, worker.config.drain.enter());
    }
    Ok(response)
}

/// A CONNECT is answered when the other end is connected, so that a failure is still an answer. Only one to a port of the
/// mesh that may speak HTTP is answered at once and served like a captured connection: there each request finds its own
/// endpoint.
async fn connect(
    worker: &Rc<Worker>,
    destination: Destination,
    client: Option<IpAddr>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let open = worker.config.drain.enter();
    let source = ConnectionSource { client, ..ConnectionSource::default() };
    match worker.route(&destination).await {
        Routed::Mesh(cell) if cell.is_opaque() => {
            let dialled = dial(worker, attempts(worker, &destination, &cell, &source)).await;
            let dialled = dialled.map_err(|why| unconnected(why, &cell))?;
            upgrade::tunnel_to_endpoint(worker, destination, cell, source, dialled, request, open);
        }
        Routed::Mesh(_) => upgrade::tunnel_to_mesh(worker, destination, request, open),
        Routed::Passthrough(to) => upgrade::tunnel_direct(worker, &to, request, open)
            .await
            .map_err(|error| Failure::new(ErrorReason::PassthroughFailed, format!("{to}: {error}")))?,
        Routed::Refused(refusal) => return Err(refused(refusal)),
        Routed::NotYet => return Err(not_yet()),
    }
    Ok(Response::new(ResponseBody::empty()))
}

fn unconnected(why: NoMore, cell: &Cell) -> Failure {
    match why {
        NoMore::Rejected(status) => Failure::rejected_by_policy(status),
        NoMore::PolicyFailed => Failure::policy_failed(),
        NoMore::Exhausted => {
            let detail = format!("none of {} endpoints could be reached", cell.len());
            Failure::new(ErrorReason::ConnectFailed, detail)
        }
    }
}

fn refused(refusal: Refusal) -> Failure {
    let reason = match refusal {
        Refusal::NoEndpoints => ErrorReason::NoEndpoints,
        Refusal::Loop => ErrorReason::Loop,
    };
    Failure::new(reason, refusal.to_string())
}

fn not_yet() -> Failure {
    Failure::new(ErrorReason::EndpointsPending, "the control plane has not sent the endpoints of this service yet")
}
