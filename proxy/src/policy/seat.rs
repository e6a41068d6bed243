//! Where programs sit in a cell: the one that serves, and the one on trial.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use tokio::sync::Notify;
use wasmesh_core::policy::{TrialMode, WasmPolicy};
use wasmesh_policy_host::{Report, Snapshot};

use super::{
    fitted::{Chosen, Decided, Fitted, Moment},
    question::Question,
    record::{Role, Tally},
};
use crate::clock::now_us;

/// Reports that wait to be delivered, per seat. Beyond it the oldest are dropped: a policy that cannot keep up is better
/// off with the newest.
const MAX_REPORTS: usize = 1024;

/// The programs of one cell. It outlives the cell, which is made anew with every change of its endpoints.
pub struct Seat {
    serving: RefCell<Option<Box<Fitted>>>,
    trial: RefCell<Option<Box<Fitted>>>,
    reports: RefCell<VecDeque<(Role, Report)>>,
    deliveries: Deliveries,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A program has decided.
    By(Role, Decided),
    /// There is none that could: it is being made, and will be there in a moment.
    NotYet,
    /// There is none that could: it has just failed, or too often.
    Failed,
}

impl Seat {
    /// An empty one; `deliveries` delivers its reports.
    pub fn new(deliveries: &Deliveries) -> Self {
        Self {
            serving: RefCell::default(),
            trial: RefCell::default(),
            reports: RefCell::default(),
            deliveries: deliveries.clone(),
        }
    }

    /// Asks the program that decides; with one on trial in shadow mode, that one too.
    pub fn decide(&self, policy: &WasmPolicy, question: &Question<'_>, moment: &Moment) -> Verdict {
        let mut trial = self.trial.borrow_mut();
        // What is not declared any more has ended, though its seat may not be cleared yet.
        let mut trial = trial.as_mut().filter(|trial| policy.trial.is_some() && trial.is_usable(moment.now_us));
        if let Some(fitted) = &mut trial
            && fitted.mode == Some(TrialMode::Serve)
            && let Ok(decided) = fitted.decide(question, moment)
        {
            return Verdict::By(Role::Trial, decided);
        }
        let mut serving = self.serving.borrow_mut();
        let Some(asked) = serving.as_mut() else { return Verdict::NotYet };
        if !asked.record.is_usable(moment.now_us) {
            return Verdict::Failed;
        }
        if asked.instance.is_none() {
            return Verdict::NotYet;
        }
        let decided = asked.decide(question, moment).ok();
        if let (Some(fitted), Some(decided)) = (trial, &decided)
            && fitted.mode == Some(TrialMode::Shadow)
            && let Ok(other) = fitted.decide(question, moment)
        {
            fitted.tally(|tally| tally.compared(agree(decided, &other)));
        }
        decided.map_or(Verdict::Failed, |decided| Verdict::By(Role::Serving, decided))
    }

    /// Whether the program in a role was updated with this very list, so that its indexes are the list's.
    pub fn knows(&self, role: Role, candidates: &std::sync::Arc<[wasmesh_core::policy::Candidate]>) -> bool {
        let fitted = self.of(role).borrow();
        fitted.as_ref().is_some_and(|fitted| std::sync::Arc::ptr_eq(&fitted.candidates, candidates))
    }

    /// A decision was acted on.
    pub fn acted_on(&self, role: Role, chosen: &Chosen) {
        self.of(role).borrow().iter().for_each(|fitted| fitted.count(chosen.reason));
    }

    /// The built-in policy decided instead.
    pub fn fell_back(&self) {
        self.serving.borrow().iter().for_each(|fitted| fitted.tally(Tally::fell_back));
    }

    /// The programs' bytes of body that they want to see, the longest of them.
    pub fn body_prefix(&self) -> Option<usize> {
        let wanted = |fitted: &RefCell<Option<Box<Fitted>>>| fitted.borrow().as_ref()?.policy.plan().body_prefix();
        wanted(&self.serving).max(wanted(&self.trial))
    }

