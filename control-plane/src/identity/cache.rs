//! What is known of tokens, by their digest. Pure: time is passed in.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use super::{PodIdentity, Refusal};

/// How long an answer of the API server is taken for granted. A pod that is deleted is refused after this time.
pub const FRESH_FOR: Duration = Duration::from_secs(60);

/// For how long a token that was good is accepted while the API server cannot be asked, and never beyond its own end.
///
/// It is as long as a stream may live: a stream that was opened a moment before the outage would go on for as long. Without
/// it, an outage of the API server would become one of the mesh, as streams come to their end; with it, somebody who has
/// stolen the token of a pod that was deleted meanwhile goes on reading where Services are.
pub const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// How long nobody is asked about a token that was refused.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// How many tokens are known at once: more proxies than one replica serves.
const MAX_KNOWN: usize = 32 * 1024;
const MAX_REFUSED: usize = 4 * 1024;

/// Names a token without keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// What is known of tokens.
#[derive(Debug, Default)]
pub(super) struct Cache {
    known: HashMap<Key, Known>,
    refused: HashMap<Key, (Refusal, SystemTime)>,
}

#[derive(Debug)]
struct Known {
    pod: Arc<PodIdentity>,
    reviewed: SystemTime,
    expires: SystemTime,
}

impl Known {
    /// A clock that has been set back makes nothing younger.
    fn is_within(&self, time: Duration, now: SystemTime) -> bool {
        now < self.expires && now.duration_since(self.reviewed).is_ok_and(|age| age < time)
    }
}

impl Cache {
    /// What the API server has said a short while ago.
    pub(super) fn fresh(&self, key: &Key, now: SystemTime) -> Option<Result<Arc<PodIdentity>, Refusal>> {
        if let Some(known) = self.known.get(key).filter(|known| known.is_within(FRESH_FOR, now)) {
            return Some(Ok(Arc::clone(&known.pod)));
        }
        let (refusal, at) = self.refused.get(key)?;
        let is_fresh = now.duration_since(*at).is_ok_and(|age| age < REFUSED_FOR);
        is_fresh.then(|| Err(refusal.clone()))
    }

    /// Whom the API server has vouched for before, for when it cannot be asked.
    pub(super) fn kept(&self, key: &Key, now: SystemTime) -> Option<Arc<PodIdentity>> {
        let known = self.known.get(key).filter(|known| known.is_within(KEPT_FOR, now))?;
        Some(Arc::clone(&known.pod))
    }

    /// The API server vouches for a pod with a token that ends then.
    pub(super) fn accept(&mut self, key: Key, pod: Arc<PodIdentity>, expires: SystemTime, now: SystemTime) {
        self.refused.remove(&key);
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, known| known.is_within(KEPT_FOR, now));
        }
        // Still too many: whoever has been asked about lately is likely to come again.
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, known| known.is_within(FRESH_FOR, now));
        }
        if self.known.len() < MAX_KNOWN {
            self.known.insert(key, Known { pod, reviewed: now, expires });
        }
    }

    /// The API server does not vouch for it, or no more.
    pub(super) fn refuse(&mut self, key: Key, refusal: Refusal, now: SystemTime) {
        self.known.remove(&key);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(key, (refusal, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn pod(name: &str) -> Arc<PodIdentity> {
        let [namespace, name, uid, service_account] = ["shop", name, "u", "web"].map(str::to_owned);
        Arc::new(PodIdentity { namespace, name, uid, service_account, node: None })
    }

    #[test]
    fn an_answer_is_fresh_for_a_minute_and_kept_for_an_hour() {
        let (mut cache, key) = (Cache::default(), Key::of("t"));
        assert!(cache.fresh(&key, at(0)).is_none());
        cache.accept(key, pod("a"), at(100_000), at(0));
        assert_eq!(cache.fresh(&key, at(59)), Some(Ok(pod("a"))));
        assert!(cache.fresh(&key, at(60)).is_none());
        assert_eq!(cache.kept(&key, at(3599)), Some(pod("a")));
        assert!(cache.kept(&key, at(3600)).is_none());
        assert!(cache.fresh(&Key::of("other"), at(0)).is_none() && cache.kept(&Key::of("other"), at(0)).is_none());
    }

    #[test]
    fn no_answer_outlives_its_token() {
        let (mut cache, key) = (Cache::default(), Key::of("t"));
        cache.accept(key, pod("a"), at(30), at(0));
        assert!(cache.fresh(&key, at(29)).is_some() && cache.kept(&key, at(29)).is_some());
        assert!(cache.fresh(&key, at(30)).is_none() && cache.kept(&key, at(30)).is_none());
    }

    #[test]
    fn a_refusal_is_short_and_ends_what_was_known() {
        let (mut cache, key) = (Cache::default(), Key::of("t"));
        cache.accept(key, pod("a"), at(100_000), at(0));
        cache.refuse(key, Refusal::Expired, at(70));
        assert_eq!(cache.fresh(&key, at(74)), Some(Err(Refusal::Expired)));
        assert!(cache.fresh(&key, at(75)).is_none() && cache.kept(&key, at(75)).is_none());
        cache.accept(key, pod("a"), at(100_000), at(76));
        assert_eq!(cache.fresh(&key, at(76)), Some(Ok(pod("a"))));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_younger() {
        let (mut cache, key) = (Cache::default(), Key::of("t"));
        cache.accept(key, pod("a"), at(100_000), at(1000));
        assert!(cache.fresh(&key, at(0)).is_none() && cache.kept(&key, at(0)).is_none());
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut cache = Cache::default();
        for number in 0..MAX_KNOWN + 10 {
            cache.accept(Key::of(&number.to_string()), pod("a"), at(100_000), at(number as u64 / 1000));
            cache.refuse(Key::of(&format!("r{number}")), Refusal::Expired, at(0));
        }
        assert!(cache.known.len() <= MAX_KNOWN && cache.refused.len() <= MAX_REFUSED);
        // Those of the last minute fill it; a minute later there is room.
        let late = Key::of("late");
        cache.accept(late, pod("late"), at(100_000), at(200));
        assert_eq!(cache.fresh(&late, at(200)), Some(Ok(pod("late"))));
    }
}
