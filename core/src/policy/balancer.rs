//! One policy over one list of candidates.

use std::{cell::Cell, collections::BTreeSet, sync::Arc};

use crate::policy::{
    BuiltinPolicy, Candidate,
    draw::{Draw, below, mix},
    identity::Identities,
    least_request::LeastRequest,
    maglev::Maglev,
    members::Members,
    peak_ewma::PeakEwma,
    ring_hash::RingHash,
    round_robin::RoundRobin,
};

/// A policy and the candidates it picks from, with everything that a pick needs computed beforehand.
///
/// Immutable and shared by all workers; a new list makes a new balancer. A pick is a function of the loads, the cursor
/// and the request alone.
///
/// Candidates are picked from the lowest priority number that has one left. Weights hold within a priority.
#[derive(Debug)]
pub struct Balancer {
    policy: BuiltinPolicy,
    candidates: Arc<[Candidate]>,
    /// By ascending priority; none of them empty.
    levels: Box<[Level]>,
}

/// What one pick is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickRequest<'a> {
    /// 64 random bits, fresh for every pick.
    pub random: u64,
    /// Hash of what the request is hashed by, spread over all 64 bits. Read by the hash policies only; whoever has
    /// nothing to hash by gives random bits here too, or all such requests land on one endpoint.
    pub key: u64,
    /// Now, on the clock that latencies were observed by, in microseconds.
    pub now_us: u64,
    /// Indexes of the candidates on which this very request has failed already.
    pub avoid: &'a [usize],
}

/// The candidates of one priority and the policy's state over them.
#[derive(Debug)]
struct Level {
    members: Members,
    chooser: Chooser,
}

#[derive(Debug)]
enum Chooser {
    RoundRobin(RoundRobin),
    Random(Draw),
    LeastRequest(LeastRequest),
    PeakEwma(PeakEwma),
    RingHash(RingHash, Identities),
    Maglev(Maglev, Identities),
}

impl Balancer {
    /// A balancer over these candidates, which may be none.
    pub fn new(policy: BuiltinPolicy, candidates: Arc<[Candidate]>) -> Self {
        let priorities: BTreeSet<u32> = candidates.iter().map(|candidate| candidate.endpoint.priority).collect();
        let members = |priority| match priorities.len() {
            1 => Members::all(Arc::clone(&candidates)),
            _ => Members::of_priority(Arc::clone(&candidates), priority),
        };
        let levels = priorities.iter().map(|priority| Level::new(policy, members(*priority))).collect();
        Self { policy, candidates, levels }
    }

    /// The policy.
    pub fn policy(&self) -> BuiltinPolicy {
        self.policy
    }

    /// The candidates; picks are indexes into them.
    pub fn candidates(&self) -> &Arc<[Candidate]> {
        &self.candidates
    }

    /// The index of the candidate that takes the request; `None` if there is none that may.
    ///
    /// `cursor` is the caller's own state of round robin, advanced by each pick. Seed it with random bits, or all
    /// proxies begin with the same candidate after each update.
    ///
    /// Neither a withdrawn candidate nor one to avoid is ever picked. One that is ejected is picked only while most of
    /// its priority is, or when nothing else is left: a retry is worth more at another priority than at an endpoint
    /// that keeps failing.
    pub fn pick(&self, cursor: &Cell<u64>, request: &PickRequest<'_>) -> Option<usize> {
        let picked = match &*self.levels {
            [only] => only.pick(cursor, request),
            // An exhausted level is passed over unpicked: it must not use up turns of the next one.
            levels => levels.iter().filter(|l| l.has_usable(request)).find_map(|l| l.pick(cursor, request)),
        };
        picked.or_else(|| self.last_resort(request))
    }

    /// Whether somebody else's choice of this candidate stands: it is neither withdrawn nor to be avoided, and not ejected
    /// unless most of its priority is.
    pub fn accepts(&self, index: usize, request: &PickRequest<'_>) -> bool {
        let Some(candidate) = self.candidates.get(index) else { return false };
        if request.avoid.contains(&index) || candidate.load.is_withdrawn() {
            return false;
        }
        if !candidate.load.health().is_ejected(request.now_us) {
            return true;
        }
        let priority = candidate.endpoint.priority;
        let level = self.levels.iter().find(|level| level.priority() == Some(priority));
        level.is_some_and(|level| level.members.is_panicking(request))
    }

    /// An endpoint that is ejected is better than none.
    fn last_resort(&self, request: &PickRequest<'_>) -> Option<usize> {
        self.levels.iter().find_map(|level| level.any_possible(request))
    }
}

impl Level {
    fn new(policy: BuiltinPolicy, members: Members) -> Self {
        let chooser = match policy {
            BuiltinPolicy::RoundRobin => Chooser::RoundRobin(RoundRobin::new(&members)),
            BuiltinPolicy::Random => Chooser::Random(Draw::new(&members)),
            BuiltinPolicy::LeastRequest => Chooser::LeastRequest(LeastRequest::new(&members)),
            BuiltinPolicy::PeakEwma => Chooser::PeakEwma(PeakEwma::new(&members)),
            BuiltinPolicy::RingHash => {
                let identities = Identities::of(&members);
                Chooser::RingHash(RingHash::new(&members, &identities), identities)
            }
            BuiltinPolicy::Maglev => {
                let identities = Identities::of(&members);
                Chooser::Maglev(Maglev::new(&members, &identities), identities)
            }
        };
        Self { members, chooser }
    }

    fn priority(&self) -> Option<u32> {
        (self.members.len() > 0).then(|| self.members.endpoint(0).priority)
    }

    fn has_usable(&self, request: &PickRequest<'_>) -> bool {
        self.members.usable_from(0, request).is_some()
    }

    /// The index of any member that may take the request if need be, ejected or not.
    fn any_possible(&self, request: &PickRequest<'_>) -> Option<usize> {
        let len = self.members.len();
        let start = below(mix(request.random), len as u64) as usize;
        let possible = |position: &usize| self.members.is_possible(*position, request);
        (start..len).chain(0..start).find(possible).map(|position| self.members.index(position))
    }

    /// The index of a usable member.
    fn pick(&self, cursor: &Cell<u64>, request: &PickRequest<'_>) -> Option<usize> {
        let choice = match &self.chooser {
            Chooser::RoundRobin(policy) => policy.choose(cursor),
            Chooser::Random(draw) => draw.one(request.random),
            Chooser::LeastRequest(policy) => policy.choose(&self.members, request),
            Chooser::PeakEwma(policy) => policy.choose(&self.members, request),
            Chooser::RingHash(ring, _) => ring.choose(request.key),
            Chooser::Maglev(table, _) => table.choose(request.key),
        };
        let members = &self.members;
        let stands = members.is_usable(choice, request)
            || (members.is_possible(choice, request) && members.is_panicking(request));
        let taken = if stands { choice } else { self.stand_in(request)? };
        Some(members.index(taken))
    }

    /// A usable member in place of one that is not. With a hash policy a key keeps its stand-in; with the others it is
    /// the next one from a random start on, so that it is not the same neighbour who inherits all of the traffic.
    fn stand_in(&self, request: &PickRequest<'_>) -> Option<usize> {
        match &self.chooser {
            Chooser::RingHash(_, identities) | Chooser::Maglev(_, identities) => {
                identities.stand_in(&self.members, request)
            }
            Chooser::RoundRobin(_) | Chooser::Random(_) | Chooser::LeastRequest(_) | Chooser::PeakEwma(_) => {
                let start = below(mix(request.random), self.members.len() as u64) as usize;
                self.members.usable_from(start, request)
            }
        }
    }
}
