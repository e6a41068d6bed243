//! Two nodes with pods, a real control plane that reads a folder, sidecars, and a name server.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        RData, Record, RecordType,
        rdata::{A, AAAA},
    },
};
use serde_json::{Value, json};
use wasmesh_tests::{
    Folder,
    dns::NameServer,
    process::{Process, binary},
    until,
};

use crate::{
    family::Family,
    manifests::service,
    node::{Node, Transport},
    pod::Pod,
    sidecar::Sidecar,
};

/// The namespace of everything.
pub(crate) const NAMESPACE: &str = "shop";

/// Hosts outside of the cluster, and the last byte of their addresses there; and one that leads back into it.
pub(crate) const OUTSIDE: &str = "out.example";
pub(crate) const INGRESS: &str = "ingress.example";
pub(crate) const BALANCER: &str = "balancer.example";

/// By which of the kernel's tools connections are captured, if they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    Nftables,
    Iptables,
    None,
}

impl Capture {
    pub(crate) const ALL: [Self; 3] = [Self::Nftables, Self::Iptables, Self::None];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
            Self::None => "none",
        }
    }
}

/// A cluster.
pub(crate) struct Cluster {
    // In the order in which they end.
    sidecars: Mutex<[Sidecar; 2]>,
    control_plane: Process,
    folder: Folder,
    name_servers: [NameServer; 2],
    /// One on each node, with a sidecar; and what they reach besides.
    pub(crate) clients: [Pod; 2],
    /// One on the first node, two on the second; without sidecars.
    pub(crate) backends: [Pod; 3],
    pub(crate) nodes: [Node; 2],
    revision: AtomicU16,
}

impl Cluster {
    pub(crate) fn start(capture: Capture) -> Self {
        let nodes = Node::pair();
        let backends = [Pod::on(&nodes[0], "one", 11), Pod::on(&nodes[1], "two", 12), Pod::on(&nodes[1], "three", 13)];
        nodes[1].give_range(&backends[2].netns, 13);
        let clients = [Pod::on(&nodes[0], "client-a", 21), Pod::on(&nodes[1], "client-b", 22)];
        // The cluster's DNS: a pod like others, behind an address of a Service that the mesh does not know.
        let name_servers = Family::BOTH.map(|family| {
            let place = SocketAddr::new(backends[1].ip(family), 53);
            backends[1].netns.enter(|| NameServer::at(place, |question, _| vec![answer(question)]))
        });
        let folder = Folder::default();
        let control_plane = control_plane(&nodes[0], &folder);
        let url = format!("http://{}:{}", nodes[0].ip(Family::V4), control_plane.address("discovery").port());
        // A node's tables are filled before pods ask through them.
        lead_names(&nodes, &backends[1]);
        // The second one captures everything, so that what falls through passes a sidecar, and not only rules.
        let everything: [&[&str]; 2] = [&[], &["--include-outbound-cidrs=0.0.0.0/0,::/0"]];
        let sidecars = [0, 1].map(|at| Sidecar::start(&clients[at], &nodes[at], &url, capture, everything[at]));
        let cluster = Self {
            sidecars: Mutex::new(sidecars),
            control_plane,
            folder,
            name_servers,
            clients,
            backends,
            nodes,
            revision: AtomicU16::new(1),
        };
        cluster.apply(&[]);
        if capture != Capture::None {
            cluster.sidecars().iter().zip(&cluster.clients).for_each(|(sidecar, pod)| sidecar.wait_captured(pod));
        }
        cluster
    }

