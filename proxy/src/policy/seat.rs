//! Where programs sit in a cell: the one that serves, and the one on trial.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc};

use tokio::sync::Notify;
use wasmesh_core::policy::{TrialMode, WasmPolicy};
use wasmesh_policy_host::Report;

use super::{
    fitted::{Chosen, Decided, Fitted, Moment},
    notes::{Copied, Last},
    past::{Lately, Past, Said, Went},
    question::Question,
    record::{Record, Role, Tally},
};
use crate::clock::now_us;

/// Reports that wait to be delivered, per seat. Beyond it the oldest are dropped: a policy that cannot keep up is better
/// off with the newest.
const MAX_REPORTS: usize = 1024;

/// The largest memory that is copied between two requests: about half a millisecond.
const MAX_SNAPSHOT_BYTES: usize = 4 * 1024 * 1024;

/// A report for the program that made the choice, and for no other: tags mean nothing to a stranger.
struct Undelivered {
    role: Role,
    record: Arc<Record>,
    report: Report,
}

/// The programs of one cell. It outlives the cell, which is made anew with every change of its endpoints.
pub struct Seat {
    serving: RefCell<Option<Box<Fitted>>>,
    trial: RefCell<Option<Box<Fitted>>>,
    reports: RefCell<VecDeque<Undelivered>>,
    deliveries: Deliveries,
    lately: RefCell<Lately>,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A program has decided.
    By(Role, Decided),
    /// There is none that could: it is being made, and will be there in a moment.
    NotYet,
    /// There is none that could.
    Failed {
        /// Whether it was asked, and failed; else it has failed too often before.
        just_now: bool,
    },
}

impl Seat {
    /// An empty one; `deliveries` delivers its reports.
    pub fn new(deliveries: &Deliveries) -> Self {
        Self {
            serving: RefCell::default(),
            trial: RefCell::default(),
            reports: RefCell::default(),
            deliveries: deliveries.clone(),
            lately: RefCell::default(),
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
            return Verdict::Failed { just_now: false };
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
        decided.map_or(Verdict::Failed { just_now: true }, |decided| Verdict::By(Role::Serving, decided))
    }

    /// Whether the program in a role was updated with this very list, so that its indexes are the list's.
    pub fn knows(&self, role: Role, candidates: &Arc<[wasmesh_core::policy::Candidate]>) -> bool {
        let fitted = self.of(role).borrow();
        fitted.as_ref().is_some_and(|fitted| Arc::ptr_eq(&fitted.candidates, candidates))
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
        let wanted = |fitted: &RefCell<Option<Box<Fitted>>>| {
            let fitted = fitted.borrow();
            let fitted = fitted.as_ref()?;
            let bytes = fitted.policy.plan().body_prefix()?;
            fitted.is_usable(now_us()).then_some(bytes)
        };
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

    /// The record of the program in a role, if it wants to know how requests ended.
    pub fn wants_feedback(&self, role: Role) -> Option<Arc<Record>> {
        let fitted = self.of(role).borrow();
        fitted.as_ref().filter(|fitted| fitted.policy.module().has_feedback()).map(|fitted| Arc::clone(&fitted.record))
    }

    /// Keeps a report for when there is nothing better to do.
    pub fn keep_report(self: &Rc<Self>, role: Role, record: &Arc<Record>, report: Report) {
        let mut reports = self.reports.borrow_mut();
        if reports.len() == MAX_REPORTS {
            reports.pop_front();
        }
        reports.push_back(Undelivered { role, record: Arc::clone(record), report });
        self.deliveries.add(self);
    }

    /// Delivers some reports; returns whether more are waiting.
    pub fn deliver(&self) -> bool {
        let begun_us = now_us();
        while now_us().saturating_sub(begun_us) < BATCH_US {
            let Some(Undelivered { role, record, report }) = self.reports.borrow_mut().pop_front() else {
                return false;
            };
            if let Some(fitted) = self.of(role).borrow_mut().as_mut()
                && Arc::ptr_eq(&fitted.record, &record)
                && record.is_usable(begun_us)
            {
                fitted.completed(&report, begun_us);
            }
        }
        !self.reports.borrow().is_empty()
    }

    /// Seats a program, and gives back the one before: to take its memory apart is not for a worker.
    pub fn install(&self, fitted: Box<Fitted>) -> Option<Box<Fitted>> {
        let (role, policy) = (fitted.place.role, Arc::clone(&fitted.policy));
        let before = self.of(role).replace(Some(fitted));
        if !before.as_ref().is_some_and(|before| Arc::ptr_eq(&before.policy, &policy)) {
            // Words and reasons of another policy would be read as this one's.
            self.lately.borrow_mut().forget(role);
        }
        before
    }

    /// Leaves a role empty.
    pub fn clear(&self, role: Role) {
        let _before = self.of(role).replace(None);
    }

    /// The state of the instance in a role.
    ///
    /// `None` if it is large: copying it would keep requests waiting, and a new instance can begin anew.
    pub fn snapshot(&self, role: Role) -> Option<Copied> {
        self.of(role).borrow_mut().as_mut()?.copied(MAX_SNAPSHOT_BYTES)
    }

    /// What was picked lately, and the state of the instance that serves.
    pub fn last(&self) -> Last {
        let picks = self.lately.borrow().list();
        let copied = self.serving.borrow_mut().as_mut().and_then(|fitted| fitted.peeked(MAX_SNAPSHOT_BYTES));
        Last { picks, copied }
    }

    /// Remembers a pick. `role` is the program that was asked, if one was.
    pub fn remember(&self, role: Option<Role>, moment: &Moment, said: Said, went: Option<Went>) {
        let request = role.and_then(|role| self.of(role).borrow().as_ref().map(|fitted| fitted.asked));
        self.lately.borrow_mut().add(Past { at_us: moment.now_us, request, avoid: moment.avoid, said, went });
    }

    /// Writes no more down of what happens in a role.
    pub fn end_recording(&self, role: Role) {
        self.of(role).borrow_mut().iter_mut().for_each(|fitted| fitted.tape = None);
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

/// How long reports are delivered before requests get their turn.
const BATCH_US: u64 = 500;

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
                    while seat.deliver() {
                        tokio::task::yield_now().await;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
