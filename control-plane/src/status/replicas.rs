//! What replicas tell each other, in Leases: one of each replica, renewed for as long as it lives.

use std::{collections::HashMap, sync::Arc, time::Duration};

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

use super::{
    Tally,
    counts::{Counts, Report},
};
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
pub async fn publish(client: Client, namespace: &str, me: &str, mut tally: Tally, mut stopping: watch::Receiver<bool>) {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let name = format!("wasmesh-replica-{me}");
    let mut written: Option<(Arc<Report>, Instant)> = None;
    let mut failing = false;
    let mut ticks = interval(INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        let now = tally.count();
        let is_same = |before: &Arc<Report>| Arc::ptr_eq(before, &now) || *before == now;
        let is_fresh = |(before, at): &(Arc<Report>, Instant)| at.elapsed() < RENEW && is_same(before);
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

/// The counts as they are written. What is too much loses its troubles first, of those before others that cannot be served at all: in
/// a namespace with hundreds of them. Then the policies that nobody uses.
fn text(report: &Report) -> String {
    let write = |report: &Report| serde_json::to_string(report).unwrap_or_else(|_| "{}".to_owned());
    let all = write(report);
    if all.len() <= MAX_BYTES {
        return all;
    }
    let mut report = report.clone();
    for is_dispensable in [|counts: &Counts| counts.version.is_empty(), |_: &Counts| true] {
        report.values_mut().filter(|counts| is_dispensable(counts)).for_each(|counts| counts.troubles.clear());
        let terse = write(&report);
        if terse.len() <= MAX_BYTES {
            return terse;
        }
    }
    report.retain(|_, counts| counts.subscribed > 0 || counts.candidate.is_some());
    while write(&report).len() > MAX_BYTES {
        let half = report.len() / 2;
        report = report.into_iter().take(half).collect();
    }
    write(&report)
}

/// What the replicas have said, by the name of each one's Lease.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    seen: HashMap<String, Seen>,
}

/// A Lease as it was last seen.
#[derive(Debug)]
struct Seen {
    renewed: Option<MicroTime>,
    /// Since when it has been renewed like that.
    since: Instant,
    counts: String,
    /// What these say, if they can be read.
    report: Option<Arc<Report>>,
}

impl Replicas {
    /// What every replica that lives says. What has been said before is the same value again.
    pub(super) async fn read(&mut self, client: &Client, namespace: &str) -> kube::Result<Vec<Arc<Report>>> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let (label, value) = LABEL;
        let listed = leases.list(&ListParams::default().labels(&format!("{label}={value}"))).await?;
        let mut before = std::mem::take(&mut self.seen);
        let mut reports = Vec::new();
        for lease in listed.items {
            let name = lease.metadata.name.clone().unwrap_or_default();
            let seen = Seen::now(lease, before.remove(&name));
            if seen.since.elapsed() > FORGOTTEN {
                // Another one may have been faster.
                let _ = leases.delete(&name, &DeleteParams::default()).await;
                continue;
            }
            reports.extend(seen.report.clone().filter(|_| seen.since.elapsed() < GONE));
            self.seen.insert(name, seen);
        }
        Ok(reports)
    }
}

impl Seen {
    fn now(mut lease: Lease, before: Option<Self>) -> Self {
        let renewed = lease.spec.and_then(|spec| spec.renew_time);
        let annotations = lease.metadata.annotations.as_mut();
        let counts = annotations.and_then(|annotations| annotations.remove(COUNTS)).unwrap_or_default();
        // Clocks of replicas differ; that nothing has changed for a while does not depend on them.
        let since = before.as_ref().filter(|before| before.renewed == renewed).map(|before| before.since);
        let report = match before {
            Some(before) if before.counts == counts => before.report,
            _ => serde_json::from_str(&counts).ok().map(Arc::new),
        };
        Self { renewed, since: since.unwrap_or_else(Instant::now), counts, report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counts::TroubleCount;

    #[test]
    fn what_has_been_said_before_is_not_read_again() {
        let said = |subscribed| {
            let counts = Counts { subscribed, ..Counts::default() };
            lease("wasmesh-replica-one", "one", &[("shop/own".to_owned(), counts)].into())
        };
        let first = Seen::now(said(1), None);
        let (report, since) = (first.report.clone().unwrap(), first.since);
        let renewed = Seen::now(said(1), Some(first));
        assert!(Arc::ptr_eq(renewed.report.as_ref().unwrap(), &report) && renewed.since >= since);
        let other = Seen::now(said(2), Some(renewed));
        assert_eq!(other.report.unwrap()["shop/own"].subscribed, 2);
        let nonsense = Lease { metadata: ObjectMeta::default(), spec: None };
        assert!(Seen::now(nonsense, None).report.is_none());
    }

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
        let unserved = report(1_000..2_000).into_iter();
        let served =
            report(0..10).into_iter().map(|(name, counts)| (name, Counts { version: "v1".to_owned(), ..counts }));
        let mixed = text(&unserved.chain(served).collect());
        assert!(
            mixed.len() <= MAX_BYTES && mixed.matches(&"x".repeat(500)).count() == 30,
            "what serves keeps its troubles"
        );
        let least = text(&report(0..10_000));
        assert!(least.len() <= MAX_BYTES && least.contains("subscribed"));
    }
}
