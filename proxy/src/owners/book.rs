//! What is known of addresses, what is asked, and what waits for the answer.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::SocketAddr,
    num::NonZeroUsize,
};

use lru::LruCache;
use wasmesh_core::name::ServiceName;
use wasmesh_proto::session::MAX_ADDRESSES;

/// How many addresses are remembered, whoever they belong to.
const REMEMBERED: usize = 1024;

/// For how long an answer holds: a pod that goes gives its address to the next one before long.
const HOLDS_US: u64 = 60_000_000;

/// How many addresses may wait to be asked for.
const MAX_WAITING: usize = 1024;

/// For how long an answer is waited for. Control planes take milliseconds; those of earlier versions never answer.
const PATIENCE_US: u64 = 10_000_000;

/// Of the connections that were seen, those that could be told by now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Those that reached a pod, by all Services that it belongs to.
    pub(super) owners: BTreeMap<Vec<ServiceName>, u64>,
    /// Those of which it is not known whose pods they reached, if any's.
    pub(super) unknown: u64,
}

/// What is known of addresses. Bounded, whatever is dialled.
pub(super) struct Book {
    known: LruCache<SocketAddr, Known>,
    /// Connections to addresses that are asked for, or are to be.
    waiting: HashMap<SocketAddr, u64>,
    /// Those of them that are to be asked for, in the order in which they came.
    queue: VecDeque<SocketAddr>,
    /// Those that are being asked for.
    asked: HashSet<SocketAddr>,
    asked_at_us: u64,
}

struct Known {
    /// `None` if nobody has answered.
    owners: Option<Vec<ServiceName>>,
    until_us: u64,
}

impl Counted {
    fn add(&mut self, owners: Option<&[ServiceName]>, connections: u64) {
        match owners {
            Some([]) => {}
            Some(owners) => *self.owners.entry(owners.to_vec()).or_default() += connections,
            None => self.unknown += connections,
        }
    }
}

impl Default for Book {
    fn default() -> Self {
        Self {
            known: LruCache::new(NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN)),
            waiting: HashMap::new(),
            queue: VecDeque::new(),
            asked: HashSet::new(),
            asked_at_us: 0,
        }
    }
}

impl Book {
    /// Takes note of connections: those to addresses that are known are told at once.
    pub(super) fn see(&mut self, seen: impl IntoIterator<Item = (SocketAddr, u64)>, now_us: u64) -> Counted {
        let mut counted = Counted::default();
        for (address, connections) in seen {
            if let Some(waiting) = self.waiting.get_mut(&address) {
                *waiting += connections;
            } else if let Some(known) = self.known.get(&address).filter(|known| now_us < known.until_us) {
                counted.add(known.owners.as_deref(), connections);
            } else if self.waiting.len() < MAX_WAITING {
                self.waiting.insert(address, connections);
                self.queue.push_back(address);
            } else {
                counted.unknown += connections;
            }
        }
        counted
    }

    /// The addresses to ask for now, if there are any and no other question is open.
    pub(super) fn question(&mut self, now_us: u64) -> Option<Vec<SocketAddr>> {
        if !self.asked.is_empty() || self.queue.is_empty() {
            return None;
        }
        let asked: Vec<_> = self.queue.drain(..self.queue.len().min(MAX_ADDRESSES)).collect();
        self.asked.extend(&asked);
        self.asked_at_us = now_us;
        Some(asked)
    }

    /// Whose some addresses are. What was not asked for, or not lately, is passed over.
    pub(super) fn answer(&mut self, owners: Vec<(SocketAddr, Vec<ServiceName>)>, now_us: u64) -> Counted {
        let mut counted = Counted::default();
        for (address, owners) in owners {
            if self.asked.remove(&address) {
                self.settle(address, Some(owners), now_us, &mut counted);
            }
        }
        counted
    }

    /// Gives up what has been asked for and not answered for too long. It is not asked for again before an answer would have
    /// been: whoever does not answer is not to be asked all the time.
    pub(super) fn give_up(&mut self, now_us: u64) -> Counted {
        let mut counted = Counted::default();
        if now_us.saturating_sub(self.asked_at_us) >= PATIENCE_US {
            for address in std::mem::take(&mut self.asked) {
                self.settle(address, None, now_us, &mut counted);
            }
        }
        counted
    }

