//! Listens on every address of a machine, whichever families it knows.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
};

/// Linux's number of EAFNOSUPPORT: there is no such family in this kernel.
const NO_SUCH_FAMILY: i32 = 97;

/// Binds an address, for a runtime to take over. `[::]` means IPv4 as well, and on a machine that was started without IPv6 it means
/// only that: one manifest is for all clusters.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = match TcpListener::bind(address) {
        Err(error) => TcpListener::bind(without_v6(address, &error).ok_or(error)?)?,
        Ok(listener) => listener,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether an address could not be bound because the machine has no IPv6, or has switched it off.
#[must_use]
pub fn is_for_want_of_v6(address: SocketAddr, error: &io::Error) -> bool {
    let has_none = error.raw_os_error() == Some(NO_SUCH_FAMILY) || error.kind() == io::ErrorKind::AddrNotAvailable;
    has_none && address.is_ipv6()
}

/// What means the same where there is no IPv6, if that is what is wrong.
fn without_v6(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    (is_for_want_of_v6(address, error) && address.ip().is_unspecified())
        .then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
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