    /// Passes what an endpoint reports of itself to whoever wants it: `each` gets the place of each value and its name.
    pub fn wanted_reports(&self, mut each: impl FnMut(usize, &str)) {
        for fitted in [&self.serving, &self.trial] {
            let fitted = fitted.borrow();
            let reports = fitted.iter().flat_map(|fitted| fitted.reports.iter());
            reports.for_each(|(slot, name)| each(*slot, name));
        }
    }

    /// Whether anybody wants to know what endpoints report.
    pub fn wants_reports(&self) -> bool {
        let wants =
            |fitted: &RefCell<Option<Box<Fitted>>>| fitted.borrow().as_ref().is_some_and(|f| !f.reports.is_empty());
        wants(&self.serving) || wants(&self.trial)
    }

    /// Whether the program in a role wants to know how requests ended.
    pub fn wants_feedback(&self, role: Role) -> bool {
        self.of(role).borrow().as_ref().is_some_and(|fitted| fitted.policy.module().has_feedback())
    }

    /// Keeps a report for when there is nothing better to do.
    pub fn keep_report(self: &Rc<Self>, role: Role, report: Report) {
        let mut reports = self.reports.borrow_mut();
        if reports.len() == MAX_REPORTS {
            reports.pop_front();
        }
        reports.push_back((role, report));
        self.deliveries.add(self);
    }

    /// Delivers at most so many reports; returns whether more are waiting.
    pub fn deliver(&self, most: usize) -> bool {
        for _ in 0..most {
            let Some((role, report)) = self.reports.borrow_mut().pop_front() else { return false };
            if let Some(fitted) = self.of(role).borrow_mut().as_mut()
                && let Some(instance) = &mut fitted.instance
                && let Err(fault) = instance.completed(&report)
            {
                fitted.failed(fault.reason(), fault.to_string(), now_us());
            }
        }
        !self.reports.borrow().is_empty()
    }

    /// Seats a program.
    pub fn install(&self, fitted: Box<Fitted>) {
        let role = fitted.place.role;
        // The one before is dropped after the borrow has ended.
        let _before = self.of(role).replace(Some(fitted));
    }

    /// Leaves a role empty.
    pub fn clear(&self, role: Role) {
        let _before = self.of(role).replace(None);
    }

    /// The state of the instance in a role.
    pub fn snapshot(&self, role: Role) -> Option<Snapshot> {
        self.of(role).borrow_mut().as_mut()?.instance.as_mut()?.snapshot()
    }

    /// Whether nobody sits in it.
    pub fn is_empty(&self) -> bool {
        self.serving.borrow().is_none() && self.trial.borrow().is_none()
    }

    fn of(&self, role: Role) -> &RefCell<Option<Box<Fitted>>> {
        match role {
            Role::Serving => &self.serving,
            Role::Trial => &self.trial,
        }
    }
}

/// Whether two programs want the same; reasons and tags are their own.
fn agree(a: &Decided, b: &Decided) -> bool {
    match (a, b) {
        (Decided::Endpoint(a), Decided::Endpoint(b)) => a.id == b.id,
        (Decided::Hold(_), Decided::Hold(_)) => true,
        _ => a == b,
    }
}

/// Wakes the task that delivers reports.
#[derive(Clone, Default)]
pub struct Deliveries {
    waiting: Rc<RefCell<Vec<Rc<Seat>>>>,
    woken: Rc<Notify>,
}

/// Reports delivered before others get their turn.
const BATCH: usize = 16;

impl Deliveries {
    /// A seat has a report.
    fn add(&self, seat: &Rc<Seat>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|other| Rc::ptr_eq(other, seat)) {
            waiting.push(Rc::clone(seat));
        }
        self.woken.notify_one();
    }

    /// Delivers reports for ever, in small batches between which requests have their turn.
    pub async fn run(self) {
        loop {
            self.woken.notified().await;
            loop {
                let seats = std::mem::take(&mut *self.waiting.borrow_mut());
                if seats.is_empty() {
                    break;
                }
                for seat in seats {
                    while seat.deliver(BATCH) {
                        tokio::task::yield_now().await;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
