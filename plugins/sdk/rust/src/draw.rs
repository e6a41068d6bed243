//! Drawing members by chance, each as often as its weight says.

use crate::{
    Endpoint, Request,
    levels::Chooser,
    members::Members,
    random::{below, mix},
};

/// Draws positions by weight.
#[derive(Debug)]
pub struct Draw {
    len: usize,
    /// Running sums of the weights; empty if all weights are the same.
    sums: Box<[u64]>,
}

/// Any one; what a policy begins with that compares those drawn by a rule of its own.
impl Chooser for Draw {
    fn new(members: &Members, _endpoints: &[Endpoint]) -> Self {
        Self::new(members)
    }

    fn choose(&self, members: &Members, request: &Request, _cursor: &mut u64) -> Result<usize, usize> {
        let position = self.one(request.random);
        if members.is_usable(position, request) { Ok(position) } else { Err(position) }
    }
}

impl Draw {
    /// A draw among these.
    pub fn new(members: &Members) -> Self {
        let mut sum = 0;
        let running = members.uneven_weights().unwrap_or_default().iter().map(|weight| {
            sum += u64::from(*weight);
            sum
        });
        Self { len: members.len(), sums: running.collect() }
    }

    /// One position.
    #[inline]
    pub fn one(&self, random: u64) -> usize {
        match self.sums.last() {
            None => below(random, self.len as u64) as usize,
            Some(total) => self.at(below(random, *total)),
        }
    }

    /// Two positions, distinct if there are two; the second is drawn as if the first were not there.
    #[inline]
    pub fn pair(&self, random: u64) -> (usize, usize) {
        if self.len < 2 {
            return (0, 0);
        }
        let first = self.one(random);
        let again = mix(random);
        let Some(total) = self.sums.last() else {
            let second = below(again, self.len as u64 - 1) as usize;
            return (first, second + usize::from(second >= first));
        };
        let start = if first == 0 { 0 } else { self.sums[first - 1] };
        let width = self.sums[first] - start;
        let point = below(again, total - width);
        (first, self.at(if point < start { point } else { point + width }))
    }

    /// The member within whose share of the line the point lies.
    fn at(&self, point: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= point)
    }
}
