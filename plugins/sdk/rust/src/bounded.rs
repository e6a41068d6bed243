//! A key's own endpoint, as long as that carries no more than its share: consistent hashing with bounded loads (Mirrokni,
//! Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018), known from HAProxy's `hash-balance-factor`.
//!
//! What does not fit goes to another endpoint, in an order of the key's own instead of always to the next on the ring: so an
//! endpoint that is full does not fill its neighbour (Chen, Coleman and Shrivastava, "Revisiting Consistent Hashing with
//! Bounded Loads", 2021).

use crate::{Endpoint, Request, levels::Chooser, members::Members, ring::Ring, stats};

/// How much an endpoint may have under way.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// Of its share of all requests under way, in percent; above 100.
    pub percent: u32,
    /// So many it may have in any case: of a few requests, shares are parts of a request.
    pub at_least: u32,
}

impl Bound {
    /// What one of this `weight` may have under way when there are `total` requests and all weights are `weights` together.
    /// Rounded up, so that all of them together always have room.
    pub fn of(self, total: u64, weight: u64, weights: u64) -> u64 {
        let share = (u64::from(self.percent) * total * weight).div_ceil(100 * weights.max(1));
        share.max(u64::from(self.at_least))
    }
}

/// Where a request went; the order of [`REASONS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// To the endpoint that its key belongs to.
    Home,
    /// Elsewhere, because there was no room at home.
    Overflow,
    /// Elsewhere, because home takes no requests.
    HomeDown,
    /// To the least loaded, because there was no room anywhere.
    Crowded,
}

/// To look at so many endpoints takes a good part of a pick's budget. Of more, it is the next ones on the ring that are looked at.
const MOST_LOOKED_AT: usize = 1024;

/// Names of the places, for `Plan::reasons`.
pub const REASONS: [&str; 4] = ["home", "overflow", "home-down", "crowded"];

/// Keys and their endpoints, by ascending priority.
#[derive(Debug)]
pub struct Bounded {
    bound: Bound,
    levels: Box<[Level]>,
}

#[derive(Debug)]
struct Level {
    members: Members,
    ring: Ring,
    weights: u64,
}

impl Bounded {
    /// No endpoint yet.
    pub fn new(bound: Bound) -> Self {
        Self { bound, levels: Box::default() }
    }

    /// Other endpoints from now on.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        let mut priorities: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let level = |priority| {
            let members = Members::among(endpoints, &|endpoint| endpoint.priority == priority);
            let weights = (0..members.len()).map(|position| u64::from(members.weight(position))).sum();
            Level { ring: Ring::new(&members, endpoints), members, weights }
        };
        self.levels = priorities.into_iter().map(level).collect();
    }

    /// The index of the endpoint that takes a request with this key, and which place that is; `None` if nobody is usable.
    ///
    /// `is_full` says of an index whether there is no room for another reason than the bound.
    pub fn pick(&self, request: &Request, key: u64, is_full: impl Fn(u32) -> bool) -> Option<(u32, Place)> {
        let has_room = |level: &Level, position, total, weights| {
            let index = level.members.index(position);
            let bound = self.bound.of(total, u64::from(level.members.weight(position)), weights);
            u64::from(stats::in_flight(index)) < bound && !is_full(index)
        };
        // With this one.
        let total = u64::from(stats::total_in_flight()) + 1;
        self.levels.iter().find_map(|level| {
            let home = level.ring.home(key);
            // Most requests go there, and to find out costs no look at the others.
            if level.members.is_usable(home, request) && has_room(level, home, total, level.weights) {
                return Some((level.members.index(home), Place::Home));
            }
            let (position, place) =
                level.beside(home, request, key, &|position, weights| has_room(level, position, total, weights))?;
            Some((level.members.index(position), place))
        })
    }
}

impl Level {
    #[cold]
    fn beside(
        &self,
        home: usize,
        request: &Request,
        key: u64,
        has_room: &dyn Fn(usize, u64) -> bool,
    ) -> Option<(usize, Place)> {
        let members = &self.members;
        let is_usable = |position: &usize| members.is_usable(*position, request);
        let (usable, weights) = if members.len() <= MOST_LOOKED_AT {
            let usable: Vec<_> = (0..members.len()).filter(is_usable).collect();
            // Who is not usable leaves a larger share to the others.
            let weights = usable.iter().map(|position| u64::from(members.weight(*position))).sum();
            (usable, weights)
        } else {
            (self.ring.owners_from(key).take(MOST_LOOKED_AT).filter(is_usable).collect(), self.weights)
        };
        let is_home_usable = usable.contains(&home);
        if is_home_usable && has_room(home, weights) {
            return Some((home, Place::Home));
        }
        let with_room = usable.iter().copied().filter(|position| has_room(*position, weights));
        if let Some(position) = with_room.max_by_key(|position| self.ring.rank(key, *position)) {
            return Some((position, if is_home_usable { Place::Overflow } else { Place::HomeDown }));
        }
        // Loads of different weights are compared without dividing: what is left of a common multiple.
        let load = |position: usize| {
            let in_flight = u64::from(stats::in_flight(members.index(position))) + 1;
            in_flight * weights / u64::from(members.weight(position))
        };
        usable.into_iter().min_by_key(|position| load(*position)).map(|position| (position, Place::Crowded))
    }
}

#[cfg(test)]
mod tests {
    use super::Bound;

    #[test]
    fn all_together_always_have_room_and_nobody_much_more_than_a_share() {
        for percent in [101, 125, 200] {
            for weights in [&[1_u64, 1, 1][..], &[1, 2, 7], &[5]] {
                let sum: u64 = weights.iter().sum();
                for total in 1..200 {
                    let bound = |weight: u64| Bound { percent, at_least: 1 }.of(total, weight, sum);
                    assert!(weights.iter().map(|weight| bound(*weight)).sum::<u64>() >= total);
                    let share = |weight: u64| total * weight * u64::from(percent) / (100 * sum);
                    assert!(weights.iter().all(|weight| bound(*weight) <= share(*weight) + 1));
                }
            }
        }
    }

    #[test]
    fn a_few_fit_in_any_case() {
        assert_eq!(Bound { percent: 125, at_least: 4 }.of(2, 1, 10), 4);
        assert_eq!(Bound { percent: 125, at_least: 4 }.of(100, 1, 10), 13);
    }
}
