//! Listens on every address of a machine, whichever families it knows.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tokio::net::TcpListener;

/// Linux's number of EAFNOSUPPORT: there is no such family in this kernel.
const NO_SUCH_FAMILY: i32 = 97;

/// Binds an address. `[::]` means IPv4 as well, and on a machine that was started without IPv6 it means only that: one manifest is
/// for all clusters.
///
/// # Errors
/// When the address cannot be bound.
pub(super) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) => match without_v6(address, &error) {
            Some(instead) => TcpListener::bind(instead).await,
            None => Err(error),
        },
        bound => bound,
    }
}

/// What means the same where there is no IPv6, if that is what is wrong.
fn without_v6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let has_none = error.raw_os_error() == Some(NO_SUCH_FAMILY) || error.kind() == io::ErrorKind::AddrNotAvailable;
    let is_any = address.is_ipv6() && address.ip().is_unspecified();
    (has_none && is_any).then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{NO_SUCH_FAMILY, without_v6};

    #[test]
    fn only_every_address_has_a_substitute() {
        let no_family = io::Error::from_raw_os_error(NO_SUCH_FAMILY);
        let taken = io::Error::from(io::ErrorKind::AddrInUse);
        let check = |address: &str, error, instead: Option<&str>| {
            let instead = instead.map(|instead| instead.parse().unwrap());
            assert_eq!(without_v6(address.parse().unwrap(), error), instead, "{address}");
        };
        check("[::]:19010", &no_family, Some("0.0.0.0:19010"));
        check("[::]:19010", &taken, None);
        check("[::1]:19010", &no_family, None);
        check("0.0.0.0:19010", &no_family, None);
    }
}
