//! Names of addresses (RFC 1035, section 3.5; RFC 3596, section 2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that a name in `in-addr.arpa` or `ip6.arpa` stands for; the name is in lower case, without a trailing dot.
pub(super) fn address_of(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        return ipv4(octets).map(IpAddr::V4);
    }
    ipv6(name.strip_suffix(".ip6.arpa")?).map(IpAddr::V6)
}

fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut labels = text.split('.');
    for octet in octets.iter_mut().rev() {
        let label = labels.next()?;
        // `+1` and `01` are numbers to Rust and no octets here.
        *octet = label.parse().ok().filter(|value: &u8| value.to_string() == label)?;
    }
    labels.next().is_none().then(|| octets.into())
}

fn ipv6(text: &str) -> Option<Ipv6Addr> {
    let mut bits = 0u128;
    let mut labels = text.split('.');
    for place in 0..32 {
        let [digit] = labels.next()?.as_bytes() else { return None };
        bits |= u128::from(char::from(*digit).to_digit(16)?) << (4 * place);
    }
    labels.next().is_none().then(|| bits.into())
}

#[cfg(test)]
mod tests {
    use super::address_of;

    #[test]
    fn reverse_names_are_addresses() {
        for (name, ip) in [
            ("1.0.96.10.in-addr.arpa", Some("10.96.0.1")),
            ("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", Some("fd00::1")),
            ("0.96.10.in-addr.arpa", None),
            ("1.1.0.96.10.in-addr.arpa", None),
            ("01.0.96.10.in-addr.arpa", None),
            ("256.0.96.10.in-addr.arpa", None),
            ("0-25.0.96.10.in-addr.arpa", None),
            ("g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", None),
            ("1.0.0.0.d.f.ip6.arpa", None),
            ("in-addr.arpa", None),
        ] {
            assert_eq!(address_of(name), ip.map(|ip| ip.parse().unwrap()), "{name}");
        }
    }
}
