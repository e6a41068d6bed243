//! Who has which place. Pure: time is passed in, as the time since some fixed moment.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::Duration,
};

/// What a port bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; at least 1.
    pub total: usize,
    /// Connections from one address; at least 1.
    pub per_source: usize,
    /// How long one may be open before it asks something, or go on asking it.
    pub asking: Duration,
    /// How long one may be open without a word after it has been served.
    pub idle: Duration,
}

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It has begun to ask something and is not done with it.
    Asking(Duration),
    /// Nothing.
    Resting(Duration),
    /// It is being served: its place is its own.
    Served,
}

#[derive(Debug)]
struct Place<T> {
    from: IpAddr,
    doing: Doing,
    owner: T,
}

/// Why a place has been taken away, or is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// One address has too many.
    Source,
    /// There are too many.
    Total,
    /// It took too long.
    Overdue,
}

/// The places of a port. `T` is how their owners are told.
#[derive(Debug)]
pub(super) struct Table<T> {
    limits: Limits,
    next: u64,
    places: BTreeMap<u64, Place<T>>,
    by_source: HashMap<IpAddr, usize>,
}

/// A place that has been given.
#[derive(Debug, PartialEq)]
pub(super) struct Given<T> {
    /// Its number.
    pub(super) id: u64,
    /// Who had to give up another one, and why.
    pub(super) instead_of: Option<(T, Reason)>,
}

impl<T> Table<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, next: 0, places: BTreeMap::new(), by_source: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A place for a connection from there, which is about to ask something.
    ///
    /// # Errors
    /// When all that might be taken away are being served.
    pub(super) fn enter(&mut self, from: IpAddr, owner: T, now: Duration) -> Result<Given<T>, Reason> {
        let of_source = self.by_source.get(&from).copied().unwrap_or(0);
        let instead_of = if of_source >= self.limits.per_source.max(1) {
            Some((self.oldest(|place| place.from == from).ok_or(Reason::Source)?, Reason::Source))
        } else if self.places.len() >= self.limits.total.max(1) {
            Some((self.least_needed().ok_or(Reason::Total)?, Reason::Total))
        } else {
            None
        };
        let instead_of = instead_of.and_then(|(id, reason)| Some((self.leave(id)?, reason)));
        let id = self.next;
        self.next += 1;
        self.places.insert(id, Place { from, doing: Doing::Asking(now), owner });
        *self.by_source.entry(from).or_default() += 1;
        Ok(Given { id, instead_of })
    }

    /// The first byte of a question has come.
    pub(super) fn asks(&mut self, id: u64, now: Duration) {
        if let Some(place) = self.places.get_mut(&id)
            && matches!(place.doing, Doing::Resting(_))
        {
            place.doing = Doing::Asking(now);
        }
    }

    /// It is being served from now on. False if the place has been taken away already.
    pub(super) fn is_served(&mut self, id: u64) -> bool {
        self.places.get_mut(&id).map(|place| place.doing = Doing::Served).is_some()
    }

    /// It has nothing to do from now on.
    pub(super) fn rests(&mut self, id: u64, now: Duration) {
        if let Some(place) = self.places.get_mut(&id) {
            place.doing = Doing::Resting(now);
        }
    }

    /// The place is free again; whose it was.
    pub(super) fn leave(&mut self, id: u64) -> Option<T> {
        let Place { from, owner, .. } = self.places.remove(&id)?;
        if let Some(count) = self.by_source.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&from);
            }
        }
        Some(owner)
    }

    /// Takes the places of all that take too long.
    pub(super) fn clear(&mut self, now: Duration) -> Vec<T> {
        let Limits { asking, idle, .. } = self.limits;
        let is_overdue = |place: &Place<T>| match place.doing {
            Doing::Asking(since) => now.saturating_sub(since) > asking,
            Doing::Resting(since) => now.saturating_sub(since) > idle,
            Doing::Served => false,
        };
        let overdue: Vec<_> = self.places.iter().filter(|(_, place)| is_overdue(place)).map(|(id, _)| *id).collect();
        overdue.into_iter().filter_map(|id| self.leave(id)).collect()
    }

    /// The place that has been without use for longest, among these.
    fn oldest(&self, among: impl Fn(&Place<T>) -> bool) -> Option<u64> {
        let without_use = self.places.iter().filter(|(_, place)| among(place));
        without_use.filter_map(|(id, place)| Some((place.unused_since()?, *id))).min().map(|(_, id)| id)
    }

    /// Of the address with most places without use, the one that has been so for longest.
    fn least_needed(&self) -> Option<u64> {
        let mut unused: HashMap<IpAddr, usize> = HashMap::new();
        for place in self.places.values().filter(|place| place.unused_since().is_some()) {
            *unused.entry(place.from).or_default() += 1;
        }
        let most = unused.values().copied().max()?;
        self.oldest(|place| unused.get(&place.from) == Some(&most))
    }
}

