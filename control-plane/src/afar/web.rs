//! Asks servers for files: with what the administrator allows as a fence around redirects, and never more bytes than expected.

use std::{io::Cursor, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::{
    HeaderMap, Request, StatusCode,
    body::Incoming,
    header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, USER_AGENT},
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use wasmesh_core::afar::{Origin, Url};
use wasmesh_telemetry::with_causes;

use super::remote::Fault;
use crate::translate::policy::Reason;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that nobody uses stays open: the requests of one fetch come right after each other.
const IDLE: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 5;

/// Asks servers.
#[derive(Clone)]
pub(super) struct Web(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

/// A question.
pub(super) struct Ask<'a> {
    pub(super) url: &'a Url,
    pub(super) accept: Option<&'static str>,
    /// For the server of the URL, and for none that it redirects to.
    pub(super) authorization: Option<&'a str>,
    /// The most bytes that the answer may have.
    pub(super) at_most: usize,
    /// Where the server may redirect to.
    pub(super) may_go: &'a (dyn Fn(&Url) -> bool + Sync),
}

/// What a server has said. Of an error there are no bytes: nobody shall read other people's pages in a status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Who has said it, after redirects.
    pub(super) origin: Origin,
    pub(super) bytes: Bytes,
}

impl Web {
    /// One that trusts these authorities besides those that browsers trust.
    ///
    /// # Errors
    /// When the file cannot be read or has no certificate; the error names it.
    pub(super) fn trusting(authorities: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = authorities {
            let what = || format!("{} (--module-ca)", path.display());
            let pem = std::fs::read(path).with_context(|| format!("cannot read {}", what()))?;
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(Cursor::new(pem)).collect();
            let certificates = certificates.with_context(|| format!("{} is not PEM", what()))?;
            let (added, _) = roots.add_parsable_certificates(certificates);
            anyhow::ensure!(added > 0, "{} has no certificate that can be used", what());
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE)
                .pool_timer(hyper_util::rt::TokioTimer::new())
                .build(connector),
        ))
    }

    /// Asks, and follows where it is sent to as long as that is allowed.
    pub(super) async fn get(&self, ask: &Ask<'_>) -> Result<Answer, Fault> {
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let authorization = ask.authorization.filter(|_| url.origin == ask.url.origin);
            let response = self.send(&url, ask.accept, authorization).await?;
            let (parts, body) = response.into_parts();
            let is_redirect = matches!(parts.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect {
                let has_bytes = parts.status == StatusCode::OK;
                let bytes = if has_bytes { read(&url, body, ask.at_most).await? } else { Bytes::new() };
                return Ok(Answer { status: parts.status, headers: parts.headers, origin: url.origin, bytes });
            }
            url = redirected(&url, parts.headers.get(LOCATION), ask.may_go)?;
        }
        let message =
            format!("{} redirects more than {MAX_REDIRECTS} times: name the place it leads to", ask.url.origin);
        Err(Fault::passing(Reason::FetchFailed, message))
    }

    async fn send(
        &self,
        url: &Url,
        accept: Option<&'static str>,
        authorization: Option<&str>,
    ) -> Result<hyper::Response<Incoming>, Fault> {
        let unusable =
            |what: &str| Fault::lasting(Reason::FetchFailed, format!("{} cannot be asked for: {what}", url.origin));
        let uri = url.to_string().parse().map_err(|_| unusable("it is no URI"))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        let user_agent = concat!("wasmesh-control-plane/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(user_agent));
        if let Some(accept) = accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(authorization) = authorization {
            let mut value =
                HeaderValue::from_str(authorization).map_err(|_| unusable("the token that it gave is no header"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        self.0.request(request).await.map_err(|error| {
            let message = format!(
                "{} cannot be asked: {}; is it up, can the control plane reach it, and is its certificate by an authority that \
                 browsers or --module-ca trust?",
                url.origin,
                with_causes(&error)
            );
            Fault::passing(Reason::FetchFailed, message)
        })
    }
}

fn redirected(url: &Url, location: Option<&HeaderValue>, may_go: &(dyn Fn(&Url) -> bool + Sync)) -> Result<Url, Fault> {
    let refuse =
        |what: String| Err(Fault::lasting(Reason::RefNotPermitted, format!("{} redirects {what}", url.origin)));
    let Some(location) = location.and_then(|location| location.to_str().ok()) else {
        return refuse("without saying where to".to_owned());
    };
    let to = match url.redirected(location) {
        Ok(to) => to,
        Err(reason) => return refuse(format!("to what cannot be used: {reason}")),
    };
    if may_go(&to) {
        return Ok(to);
    }
    // Its path is not told: it may be a key to something.
    refuse(format!(
        "to {origin}, and nothing there is allowed: name the place itself, or ask the administrator of the mesh to run the control \
         plane with --allow-module-redirects '{origin}/*'",
        origin = to.origin
    ))
}

/// All bytes of a body, however many it says it has.
async fn read(url: &Url, mut body: Incoming, at_most: usize) -> Result<Bytes, Fault> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let message = format!("what {} sent is cut short: {}", url.origin, with_causes(&error));
            Fault::passing(Reason::FetchFailed, message)
        })?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > at_most {
                let message = format!(
                    "{} sends more than {at_most} bytes, which are the most here: strip the module and build it for size, if it is one",
                    url.origin
                );
                return Err(Fault::lasting(Reason::InvalidRef, message));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

impl Answer {
    /// The bytes, if there are some.
    ///
    /// # Errors
    /// Everything but 200, with what to do about it.
    pub(super) fn ok(self) -> Result<Bytes, Fault> {
        let (reason, what_to_do) = match self.status.as_u16() {
            200 => return Ok(self.bytes),
            401 | 403 => (Reason::FetchFailed, "it wants credentials, or others"),
            404 | 410 => (Reason::RefNotFound, "there is no such thing: put it there, or name another"),
            _ => (Reason::FetchFailed, "it is tried again"),
        };
        Err(Fault::passing(reason, format!("{} answers {}: {what_to_do}", self.origin, self.status)))
    }
}
