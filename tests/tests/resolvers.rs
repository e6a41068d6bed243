//! What dig, glibc, musl and Go find behind the sidecar and behind a real CoreDNS, for the same objects.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{collections::BTreeSet, fs, net::IpAddr, path::Path, process::Command};

use wasmesh_tests::{
    ControlPlane, Folder, Proxy,
    dns::{NameServer, PATIENT, RESOLVERS, Resolvers},
    fresh_ip,
    kube::{ApiServer, CoreDns, Named},
};

/// What dig asks of each name.
const TYPES: [&str; 5] = ["A", "AAAA", "SRV", "PTR", "MX"];

/// Where resolvers of programs ask, whatever the test likes.
const PORT: u16 = 53;

/// A resolv.conf that names one server.
fn resolv_conf(folder: &Path, server: IpAddr) -> String {
    let path = folder.join(format!("resolv.conf-{server}"));
    fs::write(&path, format!("nameserver {server}\n{PATIENT}\n")).unwrap();
    path.display().to_string()
}

/// A program that finds this file in the place of its resolv.conf.
fn beside(resolv_conf: &str, program: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, resolv_conf, program]);
    command
}

/// The code and the records of the answer, without their times, all in one case.
#[track_caller]
fn dig(server: IpAddr, way: &str, name: &str, record_type: &str) -> (String, BTreeSet<String>) {
    let mut dig = Command::new("dig");
    dig.args([&format!("@{server}"), "+time=10", "+tries=1", "+noall", "+comments", "+answer", "+nottlid", way]);
    let output = dig.args(["-q", name, "-t", record_type]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap().to_lowercase();
    assert!(output.status.success(), "dig {name} {record_type}: {said}");
    let status = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default();
    let records = said.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
    let records = records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    (status.to_owned(), records.collect())
}

#[test]
fn dig_glibc_musl_and_go_find_what_they_find_behind_coredns() {
    let server = ApiServer::shared();
    let namespace = server.namespace("resolvers");
    let named = Named::make(server, &namespace);
    let others = NameServer::ordinary(60);
    let core_dns = CoreDns::at((fresh_ip(), PORT).into(), server, others.address());
    let folder = Folder::default();
    named.write_to(&folder);
    let control_plane = ControlPlane::start(folder.path());
    let ip = fresh_ip();
    let listen = format!("--dns-listen={ip}:{PORT}");
    let proxy = Proxy::start(&control_plane.url(), &[&listen, &format!("--dns-upstream={}", core_dns.address())]);
    control_plane.wait_current(proxy.full_name());
    let (theirs, ours) = (core_dns.address().ip(), IpAddr::from(ip));

    let all = named.names();
    let mut differences = Vec::new();
    let mut asked = 0;
    for (name, record_type) in all.iter().flat_map(|name| TYPES.map(|record_type| (name, record_type))) {
        // Texts, aliases' other records and a pod's second name differ for reasons: docs/dns.md, and the test of the rung api.
        let is_alias = ["out.", "alias.", "in.", "in-in."].iter().any(|alias| name.starts_with(alias));
        let has_two_names = name.starts_with("2.21.244.10.");
        if (is_alias && !matches!(record_type, "A" | "AAAA")) || (has_two_names && record_type == "PTR") {
            continue;
        }
        let way = if asked % 2 == 0 { "+notcp" } else { "+tcp" };
        asked += 1;
        let (expected, found) = (dig(theirs, way, name, record_type), dig(ours, way, name, record_type));
        if expected != found {
            differences.push(format!("dig {way} {name} {record_type}\nCoreDNS: {expected:?}\nours: {found:?}"));
        }
    }
    // The others, of names that the mesh does not know, it has asked CoreDNS for, which answers itself the same.
    let by_mesh = || proxy.admin().metric("wasmesh_dns_queries_total", &[("answer", "mesh")]);
    let by_mesh_to_dig = by_mesh();
    assert!(
        asked >= 200 && by_mesh_to_dig >= 120.0,
        "{asked} questions, {by_mesh_to_dig} of them answered by the mesh"
    );

    let resolvers = Resolvers::build();
    let names: Vec<_> = all.iter().map(String::as_str).filter(|name| !name.ends_with(".arpa.")).collect();
    let place = tempfile::tempdir().unwrap();
    let [theirs, ours] = [theirs, ours].map(|server| resolv_conf(place.path(), server));
    for resolver in RESOLVERS {
        let expected = resolvers.ask(resolver, &names, |program| beside(&theirs, program));
        let found = resolvers.ask(resolver, &names, |program| beside(&ours, program));
        // Else both may have asked nobody.
        assert!(expected.iter().filter(|addresses| !addresses.is_empty()).count() > 10, "{resolver}: {expected:?}");
        for ((name, expected), found) in names.iter().zip(expected).zip(found) {
            if expected != found {
                differences.push(format!("{name} by {resolver}\nCoreDNS: {expected:?}\nours: {found:?}"));
            }
        }
    }
    assert!(by_mesh() >= by_mesh_to_dig + 60.0, "the resolvers were not answered by the mesh");
    eprintln!(
        "{asked} questions of dig, {by_mesh_to_dig} answered by the mesh; {} names by each of {RESOLVERS:?}",
        names.len()
    );
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
