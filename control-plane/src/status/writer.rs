//! The leader writes the status of policies.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, interval},
};

use super::{
    conditions::object_status,
    counts::{Counts, Report, name_of, sum},
    replicas::Replicas,
};
use crate::{
    events,
    findings::PolicyStatuses,
    kubernetes::explain,
    translate::{
        ObjectKey,
        policy::{PolicyStatus, ancestors::ObjectStatus, spec::LoadBalancingPolicy},
    },
};

/// How often what has changed is written: numbers of proxies change all the time in a rollout.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many objects are written at a time; the others are next.
const BATCH: usize = 50;
/// How long something that was written, or refused, is let be before it is written again: it comes back by the watch.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the status of policies whenever this replica leads, for as long as it is polled.
pub async fn write(client: Client, namespace: &str, statuses: PolicyStatuses, leads: watch::Receiver<bool>) {
    let mut writer = Writer { client, replicas: Replicas::default(), sent: HashMap::new(), told: None };
    let mut ticks = interval(INTERVAL);
    loop {
        ticks.tick().await;
        if !*leads.borrow() {
            writer.sent.clear();
            continue;
        }
        let result = writer.round(namespace, &statuses.list(), &leads).await;
        let failure = result.err().map(|error| explain(&error));
        if let Some(reason) = failure.as_ref().filter(|reason| writer.told.as_ref() != Some(*reason)) {
            tracing::warn!("cannot write the status of policies: {reason}");
        }
        writer.told = failure;
    }
}

struct Writer {
    client: Client,
    replicas: Replicas,
    /// What has been written and may not have come back yet.
    sent: HashMap<ObjectKey, (ObjectStatus, Instant)>,
    /// The failure that has been logged.
    told: Option<String>,
}

impl Writer {
    async fn round(
        &mut self,
        namespace: &str,
        statuses: &Arc<Vec<PolicyStatus>>,
        leads: &watch::Receiver<bool>,
    ) -> kube::Result<()> {
        if statuses.is_empty() {
            return Ok(());
        }
        let reports = self.replicas.read(&self.client, namespace).await?;
        // Whole seconds, as the API server writes times.
        let now = Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default());
        let mut wanted = Vec::new();
        for status in statuses.iter() {
            let next = object_status(status, &counts_of(status, &reports), &now);
            let is_sent = |(sent, at): &(ObjectStatus, Instant)| *sent == next && at.elapsed() < PATIENCE;
            let is_written = status.written.as_deref() == Some(&next);
            if !is_written && !self.sent.get(&status.object).is_some_and(is_sent) {
                wanted.push((status.object.clone(), next));
            }
        }
        self.sent.retain(|_, (_, at)| at.elapsed() < PATIENCE);
        for (object, next) in wanted.into_iter().take(BATCH) {
            // Writes may take long; what another one has written since must not be undone.
            if !*leads.borrow() {
                break;
            }
            self.write(&object, next).await?;
        }
        Ok(())
    }

    async fn write(&mut self, object: &ObjectKey, next: ObjectStatus) -> kube::Result<()> {
        let api: Api<LoadBalancingPolicy> = Api::namespaced(self.client.clone(), &object.namespace);
        // A field that is not there any more is to be removed, which a merge says with null.
        let status = json!({
            "proxies": next.proxies,
            "abortedCandidate": next.aborted_candidate,
            "ancestors": next.ancestors,
        });
        let patch = Patch::Merge(json!({ "status": status }));
        match api.patch_status(&object.name, &PatchParams::default(), &patch).await {
            Ok(_) => events::status_written(),
            // It is gone, and the watch says so in a moment.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            // The API server has something against this one: it is tried again later, and does not keep the others back.
            Err(error @ kube::Error::Api(_)) => {
                tracing::warn!("cannot write the status of {object}: {}", explain(&error));
            }
            Err(error) => return Err(error),
        }
        self.sent.insert(object.clone(), (next, Instant::now()));
        Ok(())
    }
}

fn counts_of(status: &PolicyStatus, reports: &[Report]) -> Counts {
    let Some(serving) = &status.serving else { return Counts::default() };
    let name = name_of(&status.object);
    let counts = reports.iter().filter_map(|report| report.get(&name));
    sum(&serving.policy.version().to_string(), serving.trial.as_ref(), counts)
}
