//! `wasmesh status`: how a proxy or a control plane stands.

use std::{collections::HashMap, fmt::Write, process::ExitCode};

use serde_json::{Map, Value, json};

use super::{ask, list, policies, print, print_json};
use crate::{
    admin,
    admin::AdminAddr,
    kubernetes::{Cluster, SYSTEM},
    options::{self, Output},
    pages::{
        self, BalancedPort, ControlPlaneSnapshot, Policies, Problems, ProxyEndpoints, ProxyPort, ProxyService,
        ProxySnapshot, PublishedService, Rejected, Snapshot, Streams,
    },
    table::Table,
};

/// The admin port of a control plane in a cluster.
const CONTROL_PLANE_PORT: u16 = 19014;

/// Asks who is there, then for what that one has to say.
pub(crate) fn status(options: &options::Status) -> anyhow::Result<ExitCode> {
    if options.control_plane {
        return of_replicas(&options.from);
    }
    let output = options.from.output;
    ask(&options.from.whom, |addr| match output {
        Output::Json => print_json(&page(addr)?),
        Output::Table => print(&table(addr)?),
    })
}

/// Each replica knows the proxies that are connected to it, so all of them are asked.
fn of_replicas(from: &options::From) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(from.whom.context.as_deref())?;
    let (mut text, mut pages) = (String::new(), Map::new());
    for replica in cluster.replicas()? {
        let forward = cluster.forward(SYSTEM, &replica, CONTROL_PLANE_PORT)?;
        match from.output {
            Output::Json => {
                pages.insert(replica, page(&forward.addr)?);
            }
            Output::Table => {
                let gap = if text.is_empty() { "" } else { "\n" };
                let _ = write!(text, "{gap}replica        {replica}\n{}", table(&forward.addr)?);
            }
        }
    }
    match from.output {
        Output::Json => print_json(&json!({ "replicas": pages })),
        Output::Table => print(&text),
    }
}

fn table(addr: &AdminAddr) -> anyhow::Result<String> {
    match pages::recognise(addr, &admin::page(addr, "/debug/snapshot")?)? {
        Snapshot::Proxy(proxy) => {
            let ProxyEndpoints { services } = pages::fetch(addr, "/debug/endpoints")?;
            Ok(of_proxy(&proxy, &services))
        }
        Snapshot::ControlPlane(snapshot) => of_control_plane(addr, &snapshot),
    }
}

fn page(addr: &AdminAddr) -> anyhow::Result<Value> {
    let page = admin::page(addr, "/debug/snapshot")?;
    Ok(match pages::recognise(addr, &page)? {
        Snapshot::Proxy(_) => json!({ "component": "proxy", "snapshot": page }),
        Snapshot::ControlPlane(_) => json!({
            "component": "control-plane",
            "snapshot": page,
            "streams": admin::page(addr, "/debug/streams")?["streams"],
            "problems": admin::page(addr, "/debug/problems")?["problems"],
            "policies": admin::page(addr, "/debug/policies")?["policies"],
        }),
    })
}

fn of_proxy(proxy: &ProxySnapshot, balanced: &[BalancedPort]) -> String {
    let held = proxy.services.iter().filter(|service| service.subscribed).count();
    let mut text = String::new();
    line(&mut text, "proxy", &format!("{}, {}", proxy.proxy, if proxy.ready { "ready" } else { "not ready" }));
    line(&mut text, "control plane", &connection(proxy));
    line(&mut text, "services", &format!("{}, endpoints held for {held}", proxy.services.len()));
    rejections(&mut text, "", &proxy.rejected);
    let mut table =
        Table::new(["SERVICE", "KIND", "ADDRESSES", "PORT", "PROTOCOL", "POLICY", "REACHABLE", "AVAILABLE"]);
    let available = Available::of(balanced);
    for service in &proxy.services {
        rows_of(service, &available).into_iter().for_each(|row| table.row(row));
    }
    let _ = write!(text, "\n{table}");
    text
}

fn connection(proxy: &ProxySnapshot) -> String {
    let state = match (&proxy.connected_to, &proxy.last_error, proxy.complete) {
        (Some(replica), _, _) => format!("connected to {replica}"),
        (None, Some(error), true) => format!("not connected ({error}); the last state serves"),
        (None, Some(error), false) => format!("not connected ({error}); no state has come yet"),
        (None, None, _) => "connecting".to_owned(),
    };
    format!("{}, {state}", proxy.control_plane)
}

/// By service and port: how many endpoints requests may go to, and how many there are.
struct Available<'a>(HashMap<(&'a str, u16), (usize, usize)>);

