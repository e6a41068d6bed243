//! Makes instances for their places: instantiated, told where they are, and updated with a list of endpoints.

use std::sync::Arc;

use metrics::{Counter, counter};
use wasmesh_core::{
    endpoint::Conditions,
    name::ServiceName,
    policy::{Candidate, TrialMode},
};
use wasmesh_policy_host::{
    About, EndpointView, Health, LogLevel, LogSink, Policy, Rejection, Request, Stats, UpdateError, Want,
};
use wasmesh_policy_recording::{Recorder, Tape};

use super::{
    fitted::{Fitted, Labels},
    notes::{Copied, Notes, Place},
    peers::Peers,
    record::Record,
    slots::ReportSlots,
    stats::LiveStats,
};
use crate::{
    clock::now_us,
    events,
    world::{LiveService, Worlds},
};

/// Makes instances.
pub struct Fitter {
    /// What every program is told of who it serves: namespace, proxy.
    pod: Vec<(String, String)>,
    /// Where zone and node come from.
    worlds: Worlds,
    /// How many workers there are.
    workers: usize,
    /// Where what endpoints report is kept.
    slots: ReportSlots,
    /// Whom instances tell of faults.
    notes: Notes,
    /// Proxies over the same endpoints, by Service.
    peers: Peers,
}

/// What is to be fitted where.
pub(super) struct Fitting<'a> {
    pub(super) place: &'a Place,
    pub(super) port_name: &'a str,
    pub(super) port_number: u16,
    pub(super) service: &'a LiveService,
    pub(super) candidates: &'a Arc<[Candidate]>,
    pub(super) mode: Option<TrialMode>,
    pub(super) policy_name: &'a str,
    pub(super) policy: &'a Arc<Policy>,
    pub(super) record: &'a Arc<Record>,
    /// Where what happens is to be written down.
    pub(super) recorder: Option<&'a Recorder>,
}

/// Why an instance could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Update(#[from] UpdateError),
}

impl Unfit {
    /// The reason, if it is a fault; a program that says no has made none.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Rejected(Rejection::Fault { fault, .. }) | Self::Update(UpdateError::Fault(fault)) => {
                Some(fault.reason())
            }
            Self::Rejected(_) | Self::Update(UpdateError::Refused(_)) => None,
        }
    }
}

impl Fitter {
    /// For a proxy with so many workers; `pod` is what every program is told of who it serves.
    pub fn new(pod: Vec<(String, String)>, worlds: Worlds, workers: usize, notes: Notes, peers: Peers) -> Self {
        Self { pod, worlds, workers, slots: ReportSlots::default(), notes, peers }
    }

    /// Where a program is, as it is told.
    pub(super) fn about(&self, service: &ServiceName, port: u16, worker: usize) -> About {
        let mut about = self.pod.clone();
        let viewpoint = self.worlds.borrow().viewpoint.clone();
        let here = [
            ("zone", viewpoint.zone),
            ("node", viewpoint.node),
            ("worker", worker.to_string()),
            ("workers", self.workers.to_string()),
            ("service", format!("{}.{}", service.name(), service.namespace())),
            ("port", port.to_string()),
        ];
        about.extend(here.map(|(name, value)| (name.to_owned(), value)));
        About(about)
    }

    /// Where a program's own log lines go.
    pub(super) fn log(&self, service: &ServiceName, policy: &str) -> Arc<dyn LogSink> {
        Arc::new(Log { service: service.clone(), policy: policy.to_owned() })
    }

