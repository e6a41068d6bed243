//! The rows of docs/services.md.

mod endpoints;
mod inside;
mod life;
mod names;
mod outside;
mod ports;
mod reach;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};
use wasmesh_tests::until;

use crate::{
    backends::TELLER,
    cluster::{Capture, Cluster, resolver},
    family::Family,
    manifests::{port, ready, service, slice},
    node::Transport,
    pod::Pod,
};

/// A behaviour and how it is checked.
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    pub(crate) check: fn(&Run<'_>),
    pub(crate) note: &'static str,
    /// Whether it is about captured connections.
    is_captured: bool,
}

impl Row {
    /// Whether it is checked in a cluster that captures so.
    pub(crate) fn applies(&self, capture: Capture) -> bool {
        self.is_captured == (capture != Capture::None)
    }

    const fn captured(number: u8, name: &'static str, check: fn(&Run<'_>)) -> Self {
        Self { number, name, check, note: "", is_captured: true }
    }

    const fn without_capture(number: u8, name: &'static str, check: fn(&Run<'_>)) -> Self {
        Self { is_captured: false, ..Self::captured(number, name, check) }
    }

    const fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

/// All of them: a test of the page holds them against its numbers.
pub(crate) const ROWS: &[Row] = &[
    Row::captured(1, "ClusterIP, several ports", ports::row_1_several_ports),
    Row::captured(2, "slices are matched by port name and may differ", ports::row_2_slices_differ),
    Row::captured(3, "slice ports without number or name", ports::row_3_crooked_slice_ports),
    Row::captured(4, "UDP is not captured", ports::row_4_datagrams)
        .note("SCTP is no protocol of the capture rules at all"),
    Row::captured(5, "one number for TCP and UDP", ports::row_5_one_number_twice),
    Row::captured(6, "declared protocols: h2c, WebSocket, TCP, detection", ports::row_6_protocols),
    Row::captured(7, "a port that the Service does not have falls through", ports::row_7_unknown_port),
    Row::captured(8, "no endpoints: connect() is refused", reach::row_8_nobody_there),
    Row::captured(9, "Services without ports: headless, ExternalName", ports::row_9_no_ports),
    Row::captured(10, "headless: its pods by name, never re-balanced", names::row_10_headless),
    Row::captured(11, "headless without selector", names::row_11_headless_by_hand),
    Row::captured(12, "a pod's hostname", names::row_12_hostnames),
    Row::captured(13, "ready is what the slice says", endpoints::row_13_published_not_ready),
    Row::captured(14, "NodePort from inside a pod", outside::row_14_node_port),
    Row::captured(15, "load balancers, external IPs and source ranges", outside::row_15_load_balancer),
    Row::captured(16, "ExternalName, to ClusterIP and back", names::row_16_external_name),
    Row::captured(17, "only the label links slices", endpoints::row_17_only_the_label_links),
    Row::captured(18, "legacy Endpoints are not read", endpoints::row_18_legacy_endpoints),
    Row::captured(19, "families are independent", reach::row_19_families),
    Row::captured(20, "session affinity", reach::row_20_session_affinity).note("its timeout: tests/mesh/affinity.rs"),
    Row::captured(21, "internalTrafficPolicy: Local", reach::row_21_local),
    Row::captured(22, "externalTrafficPolicy means nothing inside", reach::row_22_external_policy),
    Row::captured(23, "topology hints", reach::row_23_hints),
    Row::captured(24, "absent conditions", endpoints::row_24_absent_conditions),
    Row::captured(25, "none ready: those that drain take over", endpoints::row_25_draining),
    Row::captured(26, "one address in several slices, and a move", endpoints::row_26_twice),
    Row::captured(27, "250 endpoints in three slices", endpoints::row_27_many),
    Row::captured(28, "a deleted Service", life::row_28_deleted),
    Row::captured(29, "ClusterIPs change hands", life::row_29_swapped),
    Row::captured(30, "the source address is the pod's", inside::row_30_source),
    Row::captured(31, "a pod reaches itself through its Service", inside::row_31_hairpin),
    Row::captured(32, "a hostNetwork pod as an endpoint", inside::row_32_host_network),
    Row::without_capture(32, "a hostNetwork pod is not injected", inside::row_32_host_network_is_not_injected),
    Row::captured(33, "names, by DNS", names::row_33_by_dns),
    Row::without_capture(33, "names, at the HTTP proxy", names::row_33_by_proxy),
    Row::captured(34, "SRV and PTR", names::row_34_srv_and_ptr),
    Row::captured(35, "environment variables", inside::row_35_environment_variables),
    Row::captured(36, "another proxy's Services", outside::row_36_foreign_proxy),
    Row::captured(37, "the label headless", outside::row_37_headless_label),
    Row::captured(38, "Ingress", outside::row_38_ingress),
    Row::captured(39, "loopback, own address, inbound, probes", inside::row_39_untouched),
    Row::captured(40, "open connections while capture goes and comes", life::row_40_capture_goes_and_comes),
];

