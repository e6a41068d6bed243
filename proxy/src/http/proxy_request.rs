//! Where a request to the explicit HTTP proxy wants to go.

use std::net::IpAddr;

use hyper::{Method, Request, Uri};

use crate::destination::Destination;

/// Why a request to the proxy cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadTarget {
    #[error(
        "this is an HTTP proxy: ask for http://SERVICE.NAMESPACE/PATH or CONNECT SERVICE.NAMESPACE:PORT, not for a bare path"
    )]
    NotAbsolute,
    #[error("the scheme {0:?} cannot be proxied: use http, or CONNECT for anything else")]
    Scheme(String),
    #[error("CONNECT needs HOST:PORT")]
    NoPort,
}

/// The destination of a request in absolute-form or of a CONNECT.
pub(super) fn destination_of<B>(request: &Request<B>) -> Result<Destination, BadTarget> {
    let uri = request.uri();
    let port = if request.method() == Method::CONNECT { connect_port } else { http_port };
    destination(uri, port)
}

/// The destination of a request in absolute-form; `None` if it is none.
pub fn destination_of_absolute(uri: &Uri) -> Option<Destination> {
    destination(uri, http_port).ok()
}

fn destination(uri: &Uri, port: fn(&Uri) -> Result<u16, BadTarget>) -> Result<Destination, BadTarget> {
    let host = uri.host().ok_or(BadTarget::NotAbsolute)?;
    let port = port(uri)?;
    // An IPv6 literal stands in brackets.
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Ok(match bare.parse::<IpAddr>() {
        Ok(ip) => Destination::Address((ip, port).into()),
        Err(_) => Destination::Name(host.to_owned(), port),
    })
}

fn connect_port(uri: &Uri) -> Result<u16, BadTarget> {
    uri.port_u16().filter(|port| *port != 0).ok_or(BadTarget::NoPort)
}

fn http_port(uri: &Uri) -> Result<u16, BadTarget> {
    match uri.scheme_str() {
        Some("http") => Ok(uri.port_u16().unwrap_or(80)),
        Some(other) => Err(BadTarget::Scheme(other.to_owned())),
        None => Err(BadTarget::NotAbsolute),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, target: &str, expected: &Result<Destination, BadTarget>) {
        let request = Request::builder().method(method).uri(target).body(()).unwrap();
        assert_eq!(&destination_of(&request), expected, "{target}");
    }

    #[test]
    fn targets_say_where_to_go() {
        let name = |host: &str, port| Ok(Destination::Name(host.to_owned(), port));
        check(Method::GET, "http://web.shop/x", &name("web.shop", 80));
        check(Method::GET, "http://web.shop:81/x", &name("web.shop", 81));
        check(Method::GET, "http://10.96.0.1/", &Ok(Destination::Address("10.96.0.1:80".parse().unwrap())));
        check(Method::GET, "http://[fd00::1]:8080/", &Ok(Destination::Address("[fd00::1]:8080".parse().unwrap())));
        check(Method::CONNECT, "web.shop:5432", &name("web.shop", 5432));
        check(Method::GET, "/x", &Err(BadTarget::NotAbsolute));
        check(Method::GET, "https://web/", &Err(BadTarget::Scheme("https".to_owned())));
        check(Method::CONNECT, "web.shop", &Err(BadTarget::NoPort));
    }
}
