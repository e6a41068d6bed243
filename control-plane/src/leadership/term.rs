//! Standing for election by a Lease of the API server.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::election::{DURATION, Election, INTERVAL, Step};
use crate::kubernetes::explain;

/// The Lease that the leader holds.
const LEASE: &str = "wasmesh-control-plane";

/// How long one look at the Lease may take: several fit into the time in which it must be renewed.
const PATIENCE: Duration = Duration::from_secs(4);

/// Stands for election as `me` until `stopping`, and tells whether it leads; then gives the Lease back, so that the next one
/// need not wait.
pub async fn campaign(
    client: Client,
    namespace: &str,
    me: String,
    leads: watch::Sender<bool>,
    mut stopping: watch::Receiver<bool>,
) {
    let leases: Api<Lease> = Api::namespaced(client, namespace);
    let mut campaign = Campaign { leases, election: Election::new(me.clone()), me, started: Instant::now() };
    let mut told = None;
    loop {
        // A leader that has not been heard for too long is none any more, whatever is still under way.
        let patience = campaign.time_left().unwrap_or(PATIENCE).min(PATIENCE);
        let attempt = timeout(patience, campaign.attempt()).await;
        let failure = match attempt {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(explain(&error)),
            Err(_) => Some("the API server does not answer".to_owned()),
        };
        if let Some(reason) = failure.as_ref().filter(|reason| told.as_ref() != Some(*reason)) {
            tracing::warn!("cannot tell who leads from Lease {namespace}/{LEASE}: {reason}");
        }
        told = failure;
        let is_leader = campaign.is_leader();
        if leads.send_if_modified(|leads| std::mem::replace(leads, is_leader) != is_leader) {
            tracing::info!(is_leader, "leadership has changed");
        }
        let pause = campaign.time_left().unwrap_or(INTERVAL).min(INTERVAL);
        tokio::select! {
            () = sleep(pause) => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    leads.send_replace(false);
    if campaign.is_leader() {
        // Whoever does not hear of it waits for the Lease to expire.
        let _ = timeout(Duration::from_secs(1), campaign.resign()).await;
    }
}

struct Campaign {
    leases: Api<Lease>,
    election: Election,
    me: String,
    started: Instant,
}

impl Campaign {
    fn is_leader(&self) -> bool {
        self.election.is_leader(self.started.elapsed())
    }

    /// How long this replica goes on leading without another word; `None` if it does not lead.
    fn time_left(&self) -> Option<Duration> {
        self.election.time_left(self.started.elapsed())
    }

    /// Looks at the Lease once and does what follows from it.
    async fn attempt(&mut self) -> kube::Result<()> {
        let begun = self.started.elapsed();
        let lease = self.leases.get_opt(LEASE).await?;
        let step = self.election.step(lease.as_ref().and_then(|lease| lease.spec.as_ref()), self.started.elapsed());
        let written = match (step, lease) {
            (Step::Wait, _) => {
                self.election.lost();
                return Ok(());
            }
            (Step::Renew | Step::Take, None) => {
                let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.held(None)) };
                self.leases.create(&PostParams::default(), &lease).await
            }
            // With the version that was read: if another replica was faster, this one has lost.
            (Step::Renew | Step::Take, Some(lease)) => {
                let lease = Lease { spec: Some(self.held(lease.spec.as_ref())), ..lease };
                self.leases.replace(LEASE, &PostParams::default(), &lease).await
            }
        };
        match written {
            Ok(_) => {
                self.election.won(begun);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.election.lost();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The Lease as this replica holds it, after another one or itself.
    fn held(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let mine = before.filter(|before| before.holder_identity.as_ref() == Some(&self.me));
        let transitions = before.and_then(|before| before.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: mine.and_then(|mine| mine.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(before.is_some() && mine.is_none())),
            ..LeaseSpec::default()
        }
    }

    async fn resign(&self) -> kube::Result<()> {
        let Some(lease) = self.leases.get_opt(LEASE).await? else { return Ok(()) };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_ref() == Some(&self.me) {
            let spec = LeaseSpec { holder_identity: None, lease_duration_seconds: Some(1), ..spec };
            self.leases.replace(LEASE, &PostParams::default(), &Lease { spec: Some(spec), ..lease }).await?;
        }
        Ok(())
    }
}