impl<'a> Available<'a> {
    /// The families of a port together.
    fn of(balanced: &'a [BalancedPort]) -> Self {
        let mut counts = HashMap::new();
        for port in balanced {
            let (available, all) = counts.entry((port.service.as_str(), port.port)).or_insert((0, 0));
            *available += port.endpoints.iter().filter(|endpoint| endpoint.is_available()).count();
            *all += port.endpoints.len();
        }
        Self(counts)
    }

    fn at(&self, service: &ProxyService, port: &ProxyPort) -> String {
        // Balanced are connections; datagrams pass by.
        if port.transport != "Tcp" {
            return String::new();
        }
        if !service.subscribed {
            return "on first use".to_owned();
        }
        let (available, all) = self.0.get(&(service.service.as_str(), port.port)).copied().unwrap_or_default();
        format!("{available}/{all}")
    }
}

/// One row for each port; a service without ports, an ExternalName for instance, has one as well.
fn rows_of(service: &ProxyService, available: &Available<'_>) -> Vec<[String; 8]> {
    let row = |[port, protocol, policy, reachable, available]: [String; 5]| {
        [
            service.service.clone(),
            service.kind.clone(),
            list(&service.vips),
            port,
            protocol,
            policy,
            reachable,
            available,
        ]
    };
    if service.ports.is_empty() {
        return vec![row(Default::default())];
    }
    let rows = service.ports.iter().map(|port| {
        let reachable = if port.reachable.is_empty() { "no".to_owned() } else { list(&port.reachable) };
        row([
            port_name(port.port, &port.name),
            port.protocol.clone(),
            port.policy.clone(),
            reachable,
            available.at(service, port),
        ])
    });
    rows.collect()
}

fn of_control_plane(addr: &AdminAddr, snapshot: &ControlPlaneSnapshot) -> anyhow::Result<String> {
    let Streams { streams, .. } = pages::fetch(addr, "/debug/streams")?;
    let Problems { problems } = pages::fetch(addr, "/debug/problems")?;
    let Policies { policies } = pages::fetch(addr, "/debug/policies")?;
    let mut text = String::new();
    let version = snapshot.version.as_deref().unwrap_or("nothing published yet");
    let current = streams.iter().filter(|stream| stream.current).count();
    line(&mut text, "control plane", &format!("published {} times, now {version}", snapshot.sequence));
    line(&mut text, "services", &snapshot.services.len().to_string());
    line(&mut text, "proxies", &format!("{} connected, {current} up to date", streams.len()));
    line(&mut text, "problems", &problems.len().to_string());
    for problem in &problems {
        let object = problem.object.as_deref().map(|object| format!("{object}: ")).unwrap_or_default();
        let _ = writeln!(text, "  {}: {object}{}", problem.place, problem.reason);
    }
    for stream in &streams {
        rejections(&mut text, &format!(" by {}", stream.proxy), &stream.rejected);
    }
    let mut table = Table::new(["PROXY", "NODE", "ZONE", "SOFTWARE", "CONNECTED", "STATE", "SUBSCRIPTIONS"]);
    for stream in &streams {
        table.row([
            stream.proxy.clone(),
            stream.node.clone(),
            stream.zone.clone(),
            stream.software.clone(),
            format!("{}s", stream.connected_seconds),
            if stream.current { "current" } else { "behind" }.to_owned(),
            stream.subscriptions.to_string(),
        ]);
    }
    let _ = write!(text, "\n{table}");
    let mut table = Table::new(["SERVICE", "KIND", "ADDRESSES", "PORT", "POLICY", "READY"]);
    snapshot.services.iter().flat_map(published_rows).for_each(|row| table.row(row));
    let _ = write!(text, "\n{table}");
    text.push_str(&policies::policies(&policies));
    Ok(text)
}

fn published_rows(service: &PublishedService) -> Vec<[String; 6]> {
    let row = |port: String, policy: String, ready: String| {
        [service.service.clone(), service.kind.clone(), list(&service.vips), port, policy, ready]
    };
    if service.ports.is_empty() {
        return vec![row(String::new(), String::new(), String::new())];
    }
    let rows = service.ports.iter().map(|port| {
        let mine = || service.endpoints.iter().filter(|endpoint| endpoint.port == port.name);
        let ready = format!("{}/{}", mine().filter(|endpoint| endpoint.ready).count(), mine().count());
        row(port_name(port.port, &port.name), port.policy.clone(), ready)
    });
    rows.collect()
}

fn port_name(port: u16, name: &str) -> String {
    if name.is_empty() { port.to_string() } else { format!("{port}/{name}") }
}

fn line(text: &mut String, what: &str, value: &str) {
    let _ = writeln!(text, "{what:<15}{value}");
}

fn rejections(text: &mut String, by: &str, rejected: &[Rejected]) {
    for Rejected { service, version, reason } in rejected {
        let _ = writeln!(text, "rejected{by}: {service}, version {version}: {reason}");
    }
}
