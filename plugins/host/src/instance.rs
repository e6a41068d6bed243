//! One instance of a policy: what a worker calls.

use std::sync::Arc;

use crate::{
    endpoints::{EndpointView, Stats},
    error::UpdateError,
    fault::Fault,
    guest::Guest,
    policy::{Policy, Snapshot},
    request::{Decision, RawDecision, Report, Request, RequestSource},
};

/// An instance of a policy with a list of endpoints. It belongs to one thread at a time.
///
/// After its first fault, and after an update that it has not taken, it answers [`Fault::Discarded`] to everything.
pub struct Instance {
    policy: Arc<Policy>,
    guest: Guest,
    generation: u64,
    is_dead: bool,
}

impl Instance {
    /// An instance whose guest has been through `init`.
    pub(crate) fn new(policy: &Arc<Policy>, mut guest: Guest) -> Self {
        guest.state_mut().set_plan(policy.shared_plan());
        Self { policy: Arc::clone(policy), guest, generation: 0, is_dead: false }
    }

    /// The policy that it is an instance of.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Gives it the list of endpoints to pick from, and their live load. Takes long: not for a worker.
    ///
    /// `generation` rises from call to call. Before the first update there is no endpoint to pick.
    ///
    /// # Errors
    ///
    /// Refused, or a fault; the instance is dead in both cases, because it may have taken half of the list.
    pub fn update(
        &mut self,
        generation: u64,
        now_ms: u64,
        endpoints: &[EndpointView<'_>],
        stats: Box<dyn Stats>,
    ) -> Result<(), UpdateError> {
        self.check_alive()?;
        self.generation = generation;
        let len = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        self.guest.state_mut().set_endpoints(len, stats, now_ms);
        match self.guest.update(generation, now_ms, endpoints) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(words)) => {
                self.is_dead = true;
                Err(UpdateError::Refused(words))
            }
            Err(fault) => Err(self.die(fault).into()),
        }
    }

    /// Who takes a request.
    ///
    /// # Errors
    ///
    /// A fault, after which the instance is dead. An endpoint that is not in the list is one, an alternate that is not
    /// is left out.
    pub fn pick(&mut self, request: &Request, source: &dyn RequestSource) -> Result<Decision, Fault> {
        if self.is_dead {
            return Err(Fault::Discarded);
        }
        self.guest.state_mut().begin_pick(request.now_ms, source);
        let mut answer = RawDecision::default();
        let ended = self.guest.pick(request, &mut answer);
        let state = self.guest.state_mut();
        state.end_pick();
        let checked = match ended {
            Ok(()) => answer.check(state.endpoints(), self.policy.settings().grants),
            Err(error) => Err(self.guest.fault_of_pick(&error)),
        };
        if checked.is_err() {
            self.is_dead = true;
        }
        checked
    }

    /// Tells how an attempt ended. Does nothing if the policy does not want to know.
    ///
    /// # Errors
    ///
    /// A fault, after which the instance is dead.
    pub fn completed(&mut self, report: &Report) -> Result<(), Fault> {
        self.check_alive()?;
        if !self.policy.module().has_feedback() {
            return Ok(());
        }
        self.guest.state_mut().set_now(report.now_ms);
        self.guest.completed(report).map_err(|fault| self.die(fault))
    }

    /// Its state, for [`Policy::revive`]; `None` if it is dead or cannot be copied, which is the case on the component
    /// path. Reads all of its memory: some dozen microseconds for a small policy.
    pub fn snapshot(&mut self) -> Option<Snapshot> {
        if self.is_dead {
            return None;
        }
        self.guest.snapshot().map(|state| Snapshot::new(&self.policy, state))
    }

    /// How much linear memory it has, in bytes. Pages that it never wrote to count, though they cost next to nothing.
    pub fn memory_bytes(&self) -> usize {
        self.guest.memory_bytes()
    }

    /// The generation of the last update; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it has made a fault or has not taken a list.
    pub fn is_dead(&self) -> bool {
        self.is_dead
    }

    fn check_alive(&self) -> Result<(), Fault> {
        if self.is_dead { Err(Fault::Discarded) } else { Ok(()) }
    }

    #[cold]
    fn die(&mut self, fault: Fault) -> Fault {
        self.is_dead = true;
        fault
    }
}
