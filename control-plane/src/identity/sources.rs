//! From where tokens come that are not accepted. Pure: time is passed in, since some fixed moment.
//!
//! Whether a token is good is known only when the API server has been asked, and tokens that look good cost nothing to make: one
//! that sends a new one each time would have a question asked for each. So an address that brings bad ones is asked about less
//! and less, down to a steady trickle. What is good costs its address nothing, so however many proxies share one (behind a NAT,
//! or on the network of their node) they are let in as they come.

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

/// The addresses that have brought bad tokens.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// When everything that an address has brought is forgotten.
    forgiven_at: HashMap<IpAddr, Duration>,
}

impl Sources {
    /// Whether a token from this address is worth a question.
    pub(super) fn may_ask(&self, from: IpAddr, now: Duration) -> bool {
        let forgiven_at = self.forgiven_at.get(&from).copied().unwrap_or_default();
        forgiven_at.saturating_sub(now) <= FORGIVEN_AFTER * (BURST - 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn an_address_is_asked_about_until_it_has_brought_too_much() {
        let (mut sources, now) = (Sources::default(), Duration::from_secs(100));
        for _ in 0..BURST {
            assert!(sources.may_ask(A, now));
            sources.was_bad(A, now);
        }
        assert!(!sources.may_ask(A, now));
        assert!(sources.may_ask(B, now), "others have nothing to do with it");
        assert!(!sources.may_ask(A, now + FORGIVEN_AFTER - Duration::from_millis(1)));
        assert!(sources.may_ask(A, now + FORGIVEN_AFTER));
    }

    #[test]
    fn nobody_is_held_off_for_ever() {
        let (mut sources, now) = (Sources::default(), Duration::ZERO);
        (0..100_000).for_each(|_| sources.was_bad(A, now));
        assert!(!sources.may_ask(A, now));
        assert!(sources.may_ask(A, now + LONGEST));
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
    }
}
