//! Counts what became of each request.
//!
//! The stream of requests never stops, so a request is counted where it began: in the part of the demo that was under way
//! when it was sent, even if it is answered in the next.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// How many different errors are told in words; the others are only counted.
const TOLD: usize = 3;

/// The requests of one part of the demo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Sent.
    pub(super) sent: u64,
    /// Answered as they should be, by backend.
    pub(super) answered: BTreeMap<SocketAddr, u64>,
    /// Those of them that testers had sent.
    pub(super) testers: BTreeMap<SocketAddr, u64>,
    /// Not answered, or not as they should be.
    pub(super) errors: u64,
    /// The first few errors, each once.
    pub(super) told: Vec<String>,
}

/// Tallies, one part after the other.
#[derive(Debug, Default)]
pub(super) struct Recorder(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    parts: Vec<Tally>,
    first_answer: Option<Instant>,
}

/// A part of the demo, or a request that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part(usize);

impl Tally {
    /// How many have come to an end.
    pub(super) fn ended(&self) -> u64 {
        self.errors + self.answered.values().sum::<u64>()
    }

    /// How many a backend has answered.
    pub(super) fn of(&self, backend: &SocketAddr) -> u64 {
        self.answered.get(backend).copied().unwrap_or_default()
    }
}

impl Recorder {
    /// From now on requests belong to a new part.
    pub(super) fn open(&self) -> Part {
        let mut record = self.lock();
        record.parts.push(Tally::default());
        Part(record.parts.len() - 1)
    }

    /// A request is about to be sent. `None` before the first part.
    pub(super) fn sent(&self) -> Option<Part> {
        let mut record = self.lock();
        let part = record.parts.len().checked_sub(1)?;
        record.parts[part].sent += 1;
        Some(Part(part))
    }

    /// It has come to its end; whether a tester had sent it.
    pub(super) fn ended(&self, Part(part): Part, by_tester: bool, outcome: Result<SocketAddr, String>) {
        let mut record = self.lock();
        if outcome.is_ok() {
            record.first_answer.get_or_insert_with(Instant::now);
        }
        let Some(tally) = record.parts.get_mut(part) else { return };
        match outcome {
            Ok(backend) => {
                *tally.answered.entry(backend).or_default() += 1;
                if by_tester {
                    *tally.testers.entry(backend).or_default() += 1;
                }
            }
            Err(error) => {
                tally.errors += 1;
                if tally.told.len() < TOLD && !tally.told.contains(&error) {
                    tally.told.push(error);
                }
            }
        }
    }

    /// The part as it stands.
    pub(super) fn tally(&self, Part(part): Part) -> Tally {
        self.lock().parts.get(part).cloned().unwrap_or_default()
    }

    /// When the first request was answered.
    pub(super) fn first_answer(&self) -> Option<Instant> {
        self.lock().first_answer
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Recorder;

    #[test]
    fn a_request_counts_where_it_began() {
        let recorder = Recorder::default();
        let backend = "127.0.1.16:9898".parse().unwrap();
        assert_eq!(recorder.sent(), None);
        let first = recorder.open();
        let early = recorder.sent().unwrap();
        let second = recorder.open();
        let late = recorder.sent().unwrap();
        recorder.ended(late, false, Err("broken".to_owned()));
        assert!(recorder.first_answer().is_none());
        recorder.ended(early, true, Ok(backend));
        assert!(recorder.first_answer().is_some());

        let (first, second) = (recorder.tally(first), recorder.tally(second));
        assert_eq!((first.sent, first.ended(), first.of(&backend), first.errors), (1, 1, 1, 0));
        assert_eq!((second.sent, second.ended(), second.of(&backend), second.errors), (1, 1, 0, 1));
        assert_eq!(second.told, ["broken"]);
        assert_eq!((first.testers.get(&backend), second.testers.len()), (Some(&1), 0));
    }

    #[test]
    fn only_the_first_errors_are_told() {
        let recorder = Recorder::default();
        let part = recorder.open();
        for at in 0..10 {
            recorder.ended(part, false, Err((at / 2).to_string()));
        }
        let tally = recorder.tally(part);
        assert_eq!((tally.errors, tally.told.join(" ").as_str()), (10, "0 1 2"));
    }
}