impl<T> Place<T> {
    fn unused_since(&self) -> Option<Duration> {
        match self.doing {
            Doing::Asking(since) | Doing::Resting(since) => Some(since),
            Doing::Served => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        time::Duration,
    };

    use super::{Given, Limits, Reason, Table};

    const LIMITS: Limits =
        Limits { total: 4, per_source: 3, asking: Duration::from_secs(5), idle: Duration::from_secs(60) };

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A table in which owners are called by the second in which they came.
    struct Port(Table<u64>);

    impl Port {
        fn new() -> Self {
            Self(Table::new(LIMITS))
        }

        fn enter(&mut self, last: u8, second: u64) -> Result<Given<u64>, Reason> {
            self.0.enter(address(last), second, at(second))
        }
    }

    #[test]
    fn a_port_that_is_full_takes_from_whoever_has_most() {
        let mut port = Port::new();
        let quiet = port.enter(1, 0).unwrap().id;
        for second in 1..4 {
            assert_eq!(port.enter(2, second).unwrap().instead_of, None);
        }
        assert_eq!(port.enter(3, 4).unwrap().instead_of, Some((1, Reason::Total)), "not the oldest of all");
        assert!(port.0.is_served(quiet));
        assert_eq!(port.0.len(), LIMITS.total);
    }

    #[test]
    fn one_address_takes_from_itself() {
        let mut port = Port::new();
        let first = port.enter(1, 0).unwrap().id;
        port.enter(1, 1).unwrap();
        port.enter(1, 2).unwrap();
        assert!(port.0.is_served(first));
        assert_eq!(port.enter(1, 3).unwrap().instead_of, Some((1, Reason::Source)), "who is served stays");
        port.0.rests(first, at(4));
        assert_eq!(port.enter(1, 5).unwrap().instead_of, Some((2, Reason::Source)), "who was served last goes last");
    }

    #[test]
    fn who_is_served_is_not_interrupted() {
        let mut port = Port::new();
        for last in 1..5 {
            let id = port.enter(last, 0).unwrap().id;
            assert!(port.0.is_served(id));
        }
        assert_eq!(port.enter(9, 1), Err(Reason::Total));
        assert!(port.0.clear(at(1_000_000)).is_empty());
        let mut port = Port::new();
        for second in 0..3 {
            let id = port.enter(1, second).unwrap().id;
            assert!(port.0.is_served(id));
        }
        assert_eq!(port.enter(1, 3), Err(Reason::Source));
        assert!(port.enter(2, 3).is_ok());
    }

    #[test]
    fn a_place_that_was_taken_away_cannot_be_used() {
        let mut port = Port::new();
        let first = port.enter(1, 0).unwrap().id;
        assert_eq!(port.0.clear(at(6)), [0]);
        assert!(!port.0.is_served(first));
        assert_eq!(port.0.leave(first), None);
        assert_eq!(port.0.len(), 0);
        assert!(port.0.by_source.is_empty());
    }

    #[test]
    fn asking_and_resting_have_their_time() {
        let mut port = Port::new();
        let id = port.enter(1, 0).unwrap().id;
        assert!(port.0.clear(at(5)).is_empty());
        port.0.rests(id, at(5));
        assert!(port.0.clear(at(65)).is_empty());
        port.0.asks(id, at(65));
        port.0.asks(id, at(69));
        assert!(port.0.clear(at(70)).is_empty());
        assert_eq!(port.0.clear(at(71)), [0], "a question that goes on and on is one question");
    }

    proptest::proptest! {
        #[test]
        fn no_limit_is_ever_exceeded(steps in proptest::collection::vec((0..5_u8, 0..6_u64, 0..4_u8), 0..200)) {
            let mut port = Port::new();
            for (now, (what, id, last)) in (0..).zip(steps) {
                match what {
                    0 | 1 => drop(port.enter(last, now)),
                    2 => drop(port.0.is_served(id)),
                    3 => port.0.rests(id, at(now)),
                    _ => drop(port.0.leave(id)),
                }
                let table = &port.0;
                proptest::prop_assert!(table.len() <= LIMITS.total);
                proptest::prop_assert!(table.by_source.values().all(|count| (1..=LIMITS.per_source).contains(count)));
                proptest::prop_assert_eq!(table.by_source.values().sum::<usize>(), table.len());
            }
        }
    }
}
