//! A node: a bridge with pods, and a stand-in for kube-proxy.

use std::net::{IpAddr, SocketAddr};

use wasmesh_tests::netns::Netns;

use crate::family::Family;

/// Leads what the maps name to somebody else, turns away who is in no source range, and passes everything else on.
///
/// As kube-proxy's own rules it is met by pods only on the way through their node, after whatever the pod itself does.
const KUBE_PROXY: &str = "
table inet kube_proxy {
  map tcp4 { type ipv4_addr . inet_service : ipv4_addr . inet_service; }
  map tcp6 { type ipv6_addr . inet_service : ipv6_addr . inet_service; }
  map udp4 { type ipv4_addr . inet_service : ipv4_addr . inet_service; }
  map udp6 { type ipv6_addr . inet_service : ipv6_addr . inet_service; }
  set kept_out4 { type ipv4_addr . ipv4_addr; }
  set kept_out6 { type ipv6_addr . ipv6_addr; }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    meta nfproto ipv4 meta l4proto tcp dnat ip to ip daddr . tcp dport map @tcp4
    meta nfproto ipv4 meta l4proto udp dnat ip to ip daddr . udp dport map @udp4
    meta nfproto ipv6 meta l4proto tcp dnat ip6 to ip6 daddr . tcp dport map @tcp6
    meta nfproto ipv6 meta l4proto udp dnat ip6 to ip6 daddr . udp dport map @udp6
  }
  chain source_ranges {
    type filter hook prerouting priority dstnat - 10; policy accept;
    ip saddr . ip daddr @kept_out4 reject with tcp reset
    ip6 saddr . ip6 daddr @kept_out6 reject with tcp reset
  }
}
";

/// What kube-proxy answers for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// A node of the cluster.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    pub(crate) netns: Netns,
    number: u8,
}

impl Node {
    /// Two nodes with a wire between them, each with a route to the other's pods.
    pub(crate) fn pair() -> [Self; 2] {
        let nodes = [Self::new("node-a", 1), Self::new("node-b", 2)];
        nodes[0].netns.ip(&format!("link add underlay type veth peer name underlay netns {}", nodes[1].netns.name()));
        for (node, other) in nodes.iter().zip(nodes.iter().rev()) {
            for family in Family::BOTH {
                let (own, prefix) = (node.ip(family), family.pods_prefix());
                node.netns.ip(&format!("{} addr add {own}/{prefix} dev underlay{}", family.ip(), family.nodad()));
            }
            node.netns.ip("link set underlay up");
            for family in Family::BOTH {
                for range in [other.pods(family), family.more_pods(other.number)] {
                    node.netns.ip(&format!("{} route add {range} via {}", family.ip(), other.ip(family)));
                }
            }
        }
        nodes
    }

    fn new(name: &'static str, number: u8) -> Self {
        let node = Self { name, netns: Netns::default(), number };
        let netns = &node.netns;
        netns.separate_families();
        at_once(netns);
        netns.sysctl("net/ipv4/ip_forward", "1");
        netns.sysctl("net/ipv6/conf/all/forwarding", "1");
        // Pods are not to learn of each other: what goes from one to another passes the node's rules.
        netns.sysctl("net/ipv4/conf/all/send_redirects", "0");
        netns.sysctl("net/ipv4/conf/default/send_redirects", "0");
        // Without snooping nothing waits for somebody to have asked for multicast, as IPv6 does to find its neighbours.
        netns.ip("link add cni0 type bridge mcast_snooping 0");
        netns.ip("link set cni0 up");
        for family in Family::BOTH {
            let (gateway, prefix) = (family.pod(number, 1), family.pods_prefix());
            netns.ip(&format!("{} addr add {gateway}/{prefix} dev cni0{}", family.ip(), family.nodad()));
            // An address of a Service that nobody answers for is known to lead nowhere, at once.
            netns.ip(&format!("{} route add unreachable {}", family.ip(), family.services()));
        }
        node.netns.nft(KUBE_PROXY);
        node
    }