    /// Makes these all there is, and waits until both sidecars have it.
    #[track_caller]
    pub(crate) fn apply(&self, objects: &[Value]) {
        // What changes may come to nothing new for anybody. The port of the beacon always does.
        let revision = self.revision.fetch_add(1, Ordering::Relaxed);
        let beacon = json!({ "clusterIPs": [Family::V4.service(0, 1)], "ports": [{ "port": revision }] });
        let items: Vec<_> = objects.iter().cloned().chain([service("beacon", beacon)]).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let admin = self.control_plane.admin();
        self.nodes[0].netns.enter(|| {
            let before = admin.sequence();
            self.folder.write("mesh.json", &list.to_string());
            until("the change is published", || admin.sequence() > before);
            for client in &self.clients {
                let proxy = format!("{NAMESPACE}/{}", client.name);
                until(&format!("{proxy} is current"), || admin.is_current(&proxy));
            }
        });
    }

    /// Forgets what a row has set up.
    pub(crate) fn clear(&self) {
        self.apply(&[]);
        self.nodes.iter().for_each(Node::forget);
        lead_names(&self.nodes, &self.backends[1]);
    }

    /// kube-proxy's doing, on both nodes.
    pub(crate) fn lead(&self, transport: Transport, address: SocketAddr, to: SocketAddr) {
        self.nodes.iter().for_each(|node| node.lead(transport, address, to));
    }

    fn sidecars(&self) -> MutexGuard<'_, [Sidecar; 2]> {
        self.sidecars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page of the control plane.
    pub(crate) fn control_plane(&self, page: &str) -> Value {
        self.nodes[0].netns.enter(|| self.control_plane.admin().json(page))
    }

    /// A metric of a client's sidecar.
    pub(crate) fn metric(&self, client: usize, name: &str, labels: &[(&str, &str)]) -> f64 {
        let sidecar = &self.sidecars()[client];
        self.clients[client].netns.enter(|| sidecar.metric(name, labels))
    }

    /// The names that the cluster's servers were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.name_servers.iter().flat_map(NameServer::asked).map(|(name, _)| name).collect()
    }

    /// Drains the second client's capture, as its container does when it ends.
    pub(crate) fn drain(&self) {
        self.sidecars()[1].drain();
    }

    /// Captures the second client's connections again.
    pub(crate) fn capture_again(&self) {
        let mut sidecars = self.sidecars();
        sidecars[1].capture(&self.clients[1]);
        sidecars[1].wait_captured(&self.clients[1]);
    }
}

fn control_plane(node: &Node, folder: &Folder) -> Process {
    let mut command = node.netns.command(binary("wasmesh-control-plane").to_str().expect("a path"));
    command.arg("--source").arg(folder.path());
    command.args(["--discovery-listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0"]);
    Process::start(command, &["discovery", "admin"])
}

/// The address at which pods ask for names.
pub(crate) fn resolver(family: Family) -> IpAddr {
    family.service(0, 10)
}

fn lead_names(nodes: &[Node], to: &Pod) {
    for family in Family::BOTH {
        let (address, to) = (SocketAddr::new(resolver(family), 53), SocketAddr::new(to.ip(family), 53));
        for transport in [Transport::Udp, Transport::Tcp] {
            nodes.iter().for_each(|node| node.lead(transport, address, to));
        }
    }
}

/// Where a host outside is.
fn place(name: &str, family: Family) -> Option<IpAddr> {
    match name.trim_end_matches('.') {
        OUTSIDE => Some(family.outside(16)),
        INGRESS => Some(family.service(38, 1)),
        BALANCER => Some(family.outside(38)),
        _ => None,
    }
}

fn answer(question: &Message) -> Vec<u8> {
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_queries(question.queries.clone());
    if let Some(query) = question.queries.first() {
        let name = query.name().to_ascii();
        let family = if query.query_type() == RecordType::AAAA { Family::V6 } else { Family::V4 };
        match place(&name, family) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(ip) if matches!(query.query_type(), RecordType::A | RecordType::AAAA) => {
                let data = match ip {
                    IpAddr::V4(ip) => RData::A(A(ip)),
                    IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
                };
                answer.add_answer(Record::from_rdata(query.name().clone(), 5, data));
            }
            Some(_) => {}
        }
    }
    answer.to_vec().expect("a message")
}
