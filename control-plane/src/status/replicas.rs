//! What replicas tell each other, in Leases: one of each replica, renewed for as long as it lives.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams},
};
use tokio::{
    sync::watch,
    time::{Instant, interval, timeout},
};

use super::counts::Report;
use crate::kubernetes::explain;

/// The annotation with the counts of a replica.
const COUNTS: &str = "wasmesh.io/counts";
/// The label by which the Leases of replicas are found.
const LABEL: (&str, &str) = ("wasmesh.io/component", "replica");
/// Who the fields of the Lease belong to.
const MANAGER: &str = "wasmesh-control-plane";

/// How often counts that have changed are written.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often the Lease is renewed although nothing has changed.
const RENEW: Duration = Duration::from_secs(10);
/// A replica whose Lease has been like this for so long is gone, and its counts with it.
const GONE: Duration = Duration::from_secs(40);
/// How long after that the Lease is deleted.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// The API server takes 256 KiB of annotations.
const MAX_BYTES: usize = 200 << 10;

/// Writes what this replica's proxies make of policies, until `stopping`; then takes it back.
pub async fn publish(
    client: Client,
    namespace: &str,
    me: &str,
    report: impl Fn() -> Report,
    mut stopping: watch::Receiver<bool>,
) {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let name = format!("wasmesh-replica-{me}");
    let mut written: Option<(Report, Instant)> = None;
    let mut failing = false;
    let mut ticks = interval(INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        let now = report();
        let is_fresh = |(before, at): &(Report, Instant)| *before == now && at.elapsed() < RENEW;
        if written.as_ref().is_some_and(is_fresh) {
            continue;
        }
        let lease = lease(&name, me, &now);
        let patch = Patch::Apply(&lease);
        match leases.patch(&name, &PatchParams::apply(MANAGER).force(), &patch).await {
            Ok(_) => {
                written = Some((now, Instant::now()));
                failing = false;
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(
                    "cannot tell the other replicas of this one's proxies in Lease {name}: {}",
                    explain(&error)
                );
            }
            Err(_) => {}
        }
    }
    let _ = timeout(Duration::from_secs(1), leases.delete(&name, &DeleteParams::default())).await;
}

fn lease(name: &str, me: &str, report: &Report) -> Lease {
    let (label, value) = LABEL;
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some([(label.to_owned(), value.to_owned())].into()),
        annotations: Some([(COUNTS.to_owned(), text(report))].into()),
        ..ObjectMeta::default()
    };
    let spec = LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(GONE.as_secs()).ok(),
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    Lease { metadata, spec: Some(spec) }
}

/// The counts as they are written. What is too much loses its troubles first, then the policies that nobody uses.
fn text(report: &Report) -> String {
    let write = |report: &Report| serde_json::to_string(report).unwrap_or_else(|_| "{}".to_owned());
    let all = write(report);
    if all.len() <= MAX_BYTES {
        return all;
    }
    let mut report = report.clone();
    report.values_mut().for_each(|counts| counts.troubles.clear());
    let terse = write(&report);
    if terse.len() <= MAX_BYTES {
        return terse;
    }
    report.retain(|_, counts| counts.subscribed > 0 || counts.candidate.is_some());
    while write(&report).len() > MAX_BYTES {
        let half = report.len() / 2;
        report = report.into_iter().take(half).collect();
    }
    write(&report)
}

/// What the replicas have said, by the name of each.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// The Lease's renewal as it was last seen, and since when it has been like that.
    seen: HashMap<String, (Option<MicroTime>, Instant)>,
}

impl Replicas {
    /// What every replica that lives says.
    pub(super) async fn read(&mut self, client: &Client, namespace: &str) -> kube::Result<Vec<Report>> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let (label, value) = LABEL;
        let listed = leases.list(&ListParams::default().labels(&format!("{label}={value}"))).await?;
        let mut reports = Vec::new();
        let mut seen = HashMap::new();
        for lease in listed.items {
            let name = lease.metadata.name.clone().unwrap_or_default();
            let renewed = lease.spec.and_then(|spec| spec.renew_time);
            // Clocks of replicas differ; that nothing has changed for a while does not depend on them.
            let since = match self.seen.get(&name) {
                Some((before, since)) if *before == renewed => *since,
                _ => Instant::now(),
            };
            if since.elapsed() > FORGOTTEN {
                // Another one may have been faster.
                let _ = leases.delete(&name, &DeleteParams::default()).await;
                continue;
            }
            let counts = lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(COUNTS));
            let report = counts.and_then(|counts| serde_json::from_str(counts).ok());
            reports.extend(report.filter(|_| since.elapsed() < GONE));
            seen.insert(name, (renewed, since));
        }
        self.seen = seen;
        Ok(reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counts::{Counts, TroubleCount};

    #[test]
    fn what_is_written_fits_into_an_annotation() {
        let trouble = TroubleCount { reason: "x".repeat(500), count: 1, ..TroubleCount::default() };
        let counts = |subscribed| Counts { subscribed, troubles: vec![trouble.clone(); 3], ..Counts::default() };
        let report = |range: std::ops::Range<usize>| -> Report {
            range.map(|n| (format!("namespace/policy-{n}"), counts(n % 2))).collect()
        };
        assert!(text(&report(0..10)).contains("xxx"));
        let terse = text(&report(0..1_000));
        assert!(terse.len() <= MAX_BYTES && terse.contains("policy-998"));
        let least = text(&report(0..10_000));
        assert!(least.len() <= MAX_BYTES && least.contains("subscribed"));
    }
}
