//! The power of two choices: of two endpoints drawn by chance, the one with fewer requests under way.
//!
//! Two choices are nearly as good as looking at all, and do not send every client to the same least loaded endpoint
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use crate::{Endpoint, Request, draw::Draw, levels::Chooser, members::Members, stats};

/// Chooses between two that are drawn by weight.
#[derive(Debug)]
pub struct TwoChoices(Draw);

impl Chooser for TwoChoices {
    fn new(members: &Members, _endpoints: &[Endpoint]) -> Self {
        Self(Draw::new(members))
    }

    /// Asks for as little as it can, because every question to the host costs as much as the arithmetic: whether an
    /// endpoint is available matters for the winner only.
    #[inline]
    fn choose(&self, members: &Members, request: &Request, _cursor: &mut u64) -> Result<usize, usize> {
        let (first, second) = self.0.pair(request.random);
        let (winner, other) = if is_better(members, second, first) { (second, first) } else { (first, second) };
        if members.is_usable(winner, request) {
            return Ok(winner);
        }
        if members.is_usable(other, request) { Ok(other) } else { Err(first) }
    }
}

/// Whether the challenger, once it has taken the request, carries no more per weight than the first does now.
///
/// The draw follows the weights already. Comparing both *with* the request would count them twice, and with little to do
/// the heavier would win every time.
fn is_better(members: &Members, challenger: usize, first: usize) -> bool {
    let now = u64::from(stats::in_flight(members.index(first)));
    if now == 0 {
        return false;
    }
    let after = u64::from(stats::in_flight(members.index(challenger))) + 1;
    after * u64::from(members.weight(first)) <= now * u64::from(members.weight(challenger))
}
