//! How the control plane is reached: whose certificate is trusted, and what says who this pod is.

use std::{fs, io, net::IpAddr, path::PathBuf, time::Duration};

use tonic::{
    codegen::http::Uri,
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use wasmesh_telemetry::with_causes;

use super::token::{Bearer, TokenFile};
use crate::Options;

/// How long a connection attempt may take. A control plane that is up answers within milliseconds.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pings tell a control plane that is gone without a word from one that has nothing to say.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A connection to the control plane; each call over it says who this pod is.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Where the control plane is and how to make sure of it.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    endpoint: Endpoint,
    /// `None` for a connection without TLS.
    trusted: Option<Trusted>,
    bearer: Bearer,
}

/// Where the certificates come from that a control plane's certificate must lead to. There are no others: what a machine
/// trusts says nothing about a mesh.
#[derive(Debug, Clone)]
enum Trusted {
    /// Read anew for each connection, so that certificates can be replaced under a running proxy.
    File(PathBuf),
    Bundle(String),
}

/// Why the options do not name a control plane.
#[derive(Debug, thiserror::Error)]
pub enum WrongControlPlane {
    /// No URL.
    #[error("{url:?} is no URL of a control plane (--control-plane): {error}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        error: tonic::transport::Error,
    },
    /// Neither http nor https.
    #[error("{0:?} begins with neither http:// nor https:// (--control-plane)")]
    Scheme(String),
    /// Nothing says which certificate is the right one.
    #[error(
        "{0} is to be reached over TLS, but no certificates are given to trust: give --control-plane-ca FILE, or their PEM \
         in the environment variable WASMESH_CA_BUNDLE"
    )]
    NothingTrusted(Uri),
    /// Anybody on the way could read the token.
    #[error(
        "a token (--token) is sent to {0} only over TLS: give an https:// URL of the control plane (--control-plane)"
    )]
    TokenInTheOpen(Uri),
}

impl ControlPlane {
    /// The control plane that the options name. Files are read when they are needed.
    ///
    /// # Errors
    /// When there is no way to reach it as it must be reached.
    pub fn of(options: &Options) -> Result<Self, WrongControlPlane> {
        let url = &options.control_plane;
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| WrongControlPlane::Url { url: url.clone(), error })?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let uri = endpoint.uri().clone();
        let file = options.control_plane_ca.clone().map(Trusted::File);
        let trusted = file.or_else(|| options.ca_bundle.clone().map(Trusted::Bundle));
        let trusted = match uri.scheme_str() {
            Some("http") if options.token.is_some() && !is_loopback(&uri) => {
                return Err(WrongControlPlane::TokenInTheOpen(uri));
            }
            Some("http") => None,
            Some("https") => Some(trusted.ok_or(WrongControlPlane::NothingTrusted(uri))?),
            _ => return Err(WrongControlPlane::Scheme(url.clone())),
        };
        let bearer = Bearer::new(options.token.clone().map(TokenFile::new));
        Ok(Self { endpoint, trusted, bearer })
    }

    /// Where it is.
    pub fn uri(&self) -> &Uri {
        self.endpoint.uri()
    }

    /// Connects.
    ///
    /// # Errors
    /// When that fails; the text is for people.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let failed = |why: &str| format!("cannot connect to {}: {why}", self.uri());
        let mut endpoint = self.endpoint.clone();
        if let Some(trusted) = &self.trusted {
            let certificates = trusted.certificates().map_err(|why| failed(&why))?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(certificates));
            endpoint = endpoint.tls_config(tls).map_err(|error| failed(&with_causes(&error)))?;
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect()).await {
            Ok(Ok(channel)) => Ok(InterceptedService::new(channel, self.bearer.clone())),
            Ok(Err(error)) => {
                let why = with_causes(&error);
                Err(failed(&format!("{why}{}", advice(&why))))
            }
            Err(_) => Err(failed(&format!("no answer within {CONNECT_TIMEOUT:?}"))),
        }
    }
}

impl Trusted {
    fn certificates(&self) -> Result<String, String> {
        let (text, place) = match self {
            Self::Bundle(text) => (Ok(text.clone()), "WASMESH_CA_BUNDLE".to_owned()),
            Self::File(path) => (fs::read_to_string(path), path.display().to_string()),
        };
        let text = text.map_err(|error: io::Error| format!("cannot read {place} (--control-plane-ca): {error}"))?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(format!("{place} has no certificate in PEM, so there is none to trust"));
        }
        Ok(text)
    }
}

/// Whether the traffic to it stays on this machine.
fn is_loopback(uri: &Uri) -> bool {
    uri.host().is_some_and(|host| {
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
    })
}

/// What to do about an error that TLS words for those who know TLS.
fn advice(why: &str) -> &'static str {
    if why.contains("UnknownIssuer") || why.contains("BadSignature") {
        "; the mesh has another CA than the one trusted here: a pod that was injected before the CA was replaced must be \
         restarted"
    } else if why.contains("NotValidForName") {
        "; the certificate is for other names: dial the control plane by the name of its Service"
    } else if why.contains("Expired") || why.contains("expired") || why.contains("NotValidYet") {
        "; look at the clocks of both ends, and at the log of the control plane, which renews its certificate by itself"
    } else if why.contains("InvalidContentType") {
        "; it does not speak TLS there: is it http://?"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::options::{Cli, Command};

    fn of(arguments: &[&str]) -> Result<ControlPlane, String> {
        let Cli { command } = Cli::parse_from(["wasmesh-proxy", "run"].iter().chain(arguments));
        let Command::Run(options) = command else { panic!("run") };
        ControlPlane::of(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_sent_in_the_open_only_on_this_machine() {
        for host in ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.8.9.1"] {
            assert!(of(&["--token=/t", &format!("--control-plane=http://{host}")]).is_ok(), "{host}");
        }
        for host in ["10.0.0.1:1", "wasmesh-control-plane.wasmesh-system.svc:19010", "localhost.example:1"] {
            let why = of(&["--token=/t", &format!("--control-plane=http://{host}")]).unwrap_err();
            assert!(why.contains("https://"), "{why}");
            assert!(of(&[&format!("--control-plane=http://{host}")]).is_ok(), "{host}");
        }
    }

    #[test]
    fn whoever_is_dialled_over_tls_has_to_be_known() {
        let why = of(&["--control-plane=https://cp:1"]).unwrap_err();
        assert!(why.contains("--control-plane-ca") && why.contains("WASMESH_CA_BUNDLE"), "{why}");
        assert!(of(&["--control-plane=https://cp:1", "--control-plane-ca=/ca", "--token=/t"]).is_ok());
    }

    #[test]
    fn what_is_no_url_is_named() {
        for url in ["", "cp:19010", "ftp://cp", "http://"] {
            let why = of(&[&format!("--control-plane={url}")]).unwrap_err();
            assert!(why.contains("--control-plane"), "{url:?}: {why}");
        }
    }

    #[tokio::test]
    async fn certificates_that_are_none_are_named_when_they_are_needed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        let path = file.display().to_string();
        let control_plane =
            of(&["--control-plane=https://127.0.0.1:1", &format!("--control-plane-ca={path}")]).unwrap();
        let why = control_plane.connect().await.unwrap_err();
        assert!(why.contains("cannot read") && why.contains(&path), "{why}");
        fs::write(&file, "hello").unwrap();
        let why = control_plane.connect().await.unwrap_err();
        assert!(why.contains("no certificate in PEM"), "{why}");
    }
}
