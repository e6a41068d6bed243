//! From which port questions go out.
//!
//! Connection tracking knows a question over UDP by its addresses and ports, and for half a minute after. Were ours sent from a port
//! that the kernel gives an application next, the application's own question would be taken for one more of ours, and pass
//! capture by. So they go out from ports that the kernel gives nobody by itself, as long as there are enough of them to be
//! hard to guess.

use std::{
    fs,
    io::{self, ErrorKind},
    net::IpAddr,
    ops::RangeInclusive,
};

use tokio::net::UdpSocket;

/// Where the kernel says which ports it gives by itself, of both families (`ip_local_port_range` in ip-sysctl).
const GIVEN: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// With the id of a question these make 26 bits to guess.
const ENOUGH: usize = 1024;

/// How many ports are tried that turn out to be in use.
const TRIES: usize = 8;

/// Ports for questions.
pub(super) struct Ports(Option<RangeInclusive<u16>>);

impl Ports {
    /// Those of this system.
    pub(super) fn of_system() -> Self {
        Self(fs::read_to_string(GIVEN).ok().and_then(|given| above(&given)))
    }

    /// A socket with a port of its own.
    pub(super) async fn bind(&self, any: IpAddr) -> io::Result<UdpSocket> {
        for port in self.0.iter().flat_map(|ports| (0..TRIES).map(|_| fastrand::u16(ports.clone()))) {
            match UdpSocket::bind((any, port)).await {
                Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {}
                outcome => return outcome,
            }
        }
        UdpSocket::bind((any, 0)).await
    }
}

/// The ports above those that the kernel gives, if there are enough.
fn above(given: &str) -> Option<RangeInclusive<u16>> {
    let last: u16 = given.split_whitespace().nth(1)?.parse().ok()?;
    let ports = last.checked_add(1)?..=u16::MAX;
    (ports.len() >= ENOUGH).then_some(ports)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn ports_are_those_that_nobody_gets() {
        assert_eq!(above("32768\t60999\n"), Some(61000..=65535));
        for given in ["1024 65535", "1024 65000", "32768", "", "a b", "1 70000"] {
            assert_eq!(above(given), None, "{given:?}");
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_passed_over() {
        let any = IpAddr::from(Ipv4Addr::LOCALHOST);
        let taken = UdpSocket::bind((any, 0)).await.unwrap().local_addr().unwrap().port();
        let holder = UdpSocket::bind((any, taken)).await.unwrap();
        let other = Ports(Some(taken..=taken)).bind(any).await.unwrap();
        assert_ne!(other.local_addr().unwrap(), holder.local_addr().unwrap());
        drop(holder);
        assert_eq!(Ports(Some(taken..=taken)).bind(any).await.unwrap().local_addr().unwrap().port(), taken);
    }
}
