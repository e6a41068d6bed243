//! The endpoints that one request or connection is tried on.

use std::{rc::Rc, time::Duration};

use wasmesh_core::endpoint::EndpointId;

use super::{Cell, Onward, Pick, Picked, Routed, Tried, Worker};
use crate::{clock::now_us, destination::Destination, policy::question::Question};

/// How many endpoints one request or connection is tried on. With more than this many dead ones the rest is for ejection to
/// mend, not for one unlucky client to find out.
const MAX_ATTEMPTS: usize = 5;

/// How long a policy may hold one request in all. After that the built-in policy decides: a request that nobody ever
/// answers is worse than one that goes to a busy endpoint.
const MAX_HOLD: Duration = Duration::from_secs(30);

/// After how long a request that waits for its policy looks for it first: a new instance takes less than a millisecond.
const POLICY_POLL: Duration = Duration::from_millis(1);

/// Hands out endpoints, each of the newest world: what was taken away meanwhile is not tried, what was added is.
pub struct Attempts<'a> {
    worker: &'a Rc<Worker>,
    destination: &'a Destination,
    question: Question<'a>,
    cell: Rc<Cell>,
    past: Past,
}

/// What has been tried for a request or connection.
#[derive(Default)]
pub struct Past {
    excluded: Vec<EndpointId>,
    /// Where the request is to go next without another choice.
    onward: Option<Onward>,
    made: usize,
    /// How often the policy has held it.
    holds: usize,
    /// Until when the policy may hold it; set with the first hold.
    held_until_us: Option<u64>,
    /// Until when it may wait for the policy; set with the first wait.
    awaits_policy_until_us: Option<u64>,
}

/// Why there is no other endpoint to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMore {
    /// There is none, or enough have been tried.
    Exhausted,
    /// The policy wants the request answered with this status.
    Rejected(u16),
    /// The policy has failed, and must not be bypassed.
    PolicyFailed,
}

impl NoMore {
    /// For people.
    pub fn for_people(self) -> &'static str {
        match self {
            Self::Exhausted => "no endpoint could be connected to",
            Self::Rejected(_) => "the policy of the service rejects the connection",
            Self::PolicyFailed => "the policy of the service has failed (failurePolicy: Refuse)",
        }
    }
}

impl<'a> Attempts<'a> {
    /// Attempts at a Service port.
    pub fn new(worker: &'a Rc<Worker>, destination: &'a Destination, cell: &Rc<Cell>, question: Question<'a>) -> Self {
        let cell = Rc::clone(cell);
        Self { worker, destination, question, cell, past: Past::default() }
    }

    /// Goes on where others have ended.
    #[must_use]
    pub fn after(self, past: Past) -> Self {
        Self { past, ..self }
    }

    /// What has been tried, for whoever may go on.
    pub fn into_past(self) -> Past {
        self.past
    }

    /// The next endpoint to try. Waits only while the policy holds the request.
    ///
    /// # Errors
    /// When there is none.
    pub async fn next(&mut self) -> Result<Pick, NoMore> {
        if self.past.made == MAX_ATTEMPTS {
            return Err(NoMore::Exhausted);
        }
        let (mut has_routed_anew, mut polls) = (false, 0);
        loop {
            match self.pick() {
                Picked::Endpoint(pick) => {
                    self.past.made += 1;
                    return Ok(pick);
                }
                Picked::Rejected(status) => return Err(NoMore::Rejected(status)),
                Picked::Failed => return Err(NoMore::PolicyFailed),
                Picked::Held(ms) => self.hold(ms).await,
                Picked::PolicyNotYet => {
                    self.await_policy(polls).await;
                    polls += 1;
                }
                Picked::Nobody if !has_routed_anew => {
                    has_routed_anew = true;
                    self.route_anew().await.ok_or(NoMore::Exhausted)?;
                }
                Picked::Nobody => return Err(NoMore::Exhausted),
            }
        }
    }

    fn pick(&mut self) -> Picked {
        self.cell = self.worker.newest(&self.cell);
        let tried = Tried {
            failed: &self.past.excluded,
            attempts: self.past.made,
            holds: self.past.holds,
            onward: self.past.onward.take(),
            may_hold: self.past.held_until_us.is_none_or(|until| now_us() < until),
            may_await_policy: self.past.awaits_policy_until_us.is_none_or(|until| now_us() < until),
        };
        self.cell.pick(&self.question, self.worker.random(), &tried)
    }

    /// Waits a little for a policy that must not be bypassed: for its module on first use, or for a new instance after a
    /// fault.
    async fn await_policy(&mut self, polls: u32) {
        let most = self.worker.config.first_use_wait.as_micros() as u64;
        self.past.awaits_policy_until_us.get_or_insert_with(|| now_us() + most);
        // A module that never comes must not keep the worker busy.
        tokio::time::sleep(POLICY_POLL.saturating_mul(1 << polls.min(5))).await;
    }

    async fn hold(&mut self, ms: u32) {
        self.past.holds += 1;
        let now = now_us();
        let most = MAX_HOLD.as_micros() as u64;
        let until = *self.past.held_until_us.get_or_insert(now + most);
        // At least one, and more for one that is held again and again, or a policy could keep the worker busy with it.
        let least = 1 << (self.past.holds / 16).min(5);
        let pause =
            Duration::from_millis(u64::from(ms.max(least))).min(Duration::from_micros(until.saturating_sub(now)));
        tokio::time::sleep(pause).await;
    }

    /// Nothing is left to choose: the Service may have been given up as unused, or replaced, a moment ago.
    async fn route_anew(&mut self) -> Option<()> {
        match self.worker.route(self.destination).await {
            Routed::Mesh(cell) if !Rc::ptr_eq(&cell, &self.cell) => self.cell = cell,
            Routed::Mesh(_) | Routed::Passthrough(_) | Routed::Refused(_) | Routed::NotYet => return None,
        }
        Some(())
    }

    /// Does not try this one again.
    pub fn exclude(&mut self, pick: &Pick) {
        self.past.excluded.push(pick.slot.endpoint.id);
    }

    /// It could not be connected to: the policy may have said where to go then.
    pub fn unconnected(&mut self, pick: &Pick) {
        self.exclude(pick);
        self.past.onward = pick.alternate;
    }

    /// Tries the same one once more: what failed was a connection that had been kept too long.
    pub fn again(&mut self, pick: &Pick) {
        self.past.onward = Some(pick.again());
    }

    fn has_other_than(&self, pick: &Pick) -> bool {
        let id = pick.slot.endpoint.id;
        self.cell.endpoint_ids().any(|other| other != id && !self.past.excluded.contains(&other))
    }

    /// Does not try this one again, unless it is the only one left: what happened there may pass.
    pub fn avoid(&mut self, pick: &Pick) {
        if self.has_other_than(pick) {
            self.exclude(pick);
        }
    }

    /// How many attempts were made.
    pub fn made(&self) -> usize {
        self.past.made
    }

    /// The Service port, as it is now.
    pub fn cell(&self) -> &Rc<Cell> {
        &self.cell
    }
}
