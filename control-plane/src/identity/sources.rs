//! From where tokens come that are not accepted. Pure: time is passed in, since some fixed moment.
//!
//! Whether a token is good is known only when the API server has been asked, and tokens that look good cost nothing to make: one
//! that sends a new one each time would have a question asked for each. So an address that brings bad ones is asked about less
//! and less, down to a steady trickle. What is good costs its address nothing, so however many proxies share one (behind a NAT,
//! or on the network of their node) they are let in as they come.
//!
//! The kubelet renews tokens, so whoever has been let in comes back with one that nobody has seen. A pod that was let in from an
//! address is therefore asked about now and then whatever else comes from there. It is told by its UID: that is not known to
//! neighbours who may make up tokens, as names are.

use std::{collections::HashMap, net::IpAddr, time::Duration};

/// How many bad tokens an address may bring at once. A pod that has a bad one comes with it again and again, and is answered
/// from memory mostly.
const BURST: u32 = 20;
/// After how long one of them is forgotten: 20 a minute in the long run.
const FORGIVEN_AFTER: Duration = Duration::from_secs(3);
/// How long an address is asked about nothing at most, however many bad tokens it has brought.
const LONGEST: Duration = Duration::from_secs(30);
/// How many addresses are remembered: more than there are pods at one replica that do not get in.
const MAX_SOURCES: usize = 16 * 1024;

/// For how long a pod that was let in from an address is remembered: longer than any stream lives, and than a kubelet waits with a
/// new token.
const KNOWN_FOR: Duration = Duration::from_secs(2 * 60 * 60);
/// How often it is asked about, whatever else comes from there.
const KNOWN_EVERY: Duration = Duration::from_secs(10);
/// How many are remembered: more proxies than one replica serves.
const MAX_KNOWN: usize = 32 * 1024;

/// The addresses that have brought bad tokens, and the pods that good ones came of.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// When everything that an address has brought is forgotten.
    forgiven_at: HashMap<IpAddr, Duration>,
    /// By address and UID.
    known: HashMap<(IpAddr, String), Known>,
}

#[derive(Debug)]
struct Known {
    until: Duration,
    /// When it may be asked about again, whatever else comes from there.
    next: Duration,
}

impl Sources {
    /// Whether a token from this address that names a pod of this UID is worth a question.
    pub(super) fn may_ask(&self, from: IpAddr, uid: &str, now: Duration) -> bool {
        self.is_trusted(from, now) || self.known.get(&(from, uid.to_owned())).is_some_and(|known| known.is_due(now))
    }

    /// The same, for one who then asks.
    pub(super) fn asks(&mut self, from: IpAddr, uid: &str, now: Duration) -> bool {
        if self.is_trusted(from, now) {
            return true;
        }
        let known = self.known.get_mut(&(from, uid.to_owned())).filter(|known| known.is_due(now));
        known.map(|known| known.next = now + KNOWN_EVERY).is_some()
    }

    /// Whether it has not brought too much.
    fn is_trusted(&self, from: IpAddr, now: Duration) -> bool {
        let forgiven_at = self.forgiven_at.get(&from).copied().unwrap_or_default();
        forgiven_at.saturating_sub(now) <= FORGIVEN_AFTER * (BURST - 1)
    }

    /// A token of this pod from this address was accepted.
    pub(super) fn was_good(&mut self, from: IpAddr, uid: &str, now: Duration) {
        let who = (from, uid.to_owned());
        let until = now + KNOWN_FOR;
        if let Some(known) = self.known.get_mut(&who) {
            known.until = until;
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, known| known.until > now);
        }
        if self.known.len() < MAX_KNOWN {
            self.known.insert(who, Known { until, next: now });
        }
    }

    /// A token from this address was not accepted.
    pub(super) fn was_bad(&mut self, from: IpAddr, now: Duration) {
        if self.forgiven_at.len() >= MAX_SOURCES {
            self.forgiven_at.retain(|_, at| *at > now);
        }
        // Whoever can come from so many addresses is bounded by how much is asked in all.
        if self.forgiven_at.len() >= MAX_SOURCES && !self.forgiven_at.contains_key(&from) {
            return;
        }
        let at = self.forgiven_at.entry(from).or_default();
        *at = ((*at).max(now) + FORGIVEN_AFTER).min(now + FORGIVEN_AFTER * (BURST - 1) + LONGEST);
    }
}

impl Known {
    fn is_due(&self, now: Duration) -> bool {
        (self.next..self.until).contains(&now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn an_address_is_asked_about_until_it_has_brought_too_much() {
        let (mut sources, now) = (Sources::default(), Duration::from_secs(100));
        for _ in 0..BURST {
            assert!(sources.may_ask(A, "u", now));
            sources.was_bad(A, now);
        }
        assert!(!sources.may_ask(A, "u", now));
        assert!(sources.may_ask(B, "u", now), "others have nothing to do with it");
        assert!(!sources.may_ask(A, "u", now + FORGIVEN_AFTER - Duration::from_millis(1)));
        assert!(sources.may_ask(A, "u", now + FORGIVEN_AFTER));
    }

    #[test]
    fn nobody_is_held_off_for_ever() {
        let (mut sources, now) = (Sources::default(), Duration::ZERO);
        (0..100_000).for_each(|_| sources.was_bad(A, now));
        assert!(!sources.may_ask(A, "u", now));
        assert!(sources.may_ask(A, "u", now + LONGEST));
    }

    #[test]
    fn a_pod_that_was_let_in_is_asked_about_now_and_then_whatever_its_neighbours_do() {
        let (mut sources, now) = (Sources::default(), Duration::from_secs(100));
        sources.was_good(A, "u", now);
        (0..1_000).for_each(|_| sources.was_bad(A, now));
        assert!(sources.may_ask(A, "u", now), "whoever only looks takes nothing");
        assert!(sources.asks(A, "u", now));
        assert!(!sources.asks(A, "u", now) && !sources.may_ask(A, "u", now), "at a small rate");
        assert!(!sources.asks(A, "", now) && !sources.asks(A, "other", now));
        (0..1_000).for_each(|_| sources.was_bad(B, now));
        assert!(!sources.asks(B, "u", now), "from there only");
        assert!(sources.asks(A, "u", now + KNOWN_EVERY));
        let last = now + KNOWN_FOR;
        (0..1_000).for_each(|_| sources.was_bad(A, last));
        assert!(!sources.may_ask(A, "u", last), "it has been away for too long");
        sources.was_good(A, "u", last);
        assert!(sources.asks(A, "u", last));
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut sources = Sources::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        (0..20_000).for_each(|n| sources.was_bad(address(n), Duration::ZERO));
        assert_eq!(sources.forgiven_at.len(), MAX_SOURCES);
        let later = FORGIVEN_AFTER * 2;
        sources.was_bad(address(20_000), later);
        assert_eq!(sources.forgiven_at.len(), 1);
        (0..33_000).for_each(|n| sources.was_good(address(n), "u", later));
        assert_eq!(sources.known.len(), MAX_KNOWN);
        sources.was_good(address(33_000), "u", later + KNOWN_FOR);
        assert_eq!(sources.known.len(), 1);
    }
}
