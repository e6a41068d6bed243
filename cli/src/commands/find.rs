//! From what a person types to a service that a proxy knows.

use anyhow::bail;

use crate::{
    pages::{ProxyService, ProxySnapshot},
    service_name::{Lookup, look_up},
};

/// The service that is meant.
///
/// # Errors
/// There is none, or there are several; with suggestions.
pub(crate) fn find<'a>(proxy: &'a ProxySnapshot, wanted: &str) -> anyhow::Result<&'a ProxyService> {
    let names: Vec<&str> = proxy.services.iter().map(|service| service.service.as_str()).collect();
    let found = match look_up(wanted, &names) {
        Lookup::Found(name) => proxy.services.iter().find(|service| service.service == name),
        Lookup::Several(names) => bail!("{wanted} is in several namespaces, say which: {}", names.join(", ")),
        Lookup::Unknown(alike) => bail!("{}", unknown(proxy, wanted, &alike)),
    };
    found.ok_or_else(|| anyhow::anyhow!("no service {wanted}"))
}

fn unknown(proxy: &ProxySnapshot, wanted: &str, alike: &[&str]) -> String {
    let hint = match (alike, proxy.complete) {
        (_, false) => "; the control plane has not told it of any service yet, see `wasmesh status`".to_owned(),
        ([], true) => format!("; `wasmesh status` lists the {} it knows", proxy.services.len()),
        (alike, true) => format!("; did you mean {}?", alike.join(" or ")),
    };
    format!("proxy {} knows no service {wanted}{hint}", proxy.proxy)
}
