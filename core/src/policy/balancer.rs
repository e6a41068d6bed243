//! One policy over one list of candidates.

use std::{cell::Cell, collections::BTreeSet, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::policy::{
    BuiltinPolicy, Candidate,
    draw::{Draw, below, mix},
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
pub struct PickRequest {
    /// 64 random bits, fresh for every pick.
    pub random: u64,
    /// Hash of what the request is hashed by, spread over all 64 bits. Read by the hash policies only; whoever has
    /// nothing to hash by gives random bits here too, or all such requests land on one endpoint.
    pub key: u64,
    /// Now, on the clock that latencies were observed by, in microseconds.
    pub now_us: u64,
    /// Index of the candidate on which this very request has just failed.
    pub avoid: Option<usize>,
}

/// The candidates of one priority and the policy's state over them.
#[derive(Debug)]
struct Level {
    members: Members,
    chooser: Chooser,
    /// Hashes of the members' addresses, by which hash policies know them on every proxy; empty for other policies.
    identities: Box<[u64]>,
}

#[derive(Debug)]
enum Chooser {
    RoundRobin(RoundRobin),
    Random(Draw),
    LeastRequest(LeastRequest),
    PeakEwma(PeakEwma),
    RingHash(RingHash),
    Maglev(Maglev),
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

    /// The index of the candidate that takes the request; `None` if every candidate is withdrawn.
    ///
    /// `cursor` is the caller's own state of round robin, advanced by each pick. Seed it with random bits, or all
    /// proxies begin with the same candidate after each update.
    ///
    /// A withdrawn candidate is never picked. `request.avoid` is picked only when nothing else is left, of any
    /// priority: a retry is worth more elsewhere than where the request has just failed.
    pub fn pick(&self, cursor: &Cell<u64>, request: &PickRequest) -> Option<usize> {
        let picked = match &*self.levels {
            [only] => only.pick(cursor, request),
            // An exhausted level is passed over unpicked: it must not use up turns of the next one.
            levels => levels.iter().filter(|l| l.has_usable(request)).find_map(|l| l.pick(cursor, request)),
        };
        picked.or_else(|| self.last_resort(request))
    }

    fn last_resort(&self, request: &PickRequest) -> Option<usize> {
        request.avoid.filter(|index| self.candidates.get(*index).is_some_and(|last| !last.load.is_withdrawn()))
    }
}

impl Level {
    fn new(policy: BuiltinPolicy, members: Members) -> Self {
        let identities: Box<[u64]> = match policy {
            BuiltinPolicy::RingHash | BuiltinPolicy::Maglev => {
                (0..members.len()).map(|position| identity(&members, position)).collect()
            }
            _ => Box::default(),
        };
        let chooser = match policy {
            BuiltinPolicy::RoundRobin => Chooser::RoundRobin(RoundRobin::new(&members)),
            BuiltinPolicy::Random => Chooser::Random(Draw::new(&members)),
            BuiltinPolicy::LeastRequest => Chooser::LeastRequest(LeastRequest::new(&members)),
            BuiltinPolicy::PeakEwma => Chooser::PeakEwma(PeakEwma::new(&members)),
            BuiltinPolicy::RingHash => Chooser::RingHash(RingHash::new(&members, &identities)),
            BuiltinPolicy::Maglev => Chooser::Maglev(Maglev::new(&members, &identities)),
        };
        Self { members, chooser, identities }
    }

    fn has_usable(&self, request: &PickRequest) -> bool {
        self.members.usable_from(0, request).is_some()
    }

    fn pick(&self, cursor: &Cell<u64>, request: &PickRequest) -> Option<usize> {
        let choice = match &self.chooser {
            Chooser::RoundRobin(policy) => policy.choose(cursor),
            Chooser::Random(draw) => draw.one(request.random),
            Chooser::LeastRequest(policy) => policy.choose(&self.members, request),
            Chooser::PeakEwma(policy) => policy.choose(&self.members, request),
            Chooser::RingHash(ring) => ring.choose(request.key),
            Chooser::Maglev(table) => table.choose(request.key),
        };
        let position = if self.members.is_usable(choice, request) { choice } else { self.stand_in(request)? };
        Some(self.members.index(position))
    }

    /// A usable member in place of one that is not: by chance, so that no single neighbour inherits the traffic.
    ///
    /// With a hash policy a key keeps its stand-in, which is the member with the highest hash of key and address
    /// together (rendezvous hashing; Thaler and Ravishankar, 1998): even, and the same on every proxy.
    fn stand_in(&self, request: &PickRequest) -> Option<usize> {
        if self.identities.is_empty() {
            let start = below(mix(request.random), self.members.len() as u64) as usize;
            return self.members.usable_from(start, request);
        }
        let usable = (0..self.members.len()).filter(|position| self.members.is_usable(*position, request));
        usable.max_by_key(|position| mix(request.key ^ self.identities[*position]))
    }
}

/// What a member is to hash policies: its address as text, whatever its place in the list.
fn identity(members: &Members, position: usize) -> u64 {
    xxh3_64(members.endpoint(position).address.to_string().as_bytes())
}
