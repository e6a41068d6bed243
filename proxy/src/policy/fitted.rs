//! One program fitted into one cell of one worker: an instance and the list of endpoints that it was updated with.

use std::sync::Arc;

use metrics::{Counter, counter};
use wasmesh_core::{
    endpoint::EndpointId,
    policy::{Candidate, TrialMode},
};
use wasmesh_policy_host::{Choice, Decision, Fault, Instance, Policy, Report, Request, RequestSource, Traits};
use wasmesh_policy_recording::{HeardSource, Tape};

use super::{
    notes::{Copied, Note, Notes, Place},
    question::{Kind, Question},
    record::{Record, Tally},
};

/// A program in its place. Made off the workers, used by one.
pub struct Fitted {
    /// Which place.
    pub place: Place,
    /// Of a program on trial, what becomes of its decisions.
    pub mode: Option<TrialMode>,
    /// The program.
    pub policy: Arc<Policy>,
    /// `None` after a fault.
    pub instance: Option<Instance>,
    /// What the instance was updated with: its indexes are into this list.
    pub candidates: Arc<[Candidate]>,
    /// How the program has been doing.
    pub record: Arc<Record>,
    /// Picks by the reason that the program gave, in the order of its plan; one more for those without.
    pub reasons: Box<[Counter]>,
    /// The labels of its metrics.
    pub labels: Labels,
    /// What endpoints report of themselves that the program wants: where it is kept, and its name.
    pub reports: Arc<[(usize, String)]>,
    /// Whom to tell of faults.
    pub notes: Notes,
    /// Where what happens is written down, while it is.
    pub tape: Option<Box<Tape>>,
    /// What it was asked last.
    pub asked: Request,
}

/// Service, namespace, port and policy, as metrics are labelled by.
pub type Labels = [(&'static str, String); 4];

/// What a program decided, in terms of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// An endpoint.
    Endpoint(Chosen),
    /// The built-in policy should decide this one.
    Fallback,
    /// The request is to be answered with this status.
    Reject(u16),
    /// The program wants to be asked again in so many milliseconds.
    Hold(u32),
}

/// An endpoint that a program chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub id: EndpointId,
    /// Its place in the list that the program knows.
    pub index: usize,
    /// Tried next if it cannot be connected to, without another question.
    pub alternate: Option<EndpointId>,
    /// Why, as an index into the plan's reasons.
    pub reason: u32,
    /// Comes back in the report.
    pub tag: u64,
}

/// The circumstances of one pick.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Now.
    pub now_us: u64,
    /// Fresh random bits.
    pub random: u64,
    /// Which attempt this is, from 0.
    pub attempt: u32,
    /// The endpoint that has just failed this request.
    pub avoid: Option<EndpointId>,
}

/// The program has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

impl Fitted {
    /// Whether it can be asked now.
    pub fn is_usable(&self, now_us: u64) -> bool {
        self.instance.is_some() && self.record.is_usable(now_us)
    }

    /// Asks the program. After a fault this instance is gone, and who builds them knows.
    ///
    /// # Errors
    /// When it failed.
    pub fn decide(&mut self, question: &Question<'_>, moment: &Moment) -> Result<Decided, Failed> {
        let instance = self.instance.as_mut().ok_or(Failed)?;
        let at = |id: EndpointId| self.candidates.iter().position(|candidate| candidate.endpoint.id == id);
        let request = Request {
            keys: self.policy.plan().keys(question.source),
            random: moment.random,
            now_ms: moment.now_us / 1_000,
            attempt: moment.attempt,
            avoid: moment.avoid.and_then(at).and_then(|index| u32::try_from(index).ok()),
            traits: Traits {
                http: matches!(question.kind, Kind::Http | Kind::Grpc),
                grpc: question.kind == Kind::Grpc,
                tls: question.kind == Kind::Tls,
            },
        };
        self.asked = request;
        let picked = match &mut self.tape {
            None => instance.pick(&request, question.source),
            Some(tape) => {
                let (picked, has_ended) = recorded(instance, tape, &request, question.source);
                if has_ended {
                    self.notes.send(Note::Recorded);
                }
                picked
            }
        };
        match picked {
            Ok(decision) => Ok(self.understood(&decision)),
            Err(fault) => {
                self.failed(fault.reason(), fault.to_string(), moment.now_us);
                Err(Failed)
            }
        }
    }

