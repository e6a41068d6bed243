//! Counts what this replica's proxies make of policies, anew only when something has changed.

use std::sync::Arc;

use super::counts::{Report, report};
use crate::{findings::Findings, server::Streams, translate::policy::PolicyStatus};

/// The counts of this replica.
pub struct Tally {
    findings: Findings,
    streams: Streams,
    /// What was counted, of which statuses and at which revision of the streams.
    last: Option<(u64, Arc<Vec<PolicyStatus>>, Arc<Report>)>,
}

impl Tally {
    /// Of these policies on these proxies.
    pub fn new(findings: Findings, streams: Streams) -> Self {
        Self { findings, streams, last: None }
    }

    /// As it is now. The same value as before says that nothing has happened since.
    pub fn count(&mut self) -> Arc<Report> {
        // Before the streams are looked at: what happens in between is counted twice rather than never.
        let revision = self.streams.revision();
        let statuses = self.findings.policies.list();
        if let Some((then, of, report)) = &self.last
            && *then == revision
            && Arc::ptr_eq(of, &statuses)
        {
            return Arc::clone(report);
        }
        let streams = self.streams.list();
        let connected = streams.iter().map(|stream| stream.node.proxy.as_str()).collect();
        let trials = self.findings.trials.counts(&connected);
        let report = Arc::new(report(&statuses, &streams, &trials));
        self.last = Some((revision, statuses, Arc::clone(&report)));
        report
    }
}
