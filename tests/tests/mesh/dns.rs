//! DNS: what the mesh answers itself, and what it has others answer.

use std::{net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use wasmesh_tests::{
    EndpointManifest, Mesh, Service,
    dns::{DnsClient, NameServer, Over, answers, data, ordinary_answer},
    fresh_ip, until,
};

const V4: [u8; 4] = [10, 96, 0, 10];

/// A mesh whose proxy answers DNS and asks this server.
fn mesh<const N: usize>(server: SocketAddr, services: [Service; N]) -> Mesh {
    mesh_with(server, &[], services)
}

fn mesh_with<const N: usize>(server: SocketAddr, options: &[&str], services: [Service; N]) -> Mesh {
    let (listen, upstream) = (format!("--dns-listen={}:0", fresh_ip()), format!("--dns-upstream={server}"));
    Mesh::with(&[&[listen.as_str(), upstream.as_str()], options].concat(), services)
}

fn client(mesh: &Mesh) -> DnsClient {
    DnsClient::of(mesh.dns())
}

fn pod(address: &str, hostname: &str) -> EndpointManifest {
    EndpointManifest::from(address.parse::<SocketAddr>().unwrap()).hostname(hostname)
}

#[test]
fn names_of_the_mesh_are_answered_from_what_it_knows() {
    let server = NameServer::ordinary(60);
    let mesh = mesh(server.address(), [Service::new("shop/web").vip(V4)]);
    let answer = client(&mesh).ask("Web.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(answers(&answer), ["Web.shop.svc.cluster.local. 5 IN A 10.96.0.10"]);
    let flags = answer.metadata;
    assert!(flags.authoritative && flags.recursion_available && flags.recursion_desired && !flags.truncation);
    assert!(answer.edns.is_none());

    let nothing = client(&mesh).edns(4096).ask("web.shop.svc.cluster.local.", RecordType::AAAA);
    assert_eq!((nothing.metadata.response_code, nothing.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(nothing.authorities.len(), 1, "how long that holds is said");
    assert_eq!(nothing.edns.as_ref().map(hickory_proto::op::Edns::max_payload), Some(1232));
    assert_eq!(server.asked(), []);
}

#[test]
fn a_name_follows_its_service() {
    let server = NameServer::ordinary(60);
    let mesh = mesh(server.address(), [Service::new("shop/web").vip(V4)]);
    let ask = || client(&mesh).ask("web.shop.svc.cluster.local.", RecordType::A);
    assert_eq!(data(&ask()), ["10.96.0.10"]);
    mesh.apply([Service::new("shop/web").vip([10, 96, 0, 11])]);
    assert_eq!(data(&ask()), ["10.96.0.11"]);
    mesh.apply([Service::external("shop/web", "example.com")]);
    assert_eq!(data(&ask()), ["192.0.2.80", "example.com."]);
    mesh.apply([Service::new("shop/other").vip(V4)]);
    // Now it is nobody's: whoever else knows names is asked.
    assert_eq!(data(&ask()), ["192.0.2.80"]);
}

#[test]
fn row_10_a_headless_service_is_asked_for_when_it_is_used() {
    let server = NameServer::ordinary(60);
    let pods = [pod("10.244.1.1:80", "db-0"), pod("10.244.1.2:80", "db-1")];
    let mesh = mesh(server.address(), [Service::new("shop/db").headless().endpoints(pods)]);
    let ask = |name: &str| data(&client(&mesh).ask(&format!("{name}.shop.svc.cluster.local."), RecordType::A));
    assert_eq!(ask("db"), ["10.244.1.1", "10.244.1.2"]);
    assert_eq!(ask("db-1.db"), ["10.244.1.2"]);
    let ports = client(&mesh).ask("_http._tcp.db.shop.svc.cluster.local.", RecordType::SRV);
    assert_eq!(data(&ports), ["0 50 80 db-0.db.shop.svc.cluster.local.", "0 50 80 db-1.db.shop.svc.cluster.local."]);
    assert_eq!(ports.additionals.len(), 2);
    let names = client(&mesh).ask("2.1.244.10.in-addr.arpa.", RecordType::PTR);
    assert_eq!(data(&names), ["db-1.db.shop.svc.cluster.local."]);
    assert_eq!(server.asked(), []);
}

#[test]
fn everything_else_is_forwarded_and_kept_for_a_while() {
    let server = NameServer::ordinary(60);
    let mesh = mesh(server.address(), [Service::new("shop/web").vip(V4)]);
    let ask = |name: &str, kind| client(&mesh).ask(name, kind);
    assert_eq!(answers(&ask("example.com.", RecordType::A)), ["example.com. 60 IN A 192.0.2.80"]);
    assert_eq!(data(&ask("EXAMPLE.com.", RecordType::A)), ["192.0.2.80"]);
    assert_eq!(data(&ask("example.com.", RecordType::AAAA)), ["2001:db8::80"]);
    for _ in 0..2 {
        let nothing = ask("nobody.example.", RecordType::A);
        assert_eq!((nothing.metadata.response_code, nothing.authorities.len()), (ResponseCode::NXDomain, 1));
    }
    // The forms that a search path makes go the same way.
    assert_eq!(data(&ask("example.com.shop.svc.cluster.local.", RecordType::A)), ["192.0.2.80"]);
    let asked: Vec<_> = server.asked().into_iter().map(|(name, _)| name).collect();
    assert_eq!(asked, ["example.com.", "example.com.", "nobody.example.", "example.com.shop.svc.cluster.local."]);
    // Other meshes of this process count into the same.
    assert!(mesh.admin().metric("wasmesh_dns_queries_total", &[("answer", "cache")]) >= 2.0);
    assert!(mesh.admin().metric("wasmesh_dns_queries_total", &[("answer", "forwarded")]) >= 4.0);
    assert!(mesh.admin().metric("wasmesh_dns_cache_entries", &[]) >= 1.0);
}

#[test]
fn an_alias_of_another_name_is_followed() {
    let server = NameServer::ordinary(60);
    let mesh = mesh(server.address(), [Service::external("shop/out", "alias.example")]);
    let answer = client(&mesh).ask("out.shop.svc.cluster.local.", RecordType::A);
    let lines: Vec<_> = answer.answers.iter().map(ToString::to_string).collect();
    let expected = [
        "out.shop.svc.cluster.local. 5 IN CNAME alias.example.",
        "alias.example. 60 IN CNAME target.example.",
        "target.example. 60 IN A 192.0.2.80",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_does_not_fit_is_cut_for_udp_and_whole_over_tcp() {
    let server = NameServer::ordinary(60);
    let pods = (1..=100).map(|n| pod(&format!("10.244.1.{n}:80"), ""));
    let mesh = mesh(server.address(), [Service::new("shop/db").headless().endpoints(pods)]);
    let name = "db.shop.svc.cluster.local.";
    for (client, at_most) in [(client(&mesh), 512), (client(&mesh).edns(100), 512), (client(&mesh).edns(9000), 1232)] {
        let answer = client.ask(name, RecordType::A);
        assert!(answer.metadata.truncation && answer.answers.len() > 20, "{answer:?}");
        assert!(answer.to_vec().unwrap().len() <= at_most);
    }
    let whole = client(&mesh).ask_tcp(&[(name, RecordType::A), ("example.com.", RecordType::A)]);
    assert_eq!((whole[0].answers.len(), whole[0].metadata.truncation), (100, false));
    assert_eq!(data(&whole[1]), ["192.0.2.80"]);
}

#[test]
fn a_server_whose_answer_is_cut_is_asked_over_tcp() {
    let server = NameServer::start(|question, over| {
        let mut answer = ordinary_answer(question, 60);
        let name = question.queries[0].name().clone();
        match over {
            Over::Udp => {
                answer.answers.clear();
                answer.metadata.truncation = true;
            }
            Over::Tcp => {
                answer.add_answers(
                    (0..100).map(|n| Record::from_rdata(name.clone(), 60, RData::A(A([192, 0, 2, n].into())))),
                );
            }
        }
        vec![answer.to_vec().unwrap()]
    });
    let mesh = mesh(server.address(), [Service::new("shop/web").vip(V4)]);
    let cut = client(&mesh).ask("big.example.", RecordType::A);
    assert!(cut.metadata.truncation && !cut.answers.is_empty());
    let whole = client(&mesh).ask_tcp(&[("big.example.", RecordType::A)]);
    assert_eq!((whole[0].answers.len(), whole[0].metadata.truncation), (101, false));
    let big = "big.example.".to_owned();
    assert_eq!(server.asked(), [(big.clone(), Over::Udp), (big, Over::Tcp)]);
}

#[test]
fn an_answer_to_what_was_not_asked_is_left_out() {
    let server = NameServer::start(|question, _| {
        let good = ordinary_answer(question, 60);
        let forged = |change: &dyn Fn(&mut Message)| {
            let mut forged = ordinary_answer(question, 60);
            forged.answers[0].data = RData::A(A([192, 0, 2, 66].into()));
            change(&mut forged);
            forged.to_vec().unwrap()
        };
        vec![
            b"garbage".to_vec(),
            // Counts that promise far more than there is.
            vec![0, 0, 0x80, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            forged(&|message| message.metadata.id ^= 1),
            forged(&|message| {
                message.queries[0] = hickory_proto::op::Query::query("x.example.".parse().unwrap(), RecordType::A);
            }),
            forged(&|message| message.queries.clear()),
            forged(&|message| message.metadata.message_type = hickory_proto::op::MessageType::Query),
            good.to_vec().unwrap(),
        ]
    });
    let mesh = mesh(server.address(), [Service::new("shop/web").vip(V4)]);
    assert_eq!(data(&client(&mesh).ask("example.com.", RecordType::A)), ["192.0.2.80"]);
    assert!(mesh.admin().metric("wasmesh_dns_upstream_failures_total", &[("reason", "stray")]) >= 6.0);
}

#[test]
fn with_every_server_gone_the_mesh_still_answers_for_its_names() {
    let gone = NameServer::ordinary(60).address();
    let mesh = mesh(gone, [Service::new("shop/web").vip(V4)]);
    assert_eq!(data(&client(&mesh).ask("web.shop.svc.cluster.local.", RecordType::A)), ["10.96.0.10"]);
    // A search path must come to its next entry.
    let none = client(&mesh).ask("web.shop.shop.svc.cluster.local.", RecordType::A);
    assert_eq!((none.metadata.response_code, none.authorities.len()), (ResponseCode::NXDomain, 1));
    let failed = client(&mesh).ask("example.com.", RecordType::A);
    assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn pods_that_the_control_plane_does_not_tell_of_are_asked_for_elsewhere() {
    let server = NameServer::ordinary(60);
    let service = Service::new("shop/db").headless().endpoint(pod("10.244.1.1:80", "db-0"));
    let mesh = mesh_with(server.address(), &["--first-use-wait=0.05"], [service]);
    let Mesh { control_plane, proxy, folder: _folder } = mesh;
    drop(control_plane);
    until("the proxy has noticed", || proxy.snapshot()["connected_to"].is_null());
    for _ in 0..2 {
        let answer = DnsClient::of(proxy.dns()).ask("db.shop.svc.cluster.local.", RecordType::A);
        assert_eq!(data(&answer), ["192.0.2.80"]);
    }
    assert_eq!(server.asked().len(), 1, "what was heard is kept");
}

#[test]
fn another_server_is_asked_when_one_is_silent_or_says_that_it_fails() {
    let silent = NameServer::start(|_, _| Vec::new());
    let failing = NameServer::start(|question, _| {
        let mut answer = ordinary_answer(question, 60);
        answer.answers.clear();
        answer.metadata.response_code = ResponseCode::ServFail;
        vec![answer.to_vec().unwrap()]
    });
    let good = NameServer::ordinary(60);
    let more = [failing.address(), good.address()].map(|server| format!("--dns-upstream={server}"));
    let mesh = mesh_with(silent.address(), &[&more[0], &more[1]], [Service::new("shop/web").vip(V4)]);
    assert_eq!(data(&client(&mesh).ask("one.example.", RecordType::A)), ["192.0.2.80"]);
    assert_eq!(data(&client(&mesh).ask("two.example.", RecordType::A)), ["192.0.2.80"]);
    // The silent one is passed over for a while.
    assert_eq!(silent.asked().len(), 1);
}

#[test]
fn nonsense_is_refused_or_not_answered_and_harms_nobody() {
    let server = NameServer::ordinary(60);
    let mesh = mesh(server.address(), [Service::new("shop/web").vip(V4)]);
    let client = client(&mesh);
    let good = client.question("web.shop.svc.cluster.local.", RecordType::A).to_vec().unwrap();
    let code = |bytes: &[u8]| Message::from_vec(&client.send(bytes).unwrap()).unwrap().metadata.response_code;
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // A response is never answered, or two servers could keep each other busy for ever; nor is what is no message.
    for bytes in [&with(2, 0x81)[..], &good[..11], &[]] {
        assert!(client.send_patiently(bytes, Duration::from_millis(100)).is_err(), "{bytes:?}");
    }
    assert_eq!(code(&with(2, 0x29)), ResponseCode::NotImp, "an update");
    for (at, what) in [(5, "two questions"), (7, "answers"), (8, "authorities"), (10, "a thousand records")] {
        assert_eq!(code(&with(at, 2)), ResponseCode::FormErr, "{what}");
    }
    assert_eq!(code(&good[..20]), ResponseCode::FormErr, "cut off");
    // A name that points at itself.
    let circle = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    assert_eq!(code(&circle), ResponseCode::FormErr);
    let version = [&with(11, 1)[..], &[0, 0, 41, 2, 0, 0, 1, 0, 0, 0, 0]].concat();
    assert_eq!(u16::from(code(&version)), 16, "BADVERS");
    let mut random = fastrand::Rng::with_seed(6);
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        let _ = client.send_patiently(&bytes, Duration::from_micros(1));
    }
    assert_eq!(data(&client.ask("web.shop.svc.cluster.local.", RecordType::A)), ["10.96.0.10"]);
    assert!(mesh.admin().metric("wasmesh_dns_queries_total", &[("answer", "malformed")]) >= 10.0);
}

#[test]
fn a_flood_of_names_is_dropped_past_a_bound_and_mesh_names_go_on() {
    let silent = NameServer::start(|_, _| Vec::new());
    let mesh = mesh_with(silent.address(), &["--max-dns-queries=8"], [Service::new("shop/web").vip(V4)]);
    let client = client(&mesh);
    for n in 0..100 {
        let question = client.question(&format!("flood-{n}.example."), RecordType::A);
        let _ = client.send_patiently(&question.to_vec().unwrap(), Duration::from_micros(1));
    }
    until("what is too much was dropped", || {
        mesh.admin().metric("wasmesh_dns_queries_total", &[("answer", "dropped")]) >= 92.0
    });
    assert_eq!(data(&client.ask("web.shop.svc.cluster.local.", RecordType::A)), ["10.96.0.10"]);
}

#[test]
fn connections_past_the_bound_are_closed() {
    let server = NameServer::ordinary(60);
    let mesh = mesh_with(server.address(), &["--max-dns-connections=2"], [Service::new("shop/web").vip(V4)]);
    let _open = [(); 2].map(|()| std::net::TcpStream::connect(mesh.dns()).unwrap());
    until("a third is closed", || {
        let mut third = std::net::TcpStream::connect(mesh.dns()).unwrap();
        third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        matches!(std::io::Read::read(&mut third, &mut [0]), Ok(0))
    });
    assert!(mesh.admin().metric("wasmesh_dns_connections_dropped_total", &[]) >= 1.0);
    assert_eq!(data(&client(&mesh).ask("web.shop.svc.cluster.local.", RecordType::A)), ["10.96.0.10"]);
}
