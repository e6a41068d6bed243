//! The sidecar's DNS beside a real CoreDNS, on the same objects.

use std::{collections::BTreeSet, net::SocketAddr};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use wasmesh_tests::{
    ControlPlane, Folder, Proxy,
    dns::{DnsClient, NameServer},
    eventually, fresh_ip,
    kube::{ApiServer, CoreDns, Named},
};

/// What is asked of each name.
const TYPES: [RecordType; 7] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::SRV,
    RecordType::CNAME,
    RecordType::PTR,
    RecordType::TXT,
    RecordType::MX,
];

/// An answer as text: the code, then the records in order, without times, all in one case.
fn text(answer: &Message) -> String {
    let lines: BTreeSet<_> = answer
        .answers
        .iter()
        .map(|record| format!("{} {} {}", record.name, record.record_type(), record.data).to_lowercase())
        .collect();
    format!("{:?} {lines:#?}", answer.metadata.response_code)
}

#[test]
fn the_sidecar_answers_what_coredns_answers() {
    let server = ApiServer::shared();
    let namespace = server.namespace("dns");
    let named = Named::make(server, &namespace);
    let others = NameServer::ordinary(60);
    let core_dns = CoreDns::start(server, others.address());
    let theirs = DnsClient::of(core_dns.address());
    eventually("CoreDNS has seen the last of it", || {
        let answer = theirs.ask(&format!("manual.{namespace}.svc.cluster.local."), RecordType::A);
        (answer.answers.len() == 3).then_some(())
    });

    let folder = Folder::default();
    named.write_to(&folder);
    let control_plane = ControlPlane::start(folder.path());
    let proxy = |upstream: SocketAddr| {
        let (listen, upstream) = (format!("--dns-listen={}:0", fresh_ip()), format!("--dns-upstream={upstream}"));
        let proxy = Proxy::start(&control_plane.url(), &[&listen, &upstream]);
        control_plane.wait_current(proxy.full_name());
        proxy
    };
    let (beside, alone) = (proxy(core_dns.address()), proxy(NameServer::ordinary(60).address()));

    let (mut asked, mut by_mesh, mut differences) = (0, 0, Vec::new());
    for name in named.names() {
        for record_type in TYPES {
            let expected = text(&theirs.ask(&name, record_type));
            let found = text(&DnsClient::of(beside.dns()).ask(&name, record_type));
            asked += 1;
            if found != expected && !is_known_difference(&name, record_type, &namespace) {
                differences.push(format!("{name} {record_type}\nCoreDNS: {expected}\nours: {found}"));
            }
            // With its servers gone the mesh answers for its own names alone, and says the same.
            let left = DnsClient::of(alone.dns()).ask(&name, record_type);
            if left.metadata.authoritative {
                by_mesh += 1;
                let denied = left.metadata.response_code == ResponseCode::NXDomain;
                if text(&left) != expected && !denied && !is_known_difference(&name, record_type, &namespace) {
                    differences
                        .push(format!("{name} {record_type}, alone\nCoreDNS: {expected}\nours: {}", text(&left)));
                }
            }
        }
    }
    assert!(asked >= 700 && by_mesh >= 200, "{asked} questions, {by_mesh} of them answered by the mesh");
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}

/// Those of docs/dns.md.
fn is_known_difference(name: &str, record_type: RecordType, namespace: &str) -> bool {
    let is = |service: &str| name == format!("{service}.{namespace}.svc.cluster.local.");
    let is_alias = ["out", "alias", "in", "in-in"].iter().any(|service| is(service));
    // Whatever is asked of an alias but addresses is answered by the alias.
    // CoreDNS denies these names for texts, and for nothing else.
    let holds_nothing = name == "svc.cluster.local." || name == format!("{namespace}.svc.cluster.local.");
    // The pod has another name in a Service that this proxy does not use.
    let has_two_names = name == "2.21.244.10.in-addr.arpa.";
    (has_two_names && record_type == RecordType::PTR)
        || (holds_nothing && record_type == RecordType::TXT)
        || is_alias && !matches!(record_type, RecordType::A | RecordType::AAAA | RecordType::CNAME)
}