    /// Whether something is asked for, or is to be.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn settle(&mut self, address: SocketAddr, owners: Option<Vec<ServiceName>>, now_us: u64, counted: &mut Counted) {
        let connections = self.waiting.remove(&address).unwrap_or_default();
        counted.add(owners.as_deref(), connections);
        self.known.put(address, Known { owners, until_us: now_us + HOLDS_US });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> SocketAddr {
        SocketAddr::from((number.to_be_bytes(), 80))
    }

    fn web() -> ServiceName {
        "shop/web".parse().unwrap()
    }

    fn of_web(connections: u64) -> Counted {
        Counted { owners: [(vec![web()], connections)].into(), unknown: 0 }
    }

    fn nothing() -> Counted {
        Counted::default()
    }

    #[test]
    fn connections_are_counted_once_it_is_known_whose_pod_they_reach() {
        let mut book = Book::default();
        assert_eq!(book.see([(address(1), 3)], 0), nothing());
        assert_eq!(book.question(0), Some(vec![address(1)]));
        assert_eq!(book.see([(address(1), 2)], 1), nothing());
        assert_eq!(book.question(1), None, "it is being asked for");
        assert_eq!(book.answer(vec![(address(1), vec![web()])], 2), of_web(5));
        assert!(!book.is_waiting());
        assert_eq!(book.see([(address(1), 4)], 3), of_web(4));
        assert_eq!(book.question(3), None);
    }

    #[test]
    fn a_pod_of_two_services_is_counted_for_both_together() {
        let mut book = Book::default();
        book.see([(address(1), 2)], 0);
        book.question(0);
        let other: ServiceName = "shop/pods".parse().unwrap();
        let counted = book.answer(vec![(address(1), vec![other.clone(), web()])], 0);
        assert_eq!(counted.owners, [(vec![other, web()], 2)].into());
    }

    #[test]
    fn an_answer_holds_for_a_minute_also_if_it_is_that_the_address_is_nobodys() {
        let mut book = Book::default();
        for owners in [vec![web()], Vec::new()] {
            let begin = book.asked_at_us + HOLDS_US;
            book.see([(address(1), 1)], begin);
            assert!(book.question(begin).is_some());
            book.answer(vec![(address(1), owners)], begin);
            book.see([(address(1), 1)], begin + HOLDS_US - 1);
            assert_eq!(book.question(begin + HOLDS_US - 1), None);
        }
    }

    #[test]
    fn who_does_not_answer_is_asked_once_a_minute_for_an_address() {
        let mut book = Book::default();
        book.see([(address(1), 2)], 0);
        assert!(book.question(0).is_some());
        assert_eq!(book.give_up(PATIENCE_US - 1), nothing());
        assert_eq!(book.give_up(PATIENCE_US), Counted { unknown: 2, ..nothing() });
        assert_eq!(book.see([(address(1), 3)], PATIENCE_US + 1), Counted { unknown: 3, ..nothing() });
        assert_eq!(book.question(PATIENCE_US + 1), None);
        assert_eq!(book.answer(vec![(address(1), vec![web()])], PATIENCE_US + 2), nothing(), "too late");
        book.see([(address(1), 3)], PATIENCE_US + HOLDS_US);
        assert_eq!(book.question(PATIENCE_US + HOLDS_US), Some(vec![address(1)]));
    }

    #[test]
    fn a_flood_of_addresses_is_bounded_in_memory_and_in_questions() {
        let mut book = Book::default();
        let (mut now_us, mut questions, mut known, mut unknown) = (0, 0, 0, 0);
        for round in 0..10 {
            let counted = book.see((round * 1000..(round + 1) * 1000).map(|n| (address(n), 1)), now_us);
            unknown += counted.unknown;
            let asked = book.question(now_us).unwrap();
            assert_eq!(asked.len(), MAX_ADDRESSES);
            questions += 1;
            let counted = book.answer(asked.iter().map(|address| (*address, vec![web()])).collect(), now_us);
            known += counted.owners[&vec![web()]];
            assert!(book.waiting.len() <= MAX_WAITING && book.known.len() <= REMEMBERED);
            assert_eq!(book.waiting.len(), book.queue.len() + book.asked.len());
            now_us += 500_000;
        }
        assert_eq!(known + unknown + book.waiting.len() as u64, 10_000);
        assert_eq!(known, questions * MAX_ADDRESSES as u64);
        while let Some(asked) = book.question(now_us) {
            book.answer(asked.into_iter().map(|address| (address, Vec::new())).collect(), now_us);
        }
        assert!(!book.is_waiting());
    }
}
