//! Consistent hashing by a lookup table: one step for each pick, and very even shares.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4. Each member
//! has its own order of preference over the slots of the table, and members take their next free slot in turns; with
//! weights, a lighter member sits some of the turns out, as in Envoy's `maglev`.

use crate::policy::{draw::mix, identity::Identities, members::Members};

/// Slots of the table: a prime, so that every step size visits every slot, and at least a hundred times the number of
/// members that the paper wants for shares within 1 %.
///
/// One size for lists of every length, though 2039 slots would do for twenty members: whenever a list grew or shrank
/// across such a limit, nearly all keys would move. It takes 128 KiB.
const SLOTS: u64 = 65_537;

#[derive(Debug)]
pub(super) struct Maglev {
    /// The position that has each slot.
    table: Box<[u16]>,
}

/// A member while the table is filled.
struct Applicant {
    position: u16,
    /// Next slot it would like, and the step from there to the one after.
    next: u64,
    step: u64,
    weight: u64,
    /// It takes its next turn once as many rounds have passed as make its weight reach this.
    due: u64,
}

impl Maglev {
    pub(super) fn new(members: &Members, identities: &Identities) -> Self {
        // 65,536 members have a number each; a Service with more than that is beyond Kubernetes, and the rest of it
        // gets no keys here.
        let seated = identities.ordered(members).into_iter();
        let numbered = seated.filter_map(|position| Some((u16::try_from(position).ok()?, position)));
        let mut applicants: Vec<_> = numbered
            .map(|(number, position)| {
                let identity = identities.get(position);
                let step = mix(identity) % (SLOTS - 1) + 1;
                Applicant { position: number, next: identity % SLOTS, step, weight: members.weight(position), due: 0 }
            })
            .collect();
        Self { table: fill(&mut applicants) }
    }

    pub(super) fn choose(&self, key: u64) -> usize {
        usize::from(self.table[(key % SLOTS) as usize])
    }
}

/// Each round seats the heaviest applicants at least, so that there are no more rounds than slots.
fn fill(applicants: &mut [Applicant]) -> Box<[u16]> {
    let mut table = vec![None; SLOTS as usize];
    let mut free = table.len();
    let largest = applicants.iter().map(|applicant| applicant.weight).max().unwrap_or(1);
    'rounds: for round in 1..=SLOTS {
        for applicant in &mut *applicants {
            if free == 0 {
                break 'rounds;
            }
            if round * applicant.weight >= applicant.due {
                applicant.due += largest;
                *applicant.next_free(&mut table) = Some(applicant.position);
                free -= 1;
            }
        }
    }
    table.into_iter().map(Option::unwrap_or_default).collect()
}

impl Applicant {
    /// The free slot it likes best; there must be one.
    fn next_free<'a>(&mut self, table: &'a mut [Option<u16>]) -> &'a mut Option<u16> {
        loop {
            let slot = self.next as usize;
            self.next = (self.next + self.step) % SLOTS;
            if table[slot].is_none() {
                return &mut table[slot];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_support::{assert_shares, members};

    fn slots(weights: &[u32]) -> Vec<usize> {
        let members = members(weights);
        let maglev = Maglev::new(&members, &Identities::of(&members));
        let mut slots = vec![0; weights.len()];
        for key in 0..SLOTS {
            slots[maglev.choose(key)] += 1;
        }
        slots
    }

    #[test]
    fn every_slot_is_taken_and_shares_are_within_a_percent() {
        assert_shares(&slots(&[1; 10]), &[1.0; 10], 0.01);
        assert_eq!(slots(&[5]), [SLOTS as usize]);
    }

    #[test]
    fn shares_follow_the_weights() {
        assert_shares(&slots(&[1, 2, 3, 0]), &[1.0, 2.0, 3.0, 1.0], 0.01);
        assert_shares(&slots(&[1, 99]), &[1.0, 99.0], 0.02);
    }

    #[test]
    fn the_lightest_member_has_a_slot() {
        assert!(slots(&[1, u32::MAX])[0] >= 1);
    }
}