/// Tells whoever watches to stop.
struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A row at work.
pub(crate) struct Run<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) family: Family,
    /// Of its Service.
    pub(crate) name: String,
    number: u8,
}

impl<'a> Run<'a> {
    pub(crate) fn new(cluster: &'a Cluster, number: u8, family: Family) -> Self {
        Self { cluster, family, name: format!("row-{number:02}"), number }
    }

    /// The client that a row is about; it is on the first node.
    fn client(&self) -> &'a Pod {
        &self.cluster.clients[0]
    }

    fn backends(&self) -> [&'a Pod; 3] {
        self.cluster.backends.each_ref()
    }

    fn ip(&self, pod: &Pod) -> IpAddr {
        pod.ip(self.family)
    }

    /// An address for a Service of this row.
    fn vip(&self, at: u8) -> IpAddr {
        self.family.service(self.number, at)
    }

    fn apply(&self, objects: &[Value]) {
        self.cluster.apply(objects);
    }

    /// A Service with the row's first address and a port 80 called `tcp`, behind which tellers are; plus more of its spec.
    fn service(&self, more: Value) -> Value {
        let mut spec = json!({ "clusterIPs": [self.vip(1)], "ports": [port("tcp", 80)] });
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        service(&self.name, spec)
    }

    /// A slice of it with these endpoints.
    fn slice(&self, part: &str, endpoints: &[Value]) -> Value {
        slice(&self.name, part, self.family, &[port("tcp", TELLER)], endpoints)
    }

    /// A slice with these pods, all ready.
    fn slice_of(&self, part: &str, pods: &[&Pod]) -> Value {
        self.slice(part, &pods.iter().map(|pod| ready(self.ip(pod))).collect::<Vec<_>>())
    }

    /// Where that Service is dialled.
    fn address(&self) -> SocketAddr {
        (self.vip(1), 80).into()
    }

    /// kube-proxy leads an address to a pod's teller.
    fn lead(&self, address: impl Into<SocketAddr>, to: &Pod) {
        self.cluster.lead(Transport::Tcp, address.into(), (self.ip(to), TELLER).into());
    }

    /// Does something while somebody dials these addresses over and over. Each time one of these pods must answer.
    fn watched(&self, addresses: &[SocketAddr], owners: &[&Pod], work: impl FnOnce()) {
        let (stop, client) = (AtomicBool::new(false), self.client());
        thread::scope(|scope| {
            // Also when the work panics: the scope waits for whoever watches.
            let stopper = Stopper(&stop);
            let watch = scope.spawn(|| {
                let (mut dialled, mut strangers) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    for address in addresses {
                        let who = client.dial(*address).map(|(told, _)| told.who);
                        let is_owner = who.as_ref().is_ok_and(|who| owners.iter().any(|owner| owner.name == who));
                        strangers.extend((!is_owner).then(|| format!("{address}: {who:?}")));
                        dialled += 1;
                    }
                }
                (dialled, strangers)
            });
            work();
            drop(stopper);
            let (dialled, strangers) = watch.join().unwrap();
            assert!(strangers.is_empty(), "{} of {dialled} dials went wrong: {strangers:?}", strangers.len());
            assert!(dialled > 20, "only {dialled} dials meanwhile");
        });
    }

    /// So many connections are passed through by a client's sidecar meanwhile.
    fn assert_passes(&self, client: usize, count: f64, work: impl FnOnce()) {
        let passed = || self.cluster.metric(client, "wasmesh_passthrough_connections_total", &[]);
        let before = passed();
        work();
        // The client is answered before the sidecar has counted.
        until(&format!("the sidecar passes {count} connections through"), || passed() >= before + count);
        assert_eq!(passed(), before + count, "passed through by the sidecar of {}", self.cluster.clients[client].name);
    }

    /// What a name comes to in the row's family, asked for over that family.
    fn dig(&self, name: &str) -> (String, BTreeSet<String>) {
        self.client().dig(&[&format!("@{}", resolver(self.family)), self.family.record(), name])
    }

    /// A full name under the cluster domain.
    fn full_name(&self) -> String {
        format!("{}.shop.svc.cluster.local", self.name)
    }
}

/// An answer with these data.
fn found<T: ToString>(data: impl IntoIterator<Item = T>) -> (String, BTreeSet<String>) {
    ("NOERROR".to_owned(), data.into_iter().map(|line| line.to_string()).collect())
}
