//! Each endpoint in turn; with uneven weights, each in as many turns as its weight says. Picks what the built-in
//! round robin picks.
//!
//! Uneven weights are served by the static stride scheduler of gRPC's `weighted_round_robin` (gRFC A58): a cursor walks
//! over the endpoints again and again, and one sits out the rounds that its weight does not entitle it to.

use std::cell::Cell;

use wasmesh_policy::{
    Decision, Endpoint, Label, Plan, Policy, Request, Update, config,
    levels::{Chooser, Levels, REASONS},
    members::Members,
};

#[derive(Default)]
struct RoundRobin {
    levels: Levels<Turns>,
    /// Unset before the first pick, which begins at a random place: else every proxy would begin with the same endpoint.
    cursor: Option<u64>,
}

impl Policy for RoundRobin {
    fn init(config: &str, _about: &[Label]) -> Result<(Self, Plan), String> {
        config::read(config, "{}", |_| Ok(()))?;
        Ok((Self::default(), Plan::with_reasons(&REASONS)))
    }

    fn update(&mut self, update: Update) -> Result<(), String> {
        self.levels = Levels::new(&update.endpoints);
        Ok(())
    }

    fn pick(&mut self, request: &Request) -> Decision {
        let cursor = self.cursor.get_or_insert(request.random);
        match self.levels.pick(request, cursor) {
            Some((index, reason)) => Decision::endpoint(index).because(reason as u32),
            None => Decision::fallback(),
        }
    }
}

wasmesh_policy::export!(RoundRobin);

/// The heaviest endpoint's weight after scaling; it takes part in every round.
const MAX_WEIGHT: u64 = u16::MAX as u64;

/// Endpoints begin their rounds at different phases, so that light ones do not all come in the same round.
const PHASE: u64 = MAX_WEIGHT / 2;

struct Turns {
    /// Weights scaled so that the largest is [`MAX_WEIGHT`]; empty if all are the same.
    weights: Box<[u16]>,
    /// A turn and whose it was.
    last: Cell<(u64, u64)>,
}

impl Chooser for Turns {
    fn new(members: &Members, _endpoints: &[Endpoint]) -> Self {
        let weights = members.uneven_weights().unwrap_or_default();
        let largest = u64::from(weights.iter().copied().max().unwrap_or(1));
        // At least 1: whoever has any weight at all has its turn some time.
        let scale = |weight: &u32| ((u64::from(*weight) * MAX_WEIGHT + largest / 2) / largest).max(1) as u16;
        Self { weights: weights.iter().map(scale).collect(), last: Cell::new((0, 0)) }
    }

    fn choose(&self, members: &Members, request: &Request, cursor: &mut u64) -> Result<usize, usize> {
        let len = members.len() as u64;
        let position = if self.weights.is_empty() { self.even(len, cursor) } else { self.uneven(len, cursor) };
        let position = position as usize;
        if members.is_usable(position, request) { Ok(position) } else { Err(position) }
    }
}

impl Turns {
    /// The position whose turn it is: the turn modulo the length. Usually that is the last one's neighbour, which saves the
    /// division, the most expensive part of a pick.
    fn even(&self, len: u64, cursor: &mut u64) -> u64 {
        let turn = *cursor;
        *cursor = turn.wrapping_add(1);
        let (last_turn, last) = self.last.get();
        let follows = turn != 0 && turn - 1 == last_turn && last_turn != 0;
        let position = match follows {
            true if last + 1 == len => 0,
            true => last + 1,
            false => turn % len,
        };
        self.last.set((turn, position));
        position
    }

    /// The same with weights. Skips fewer than there are, because the heaviest never sits out.
    fn uneven(&self, len: u64, cursor: &mut u64) -> u64 {
        loop {
            let turn = *cursor;
            *cursor = turn.wrapping_add(1);
            let (position, round) = (turn % len, turn / len);
            let weight = u64::from(self.weights[position as usize]);
            if (weight * (round % MAX_WEIGHT) + PHASE * position) % MAX_WEIGHT >= MAX_WEIGHT - weight {
                return position;
            }
        }
    }
}