    /// Makes an instance that goes on from where another one was, if there is one to go on from.
    pub(super) fn fit(&self, fitting: &Fitting<'_>, snapshot: Option<&Copied>) -> Result<Fitted, Unfit> {
        let Fitting { place, port_name, service, candidates, mode, policy, record, .. } = fitting;
        let about = self.about(&place.cell.service, fitting.port_number, place.worker);
        let mut instance = match snapshot {
            Some(snapshot) => policy.revive(&about, &snapshot.state)?,
            None => policy.instance(&about)?,
        };
        let labels = fitting.labels();
        let reports = self.reports(policy);
        let peers = self.peers.of(&place.cell.service);
        let mut stats: Box<dyn Stats> = Box::new(LiveStats {
            candidates: Arc::clone(candidates),
            total: service.total(port_name).cloned(),
            slots: policy.plan().wants.iter().map(|want| self.slot(want)).collect(),
            peers,
        });
        let mut tape = fitting.recorder.map(|recorder| Box::new(Tape::new(recorder, policy.plan().keys.len())));
        if let Some(tape) = &tape {
            stats = tape.listen(stats);
        }
        let pod_labels: Vec<Vec<(&str, &str)>> = candidates
            .iter()
            .map(|c| c.endpoint.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
            .collect();
        let views: Vec<_> =
            candidates.iter().zip(&pod_labels).map(|(candidate, labels)| view(candidate, labels)).collect();
        let now = now_us();
        // The clock in microseconds grows with every update, which is all that a generation has to do.
        instance.update(now, now / 1_000, &views, stats)?;
        if let Some(tape) = &mut tape {
            tape.begun(snapshot.and_then(|snapshot| snapshot.recorded_as), about, now, now / 1_000, &views);
        }
        Ok(Fitted {
            place: (*place).clone(),
            mode: *mode,
            policy: Arc::clone(policy),
            instance: Some(instance),
            candidates: Arc::clone(candidates),
            record: Arc::clone(record),
            reasons: reasons(policy, &labels),
            labels,
            reports,
            notes: self.notes.clone(),
            tape,
            asked: Request::default(),
        })
    }

    /// Where what endpoints report is kept.
    fn slot(&self, want: &Want) -> Option<usize> {
        match want {
            Want::Report(name) => self.slots.slot(name),
            Want::Text(_) | Want::Body(_) => None,
        }
    }

    fn reports(&self, policy: &Policy) -> Arc<[(usize, String)]> {
        let wants = policy.plan().wants.iter();
        wants
            .filter_map(|want| match want {
                Want::Report(name) => Some((self.slot(want)?, name.clone())),
                Want::Text(_) | Want::Body(_) => None,
            })
            .collect()
    }
}

impl Fitting<'_> {
    pub(super) fn labels(&self) -> Labels {
        let service = &self.place.cell.service;
        [
            ("service", service.name().to_owned()),
            ("namespace", service.namespace().to_owned()),
            ("port", self.port_number.to_string()),
            ("policy", self.policy_name.to_owned()),
        ]
    }
}

fn reasons(policy: &Policy, labels: &Labels) -> Box<[Counter]> {
    let with = |reason: &str| {
        let labels: Vec<_> = labels.iter().cloned().chain([("reason", reason.to_owned())]).collect();
        counter!("wasmesh_policy_picks_total", &labels)
    };
    policy.plan().reasons.iter().map(String::as_str).chain(["policy"]).map(with).collect()
}

/// An endpoint of whose last requests so many in a thousand failed is not doing well.
const DEGRADED: u32 = 200;

fn view<'a>(candidate: &'a Candidate, labels: &'a [(&'a str, &'a str)]) -> EndpointView<'a> {
    let endpoint = &*candidate.endpoint;
    let Conditions { ready, terminating, .. } = endpoint.conditions;
    let health = match (ready, terminating) {
        (false, true) => Health::Draining,
        _ if candidate.load.health().is_ejected(now_us()) => Health::Degraded,
        _ if candidate.load.health().failure_rate() >= DEGRADED => Health::Degraded,
        _ => Health::Healthy,
    };
    EndpointView {
        id: endpoint.id.0,
        address: endpoint.address,
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: &endpoint.zone,
        node: &endpoint.node,
        health,
        ready_ms: candidate.load.ready_us() / 1_000,
        labels,
    }
}

struct Log {
    service: ServiceName,
    policy: String,
}

impl LogSink for Log {
    fn wants(&self, level: LogLevel) -> bool {
        level != LogLevel::Debug || tracing::enabled!(tracing::Level::DEBUG)
    }

    fn write(&self, level: LogLevel, line: &str) {
        events::policy_says(&self.service, &self.policy, level, line);
    }
}