    /// The node's own address.
    pub(crate) fn ip(&self, family: Family) -> IpAddr {
        family.node(self.number)
    }

    fn pods(&self, family: Family) -> String {
        format!("{}/{}", family.pod(self.number, 0), family.pods_prefix())
    }

    /// Puts a pod on the bridge, with an address of its own and nobody beside it: all it sends passes the node.
    pub(crate) fn plug(&self, pod: &Netns, number: u8) {
        let device = format!("pod{number}");
        at_once(pod);
        self.netns.ip(&format!("link add {device} type veth peer name eth0 netns {}", pod.name()));
        self.netns.ip(&format!("link set {device} master cni0"));
        self.netns.ip(&format!("link set {device} up"));
        pod.sysctl("net/ipv6/conf/all/accept_redirects", "0");
        pod.sysctl("net/ipv6/conf/eth0/accept_redirects", "0");
        pod.ip("link set eth0 up");
        for family in Family::BOTH {
            let (flag, ip, gateway) = (family.ip(), family.pod(self.number, number), family.pod(self.number, 1));
            let host = family.host_prefix();
            pod.ip(&format!("{flag} addr add {ip}/{host} dev eth0{}", family.nodad()));
            pod.ip(&format!("{flag} route add {gateway} dev eth0"));
            pod.ip(&format!("{flag} route replace default via {gateway} dev eth0 src {ip}"));
        }
    }

    /// The address of a pod of this node.
    pub(crate) fn pod(&self, family: Family, number: u8) -> IpAddr {
        family.pod(self.number, number)
    }

    /// Routes a whole range to a pod.
    pub(crate) fn give_range(&self, pod: &Netns, number: u8) {
        for family in Family::BOTH {
            let (flag, range) = (family.ip(), family.more_pods(self.number));
            self.netns.ip(&format!("{flag} route add {range} via {}", self.pod(family, number)));
            pod.ip(&format!("{flag} route add local {range} dev lo"));
        }
    }

    /// An address of that range.
    pub(crate) fn of_range(&self, family: Family, at: u8) -> IpAddr {
        family.one_of_more_pods(self.number, at)
    }

    /// kube-proxy's doing: what is dialled at `address` reaches `to`.
    pub(crate) fn lead(&self, transport: Transport, address: SocketAddr, to: SocketAddr) {
        let map = match (transport, address.is_ipv4()) {
            (Transport::Tcp, true) => "tcp4",
            (Transport::Tcp, false) => "tcp6",
            (Transport::Udp, true) => "udp4",
            (Transport::Udp, false) => "udp6",
        };
        let (ip, port) = (address.ip(), address.port());
        self.netns.nft(&format!(
            "add element inet kube_proxy {map} {{ {ip} . {port} : {} . {} }}\n",
            to.ip(),
            to.port()
        ));
    }

    /// A source range that a client is not in: it is turned away from `address`.
    pub(crate) fn keep_out(&self, client: IpAddr, address: IpAddr) {
        let set = if address.is_ipv4() { "kept_out4" } else { "kept_out6" };
        self.netns.nft(&format!("add element inet kube_proxy {set} {{ {client} . {address} }}\n"));
    }

    /// Forgets all that rows have asked for.
    pub(crate) fn forget(&self) {
        let maps = ["tcp4", "tcp6", "udp4", "udp6"].map(|map| format!("flush map inet kube_proxy {map}\n"));
        let sets = ["kept_out4", "kept_out6"].map(|set| format!("flush set inet kube_proxy {set}\n"));
        self.netns.nft(&[maps.concat(), sets.concat()].concat());
    }
}

/// Devices that come are used at once: nobody is asked for a second or two whether their addresses are taken.
fn at_once(netns: &Netns) {
    netns.sysctl("net/ipv6/conf/default/accept_dad", "0");
    netns.sysctl("net/ipv6/conf/all/accept_dad", "0");
}
