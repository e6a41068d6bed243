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
    #[inline]
    pub fn pick(&self, request: &Request, cursor: &mut u64) -> Option<(u32, Reason)> {
        let picked = match &*self.levels {
            [only] => only.pick(request, cursor, true),
            _ => self.pick_by_priority(*request, cursor),
        };
        picked.or_else(|| self.last_resort(*request))
    }

    /// The same, but only ever somebody who is usable: for when there are others to turn to.
    pub fn pick_usable(&self, request: &Request, cursor: &mut u64) -> Option<(u32, Reason)> {
        self.levels.iter().find_map(|level| level.pick(request, cursor, false))
    }

    /// The same by a rule of the policy's own, which answers as [`Chooser::choose`] does.
    pub fn pick_usable_by(
        &self,
        request: &Request,
        choose: impl Fn(&C, &Members) -> Result<usize, usize>,
    ) -> Option<(u32, Reason)> {
        self.levels.iter().find_map(|Level { members, chooser }| match choose(chooser, members) {
            Ok(position) => Some((members.index(position), Reason::Chosen)),
            Err(_) => Some((members.index(chooser.stand_in(members, request)?), Reason::StandIn)),
        })
    }

    // What follows takes the request by value: it is copied only when it comes to this, and can stay in registers else.

    #[inline(never)]
    fn pick_by_priority(&self, request: Request, cursor: &mut u64) -> Option<(u32, Reason)> {
        // A priority that nobody is left of is passed over unpicked: it must not use up turns.
        let mut left = self.levels.iter().filter(|level| level.has_usable(&request));
        left.find_map(|level| level.pick(&request, cursor, true))
    }

    #[cold]
    fn last_resort(&self, request: Request) -> Option<(u32, Reason)> {
        self.levels.iter().find_map(|level| level.last_resort(&request))
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

    #[inline]
    fn pick(&self, request: &Request, cursor: &mut u64, may_panic: bool) -> Option<(u32, Reason)> {
        match self.chooser.choose(&self.members, request, cursor) {
            Ok(position) => Some((self.members.index(position), Reason::Chosen)),
            Err(wanted) => self.somebody_else(wanted, *request, may_panic),
        }
    }

    /// In place of one who is not usable; or that one after all, in a panic.
    #[cold]
    fn somebody_else(&self, wanted: usize, request: Request, may_panic: bool) -> Option<(u32, Reason)> {
        let members = &self.members;
        if may_panic && members.is_possible(wanted, &request) && members.is_panicking() {
            return Some((members.index(wanted), Reason::Chosen));
        }
        Some((members.index(self.chooser.stand_in(members, &request)?), Reason::StandIn))
    }

    fn last_resort(&self, request: &Request) -> Option<(u32, Reason)> {
        let position = self.members.possible_from(random_position(&self.members, request), request)?;
        Some((self.members.index(position), Reason::LastResort))
    }
}

fn random_position(members: &Members, request: &Request) -> usize {
    below(mix(request.random), members.len() as u64) as usize
}