    /// Tells the program how a request has ended.
    pub fn completed(&mut self, report: &Report, now_us: u64) {
        let Some(instance) = &mut self.instance else { return };
        let told = instance.completed(report);
        self.tape.iter_mut().for_each(|tape| tape.completed(report));
        if let Err(fault) = told {
            self.failed(fault.reason(), fault.to_string(), now_us);
        }
    }

    /// The state of the instance, for another one to go on from; `None` if it is dead or has more memory than so many bytes.
    pub fn copied(&mut self, max_bytes: usize) -> Option<Copied> {
        let copied = self.peeked(max_bytes)?;
        Some(Copied { recorded_as: self.tape.as_mut().map(|tape| tape.copied()), ..copied })
    }

    /// The same, for somebody who only looks.
    pub fn peeked(&mut self, max_bytes: usize) -> Option<Copied> {
        let instance = self.instance.as_mut().filter(|instance| instance.memory_bytes() <= max_bytes)?;
        Some(Copied { state: instance.snapshot()?, recorded_as: None })
    }

    /// The instance is of no use any more.
    pub fn failed(&mut self, reason: &'static str, detail: String, now_us: u64) {
        self.instance = None;
        count_fault(&self.labels, reason);
        let consequence = self.record.fault(reason, detail.clone(), now_us);
        self.notes.send(Note::Fault { place: self.place.clone(), reason, detail, consequence });
    }

    /// Counts a pick that it decided and that is acted on.
    pub fn count(&self, reason: u32) {
        let counter = self.reasons.get(reason as usize).or(self.reasons.last());
        counter.into_iter().for_each(|counter| counter.increment(1));
        self.tally(Tally::picked);
    }

    /// Counts something on this worker's tally.
    pub fn tally(&self, count: impl FnOnce(&Tally)) {
        if let Some(tally) = self.record.tally(self.place.worker) {
            count(tally);
        }
    }

    fn understood(&self, decision: &Decision) -> Decided {
        let id_of = |index: u32| self.candidates.get(index as usize).map(|candidate| candidate.endpoint.id);
        match decision.choice {
            Choice::Endpoint(index) => match id_of(index) {
                Some(id) => Decided::Endpoint(Chosen {
                    id,
                    index: index as usize,
                    alternate: decision.alternate.and_then(id_of),
                    reason: decision.reason,
                    tag: decision.tag,
                }),
                // The host has checked it. Should it ever not have, nobody is hurt.
                None => Decided::Fallback,
            },
            Choice::Fallback => Decided::Fallback,
            Choice::Reject(status) => Decided::Reject(status),
            Choice::Hold(ms) => Decided::Hold(ms),
        }
    }
}

/// A pick that is written down; and whether that was the last one. Apart from the others, which are to be quick.
#[cold]
fn recorded(
    instance: &mut Instance,
    tape: &mut Tape,
    request: &Request,
    source: &dyn RequestSource,
) -> (Result<Decision, Fault>, bool) {
    let source = HeardSource::new(source);
    let picked = instance.pick(request, &source);
    let has_ended = tape.picked(request, &source, &picked);
    (picked, has_ended)
}

/// Counts a fault on the page of metrics.
pub(super) fn count_fault(labels: &Labels, reason: &'static str) {
    let labels: Vec<_> = labels.iter().cloned().chain([("reason", reason.to_owned())]).collect();
    counter!("wasmesh_policy_faults_total", &labels).increment(1);
}
