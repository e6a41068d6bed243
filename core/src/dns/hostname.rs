//! What a pod is called within its Service.

use std::net::IpAddr;

use crate::endpoint::Endpoint;

/// The label of an endpoint: its hostname, else its address with dashes, as CoreDNS calls those that have none.
pub(super) fn label_of(endpoint: &Endpoint) -> String {
    if endpoint.hostname.is_empty() { dashed(endpoint.address.ip()) } else { endpoint.hostname.to_ascii_lowercase() }
}

fn dashed(ip: IpAddr) -> String {
    let mut label = ip.to_string().replace(['.', ':'], "-");
    // A label must not end with a dash: `fd00::` is `fd00--0`.
    if label.ends_with('-') {
        label.push('0');
    }
    label
}

#[cfg(test)]
mod tests {
    use super::dashed;

    #[test]
    fn an_address_becomes_a_label() {
        for (ip, label) in [("10.244.1.9", "10-244-1-9"), ("fd00::1:2", "fd00--1-2"), ("fd00::", "fd00--0")] {
            assert_eq!(dashed(ip.parse().unwrap()), label);
        }
    }
}
