//! `wasmesh endpoints SERVICE`: what a proxy balances over.

use std::{fmt::Write, process::ExitCode};

use anyhow::bail;

use super::{ask, find, print, print_json};
use crate::{
    admin,
    admin::AdminAddr,
    options::{self, Output},
    pages::{self, BalancedEndpoint, BalancedPort, ProxyEndpoints, ProxySnapshot, Snapshot},
    table::Table,
};

/// Finds the service among those the proxy knows, then asks for its endpoints.
pub(crate) fn endpoints(options: &options::Endpoints) -> anyhow::Result<ExitCode> {
    ask(&options.from.whom, |addr| of(addr, options))
}

fn of(addr: &AdminAddr, options: &options::Endpoints) -> anyhow::Result<ExitCode> {
    let Snapshot::Proxy(proxy) = pages::recognise(addr, &admin::page(addr, "/debug/snapshot")?)? else {
        bail!(
            "{addr} is a control plane: which endpoints a request may go to is each proxy's own view, so ask a proxy's \
             admin address"
        );
    };
    let service = find(&proxy, &options.service)?;
    if service.kind == "ExternalName" {
        bail!("{} is an ExternalName: another name for a host elsewhere, without endpoints", service.service);
    }
    if !service.subscribed {
        bail!("{}", not_subscribed(&proxy, &service.service));
    }
    let page = admin::page(addr, &format!("/debug/endpoints?service={}", service.service))?;
    match options.from.output {
        Output::Json => print_json(&page),
        Output::Table => {
            let ProxyEndpoints { services } = pages::read(addr, page)?;
            print(&tables(&service.service, &services))
        }
    }
}

fn not_subscribed(proxy: &ProxySnapshot, service: &str) -> String {
    format!(
        "proxy {} holds no endpoints of {service}: it asks for those of a service when the service is first used and \
         gives them up when it no longer is. Send a request to it through the proxy and look again.",
        proxy.proxy
    )
}

fn tables(service: &str, ports: &[BalancedPort]) -> String {
    if ports.is_empty() {
        return format!("{service} has no endpoints\n");
    }
    let tables: Vec<_> = ports.iter().map(table).collect();
    tables.join("\n")
}

fn table(port: &BalancedPort) -> String {
    let BalancedPort { service, port, port_name, family, policy, endpoints } = port;
    let name = if port_name.is_empty() { String::new() } else { format!(" ({port_name})") };
    let mut table = Table::new(["ADDRESS", "ZONE", "NODE", "WEIGHT", "PRIORITY", "AVAILABLE", "IN-FLIGHT", "LATENCY"]);
    let mut endpoints: Vec<_> = endpoints.iter().collect();
    endpoints.sort_by_key(|endpoint| endpoint.address);
    endpoints.into_iter().for_each(|endpoint| table.row(row(endpoint)));
    let mut text = String::new();
    let _ = write!(text, "{service} port {port}{name}, {family}, {policy}\n{table}");
    text
}

fn row(endpoint: &BalancedEndpoint) -> [String; 8] {
    [
        endpoint.address.to_string(),
        endpoint.zone.clone(),
        endpoint.node.clone(),
        endpoint.weight.to_string(),
        endpoint.priority.to_string(),
        availability(endpoint).to_owned(),
        endpoint.in_flight.to_string(),
        latency(endpoint.latency_us),
    ]
}

/// Whether requests may go there: `no` if by its readiness or the place where it runs it is not among those to choose
/// from, `ejected` if it is and gets nothing for a while because it kept failing.
fn availability(endpoint: &BalancedEndpoint) -> &'static str {
    match endpoint.candidate {
        _ if endpoint.is_available() => "yes",
        true => "ejected",
        false => "no",
    }
}

/// Nothing for an endpoint that has not answered yet.
fn latency(us: f64) -> String {
    match us {
        us if us <= 0.0 => String::new(),
        us if us < 1_000.0 => format!("{us:.0}us"),
        us if us < 1_000_000.0 => format!("{:.1}ms", us / 1_000.0),
        us => format!("{:.1}s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::latency;

    #[test]
    fn latencies_are_short() {
        let all = [0.0, 87.4, 2_340.0, 1_500_000.0].map(latency);
        assert_eq!(all, ["", "87us", "2.3ms", "1.5s"]);
    }
}
