//! Priorities, and somebody else when the chosen endpoint cannot take the request: what most policies share.
//!
//! A policy implements [`Chooser`] over the endpoints of one priority; [`Levels`] does the rest by the same rules as the
//! built-in policies.

use crate::{
    Endpoint, Request,
    members::Members,
    random::{below, mix},
};

/// Why an endpoint was chosen; the order of [`REASONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The policy's own choice.
    Chosen,
    /// Its choice could not take the request; this is somebody else of the same priority.
    StandIn,
    /// Nobody is usable; this one at least has not just failed the request.
    LastResort,
}

/// Names of the reasons, for `Plan::reasons`.
pub const REASONS: [&str; 3] = ["chosen", "stand-in", "last-resort"];

/// Chooses among the endpoints of one priority.
pub trait Chooser {
    /// Prepares for these; never none. `endpoints` is the whole list.
    fn new(members: &Members, endpoints: &[Endpoint]) -> Self;

    /// `Ok` with the position of a member that is usable; `Err` with that of one it would have chosen, but which is not.
    fn choose(&self, members: &Members, request: &Request, cursor: &mut u64) -> Result<usize, usize>;

    /// A usable member in place of one that is not: by default the next one from a random start on, so that it is not
    /// the same neighbour who inherits all of the traffic.
    fn stand_in(&self, members: &Members, request: &Request) -> Option<usize> {
        members.usable_from(random_position(members, request), request)
    }
}

/// Choosers by ascending priority.
#[derive(Debug)]
pub struct Levels<C> {
    levels: Box<[Level<C>]>,
}

impl<C> Default for Levels<C> {
    /// No endpoint at all.
    fn default() -> Self {
        Self { levels: Box::default() }
    }
}

impl<C: Chooser> Levels<C> {
    /// Choosers over these endpoints.
    pub fn new(endpoints: &[Endpoint]) -> Self {
        Self::among(endpoints, &|_| true)
    }

    /// Choosers over those of these endpoints that `keep` says.
    pub fn among(endpoints: &[Endpoint], keep: &dyn Fn(&Endpoint) -> bool) -> Self {
        let mut priorities: Vec<u32> = endpoints.iter().filter(|e| keep(e)).map(|e| e.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let level = |priority| Level::new(endpoints, &|endpoint| endpoint.priority == priority && keep(endpoint));
        Self { levels: priorities.into_iter().map(level).collect() }
    }

    /// The index of the endpoint that takes the request, and why; `None` if there is none but the one to avoid.
    ///
    /// `cursor` is whatever the choosers keep from pick to pick. While more than half of a priority are ejected, that is
    /// disregarded.
    pub fn pick(&self, request: &Request, cursor: &mut u64) -> Option<(u32, Reason)> {
        let picked = match &*self.levels {
            [only] => only.pick(request, cursor, true),
            // A priority that nobody is left of is passed over unpicked: it must not use up turns.
            levels => levels.iter().filter(|l| l.has_usable(request)).find_map(|l| l.pick(request, cursor, true)),
        };
        picked.or_else(|| self.levels.iter().find_map(|level| level.last_resort(request)))
    }

    /// The same, but only ever somebody who is usable: for when there are others to turn to.
    pub fn pick_usable(&self, request: &Request, cursor: &mut u64) -> Option<(u32, Reason)> {
        self.levels.iter().find_map(|level| level.pick(request, cursor, false))
    }
}

#[derive(Debug)]
struct Level<C> {
    members: Members,
    chooser: C,
}

impl<C: Chooser> Level<C> {
    fn new(endpoints: &[Endpoint], keep: &dyn Fn(&Endpoint) -> bool) -> Self {
        let members = Members::among(endpoints, keep);
        Self { chooser: C::new(&members, endpoints), members }
    }

    fn has_usable(&self, request: &Request) -> bool {
        self.members.usable_from(0, request).is_some()
    }

    fn pick(&self, request: &Request, cursor: &mut u64, may_panic: bool) -> Option<(u32, Reason)> {
        let members = &self.members;
        let (position, reason) = match self.chooser.choose(members, request, cursor) {
            Ok(position) => (position, Reason::Chosen),
            Err(wanted) if may_panic && members.is_possible(wanted, request) && members.is_panicking() => {
                (wanted, Reason::Chosen)
            }
            Err(_) => (self.chooser.stand_in(members, request)?, Reason::StandIn),
        };
        Some((members.index(position), reason))
    }

    fn last_resort(&self, request: &Request) -> Option<(u32, Reason)> {
        let position = self.members.possible_from(random_position(&self.members, request), request)?;
        Some((self.members.index(position), Reason::LastResort))
    }
}

fn random_position(members: &Members, request: &Request) -> usize {
    below(mix(request.random), members.len() as u64) as usize
}
