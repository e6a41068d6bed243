//! A pod's DNS, led to its proxy, as the resolvers of glibc, musl and Go and dig see it.

use std::collections::BTreeSet;

use wasmesh_tests::{
    ControlPlane, EndpointManifest, Folder, Service,
    dns::{NameServer, PATIENT, RESOLVERS, Resolvers, ordinary_answer},
};

use crate::pod::{BACKENDS, Pod, SERVICES, VIP4, VIP6};

/// The server that the pod's resolv.conf names, and that its proxy asks.
const SERVER: &str = "10.96.0.10";

/// What each name comes to. The search path makes full names of short ones.
const NAMES: [(&str, &[&str]); 10] = [
    ("web", &["10.96.0.7", "fd00:96::7"]),
    ("web.shop", &["10.96.0.7", "fd00:96::7"]),
    ("web.shop.svc", &["10.96.0.7", "fd00:96::7"]),
    ("Web.Shop.svc.cluster.local.", &["10.96.0.7", "fd00:96::7"]),
    ("db.shop", &["192.0.2.31", "192.0.2.32"]),
    ("db-1.db", &["192.0.2.32"]),
    ("out", &["192.0.2.80", "2001:db8::80"]),
    ("example.com", &["192.0.2.80", "2001:db8::80"]),
    ("no.example.com", &[]),
    ("missing.shop", &[]),
];

/// What a cluster's server says, which knows nothing of these Services: what comes from it did not come from the mesh.
fn others(pod: &Pod) -> [NameServer; 1] {
    pod.cluster.add_address(SERVER);
    let at = (SERVER.parse::<std::net::IpAddr>().unwrap(), 53).into();
    [pod.cluster.enter(|| {
        NameServer::at(at, |question, _| {
            let mut answer = ordinary_answer(question, 60);
            let name = question.queries[0].name().to_ascii();
            if !name.ends_with("example.com.") && !name.ends_with("example.") {
                answer.answers.clear();
                answer.metadata.response_code = hickory_proto::op::ResponseCode::NXDomain;
            }
            vec![answer.to_vec().unwrap()]
        })
    })]
}

fn services() -> [Service; 3] {
    let pod = |ip: &str, hostname| {
        EndpointManifest::from(format!("{ip}:80").parse::<std::net::SocketAddr>().unwrap()).hostname(hostname)
    };
    [
        Service::new("shop/web").vip(VIP4).vip(VIP6),
        Service::new("shop/db").headless().endpoints([pod("192.0.2.31", "db-0"), pod("192.0.2.32", "db-1")]),
        Service::external("shop/out", "alias.example"),
    ]
}

#[test]
fn every_resolver_finds_the_names_of_the_mesh_and_all_others() {
    let resolvers = Resolvers::build();
    for backend in BACKENDS {
        let pod = Pod::default();
        let _others = others(&pod);
        let search = format!(
            "nameserver {SERVER}\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n{PATIENT}\n"
        );
        pod.netns.resolv_conf(&search);
        let folder = Folder::default();
        folder.put(&services());
        let control_plane = pod.netns.enter(|| ControlPlane::start(folder.path()));
        let listen = ["--dns-listen=127.0.0.1:19053", "--dns-listen=[::1]:19053", "--namespace=shop"];
        let proxy = pod.netns.proxy_with(&control_plane.url(), "captured", &listen);
        pod.netns.enter(|| control_plane.wait_current("shop/captured"));
        let names = NAMES.map(|(name, _)| name);
        let expected = NAMES.map(|(_, addresses)| addresses.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>());
        // Without capture the cluster's server is asked, which does not know them.
        assert_eq!(resolvers.ask("glibc", &names[..1], |program| pod.netns.command(program)), [BTreeSet::new()]);
        pod.must_capture(&[&["install", backend], &SERVICES[..], &["--dns"]].concat());
        for program in RESOLVERS {
            let found = resolvers.ask(program, &names, |program| pod.netns.command(program));
            for ((name, expected), found) in names.iter().zip(&expected).zip(found) {
                assert_eq!(found, *expected, "{name} by {program}, {backend}");
            }
        }
        for way in ["+notcp", "+tcp"] {
            let mut dig = pod.netns.command("dig");
            let output = dig
                .args(["+short", "+time=10", "+tries=1", way, "SRV", "_http._tcp.db.shop.svc.cluster.local"])
                .output()
                .expect("dig");
            let said = String::from_utf8(output.stdout).unwrap();
            let lines: BTreeSet<_> = said.lines().collect();
            let ports = ["0 50 80 db-0.db.shop.svc.cluster.local.", "0 50 80 db-1.db.shop.svc.cluster.local."];
            assert_eq!(lines, BTreeSet::from(ports), "{way} {backend}");
        }
        let by_mesh = pod.netns.enter(|| proxy.admin().metric("wasmesh_dns_queries_total", &[("answer", "mesh")]));
        assert!(by_mesh >= 20.0, "{by_mesh}");
    }
}
