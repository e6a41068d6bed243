//! Answers of other name servers, for as long as they say.

use std::{num::NonZeroUsize, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{DNSClass, RData, RecordType},
};
use lru::LruCache;
use tokio::time::Instant;

use super::message::{Question, bytes_of};

/// However long an answer says that it holds: a pod outlives changes elsewhere.
const MAX_TTL: Duration = Duration::from_secs(300);

/// The same for answers that there is nothing (RFC 2308 allows hours): what is missing may be about to come.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(30);

/// What makes two questions the same.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    name: String,
    record_type: RecordType,
    class: DNSClass,
    dnssec: bool,
    unchecked: bool,
}

impl Key {
    pub(super) fn of(question: &Question) -> Self {
        Self {
            name: question.name().to_ascii_lowercase(),
            record_type: question.query().query_type(),
            class: question.query().query_class(),
            dnssec: question.wants_dnssec(),
            unchecked: question.metadata().checking_disabled,
        }
    }
}

struct Entry {
    answer: Message,
    stored: Instant,
    holds: Duration,
    bytes: usize,
}

/// The most recently used answers.
pub(super) struct Cache {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    max_bytes: usize,
}

impl Cache {
    /// Keeps at most so many answers, and so many bytes of them.
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let max_entries = NonZeroUsize::new(max_entries).unwrap_or(NonZeroUsize::MIN);
        Self { entries: LruCache::new(max_entries), bytes: 0, max_bytes }
    }

    /// An answer that still holds, with the time that it has left.
    pub(super) fn get(&mut self, key: &Key, now: Instant) -> Option<Message> {
        let entry = self.entries.get(key)?;
        let age = now.saturating_duration_since(entry.stored);
        if age >= entry.holds {
            self.remove(key);
            return None;
        }
        let mut answer = entry.answer.clone();
        let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let sections = [&mut answer.answers, &mut answer.authorities, &mut answer.additionals];
        for record in sections.into_iter().flatten() {
            record.decrement_ttl(seconds);
        }
        Some(answer)
    }

    /// Keeps an answer, if it says for how long.
    pub(super) fn put(&mut self, key: Key, answer: &Message, now: Instant) {
        let Some(holds) = holds(answer) else { return };
        self.remove(&key);
        let bytes = bytes_of(answer).len();
        if bytes > self.max_bytes {
            return;
        }
        let entry = Entry { answer: answer.clone(), stored: now, holds, bytes };
        if let Some((_, evicted)) = self.entries.push(key, entry) {
            self.bytes -= evicted.bytes;
        }
        self.bytes += bytes;
        while self.bytes > self.max_bytes {
            let Some((_, evicted)) = self.entries.pop_lru() else { break };
            self.bytes -= evicted.bytes;
        }
    }

    /// How many answers are kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes -= entry.bytes;
        }
    }
}

/// For how long an answer may be kept; `None` for one that may not.
fn holds(answer: &Message) -> Option<Duration> {
    let code = answer.metadata.response_code;
    if answer.metadata.truncation || !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let is_negative = code == ResponseCode::NXDomain || answer.answers.is_empty();
    let ttl = if is_negative {
        let soa = answer.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        // Aliases that lead nowhere hold for as long as themselves.
        answer.answers.iter().map(|record| record.ttl).chain([soa?]).min()
    } else {
        answer.all_sections().map(|record| record.ttl).min()
    };
    let ttl = Duration::from_secs(ttl?.into()).min(if is_negative { MAX_NEGATIVE_TTL } else { MAX_TTL });
    (!ttl.is_zero()).then_some(ttl)
}
