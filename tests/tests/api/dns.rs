//! The sidecar's DNS beside a real CoreDNS, on the same objects.

use std::{collections::BTreeSet, net::SocketAddr};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use serde_json::{Value, json};
use wasmesh_tests::{
    ControlPlane, Folder, Proxy,
    dns::{DnsClient, NameServer},
    eventually, fresh_ip,
    kube::{ApiServer, CoreDns},
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

/// Services of every kind, with pods and slices.
fn objects(server: &ApiServer, namespace: &str) {
    server.node("dns-node", None);
    let service = |name: &str, spec: Value| {
        let metadata = json!({ "name": name, "namespace": namespace });
        server.apply(&json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }).to_string());
    };
    let ports = json!([
        { "name": "http", "port": 80, "targetPort": 8080 },
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
    ]);
    let both = "RequireDualStack";
    service("web", json!({ "selector": { "app": "web" }, "ports": ports, "ipFamilyPolicy": both }));
    service("v4", json!({ "selector": { "app": "none" }, "ports": [{ "port": 80 }] }));
    service("v6", json!({ "ports": [{ "name": "http", "port": 80 }], "ipFamilies": ["IPv6"] }));
    service("node", json!({ "type": "NodePort", "ports": [{ "name": "http", "port": 80 }] }));
    service("db", json!({ "clusterIP": "None", "selector": { "app": "db" }, "ports": ports, "ipFamilyPolicy": both }));
    service(
        "empty",
        json!({ "clusterIP": "None", "selector": { "app": "none" }, "ports": [{ "name": "http", "port": 80 }] }),
    );
    service("manual", json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] }));
    service("bare", json!({ "clusterIP": "None", "selector": { "app": "db" } }));
    service("out", json!({ "type": "ExternalName", "externalName": "example.com" }));
    service("alias", json!({ "type": "ExternalName", "externalName": "alias.example" }));
    service("in", json!({ "type": "ExternalName", "externalName": format!("web.{namespace}.svc.cluster.local") }));
    service("in-in", json!({ "type": "ExternalName", "externalName": format!("in.{namespace}.svc.cluster.local") }));

    for (name, app, subdomain, ips, ready) in [
        ("web-1", "web", None, ["10.244.21.1", "fd00:10:244::21:1"], true),
        ("db-0", "db", Some("db"), ["10.244.21.2", "fd00:10:244::21:2"], true),
        ("db-1", "db", Some("db"), ["10.244.21.3", "fd00:10:244::21:3"], true),
        ("db-2", "db", Some("db"), ["10.244.21.4", "fd00:10:244::21:4"], false),
        ("db-x", "db", None, ["10.244.21.5", "fd00:10:244::21:5"], true),
    ] {
        let mut spec = json!({
            "nodeName": "dns-node",
            "containers": [{ "name": "app", "image": "none", "ports": [{ "name": "http", "containerPort": 8080 }] }],
        });
        if let Some(subdomain) = subdomain {
            spec["hostname"] = name.into();
            spec["subdomain"] = subdomain.into();
        }
        let metadata = json!({ "name": name, "namespace": namespace, "labels": { "app": app } });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        server.kubectl(&["create", "--filename", "-"], &pod.to_string());
        server.report(namespace, name, &ips, ready);
    }
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "manual-1", "namespace": namespace, "labels": { "kubernetes.io/service-name": "manual" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 7000 }],
        "endpoints": [
            { "addresses": ["192.0.2.31"], "hostname": "one" },
            { "addresses": ["192.0.2.32"], "hostname": "Two".to_lowercase() },
            { "addresses": ["192.0.2.33"] },
            { "addresses": ["192.0.2.34"], "conditions": { "ready": false } },
        ],
    });
    server.apply(&slice.to_string());
}

/// Everything that a resolver might ask of these, and much that it would not.
fn names(server: &ApiServer, namespace: &str) -> Vec<String> {
    let services =
        ["web", "v4", "v6", "node", "db", "empty", "manual", "bare", "out", "alias", "in", "in-in", "unknown"];
    let mut names = Vec::new();
    for service in services {
        let parts = ["", "_http._tcp.", "_dns._udp.", "_dns._tcp.", "_no._tcp.", "no."];
        names.extend(parts.map(|part| format!("{part}{service}.{namespace}.svc.cluster.local.")));
    }
    for host in ["db-0", "db-1", "db-2", "db-x", "10-244-21-5", "fd00-10-244--21-5", "10-244-21-2"] {
        names.push(format!("{host}.db.{namespace}.svc.cluster.local."));
    }
    for host in ["one", "TWO", "192-0-2-33", "192-0-2-34"] {
        names.push(format!("{host}.manual.{namespace}.svc.cluster.local."));
    }
    names.push(format!("10-244-21-1.web.{namespace}.svc.cluster.local."));
    names.push(format!("WEB.{namespace}.Svc.Cluster.Local."));
    names.push(format!("{namespace}.svc.cluster.local."));
    names.push("no-such-namespace.svc.cluster.local.".to_owned());
    names.push("svc.cluster.local.".to_owned());
    names.push(format!("web.{namespace}.pod.cluster.local."));
    names.push(format!("example.com.{namespace}.svc.cluster.local."));
    names.push("example.com.".to_owned());
    names.push("nothing.example.".to_owned());
    let vips = server.kubectl(
        &["--namespace", namespace, "get", "services", "--output=jsonpath={.items[*].spec.clusterIPs[*]}"],
        "",
    );
    let pods = ["10.244.21.2", "fd00:10:244::21:3", "192.0.2.31", "192.0.2.77"];
    for ip in vips.split_whitespace().filter(|ip| *ip != "None").chain(pods) {
        names.push(hickory_proto::rr::Name::from(ip.parse::<std::net::IpAddr>().unwrap()).to_ascii());
    }
    names
}

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
    objects(server, &namespace);
    let of_namespace = |kind: &str| {
        let listed = server.kubectl(&["--namespace", &namespace, "get", kind, "--output=json"], "");
        serde_json::from_str::<Value>(&listed).unwrap()
    };
    eventually("the controller has written the slices", || {
        let slices = of_namespace("endpointslices").to_string();
        ["10.244.21.1", "fd00:10:244::21:5", "db-1"].iter().all(|it| slices.contains(it)).then_some(())
    });
    let others = NameServer::ordinary(60);
    let core_dns = CoreDns::start(server, others.address());
    let theirs = DnsClient::of(core_dns.address());
    eventually("CoreDNS has seen the last of it", || {
        let answer = theirs.ask(&format!("manual.{namespace}.svc.cluster.local."), RecordType::A);
        (answer.answers.len() == 3).then_some(())
    });

    let folder = Folder::default();
    folder.write("services.yaml", &of_namespace("services").to_string());
    folder.write("slices.yaml", &of_namespace("endpointslices").to_string());
    let control_plane = ControlPlane::start(folder.path());
    let proxy = |upstream: SocketAddr| {
        let (listen, upstream) = (format!("--dns-listen={}:0", fresh_ip()), format!("--dns-upstream={upstream}"));
        let proxy = Proxy::start(&control_plane.url(), &[&listen, &upstream]);
        control_plane.wait_current(proxy.full_name());
        proxy
    };
    let (beside, alone) = (proxy(core_dns.address()), proxy(NameServer::ordinary(60).address()));

    let (mut asked, mut by_mesh, mut differences) = (0, 0, Vec::new());
    for name in names(server, &namespace) {
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
