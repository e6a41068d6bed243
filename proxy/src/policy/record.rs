//! The record of one program on one Service port: how it has been doing on this proxy, over all workers and instances.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use wasmesh_core::policy::quarantine::Quarantine;

/// Whether a program serves or is on trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It decides.
    Serving,
    /// It is tried out beside the one that serves.
    Trial,
}

/// Faults, quarantine and counts of one program on one Service port. Shared by the workers; a new program has a new one.
#[derive(Debug)]
pub struct Record {
    faults: Mutex<Faults>,
    /// Read by each pick, so it is not behind the lock.
    quarantined_until_us: AtomicU64,
    aborted: AtomicBool,
    /// So many faults end it for good.
    abort_on_faults: Option<u32>,
    /// One per worker, which alone writes it.
    tallies: Box<[Tally]>,
}

#[derive(Debug, Default)]
struct Faults {
    quarantine: Quarantine,
    by_reason: BTreeMap<&'static str, u64>,
    last: String,
}

/// What one worker counts. A cache line of its own: workers must not slow each other down by counting.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Tally {
    picks: AtomicU64,
    fallbacks: AtomicU64,
    compared: AtomicU64,
    disagreed: AtomicU64,
}

/// The sum of all tallies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Picks that it decided.
    pub picks: u64,
    /// Picks that the built-in policy decided instead.
    pub fallbacks: u64,
    /// In shadow mode: decisions compared with those of the one that serves.
    pub compared: u64,
    /// Of these, the ones that differed.
    pub disagreed: u64,
}

/// What a fault led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// A new instance takes over.
    Rebuild,
    /// It is left alone until then.
    Quarantine {
        /// Until when, on the clock of the proxy.
        until_us: u64,
    },
    /// The trial is over.
    Abort,
}

impl Record {
    /// A clean record, for so many workers.
    pub fn new(workers: usize, abort_on_faults: Option<u32>) -> Self {
        Self {
            faults: Mutex::default(),
            quarantined_until_us: AtomicU64::new(0),
            aborted: AtomicBool::new(false),
            abort_on_faults,
            tallies: (0..workers).map(|_| Tally::default()).collect(),
        }
    }

    /// Whether it may be asked now.
    pub fn is_usable(&self, now_us: u64) -> bool {
        self.quarantined_until_us.load(Ordering::Relaxed) <= now_us && !self.is_aborted()
    }

    /// When its quarantine ends; 0 if there was none.
    pub fn quarantined_until_us(&self) -> u64 {
        self.quarantined_until_us.load(Ordering::Relaxed)
    }

    /// Whether it was a trial that has ended.
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Takes note of a fault; `detail` tells a person what happened.
    pub fn fault(&self, reason: &'static str, detail: String, now_us: u64) -> Consequence {
        let mut faults = self.faults();
        *faults.by_reason.entry(reason).or_default() += 1;
        faults.last = detail;
        let total: u64 = faults.by_reason.values().sum();
        if self.abort_on_faults.is_some_and(|most| total >= u64::from(most.max(1))) {
            self.aborted.store(true, Ordering::Relaxed);
            return Consequence::Abort;
        }
        match faults.quarantine.fault(now_us) {
            Some(until_us) => {
                self.quarantined_until_us.store(until_us, Ordering::Relaxed);
                Consequence::Quarantine { until_us }
            }
            None => Consequence::Rebuild,
        }
    }

    /// Faults by reason, and what happened last.
    pub fn faults_by_reason(&self) -> (BTreeMap<&'static str, u64>, String) {
        let faults = self.faults();
        (faults.by_reason.clone(), faults.last.clone())
    }

    /// Where a worker counts.
    pub fn tally(&self, worker: usize) -> Option<&Tally> {
        self.tallies.get(worker)
    }

    /// All workers' counts.
    pub fn counts(&self) -> Counts {
        self.tallies.iter().fold(Counts::default(), |sum, tally| Counts {
            picks: sum.picks + tally.picks.load(Ordering::Relaxed),
            fallbacks: sum.fallbacks + tally.fallbacks.load(Ordering::Relaxed),
            compared: sum.compared + tally.compared.load(Ordering::Relaxed),
            disagreed: sum.disagreed + tally.disagreed.load(Ordering::Relaxed),
        })
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// It decided a pick.
    pub fn picked(&self) {
        add_one(&self.picks);
    }

    /// The built-in policy decided one instead.
    pub fn fell_back(&self) {
        add_one(&self.fallbacks);
    }

    /// Its decision was compared with that of the one that serves.
    pub fn compared(&self, same: bool) {
        add_one(&self.compared);
        if !same {
            add_one(&self.disagreed);
        }
    }
}

/// Only one thread writes, so nothing is lost between the load and the store, which cost less than an atomic addition.
fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn faults_are_counted_by_reason_and_lead_to_quarantine() {
        let record = Record::new(1, None);
        assert_eq!(record.fault("trap", "unreachable".to_owned(), SECOND), Consequence::Rebuild);
        assert_eq!(record.fault("fuel", "out of fuel".to_owned(), SECOND), Consequence::Rebuild);
        assert!(record.is_usable(SECOND));
        let until_us = 2 * SECOND;
        assert_eq!(record.fault("trap", "again".to_owned(), SECOND), Consequence::Quarantine { until_us });
        assert!(!record.is_usable(SECOND) && record.is_usable(until_us));
        let (by_reason, last) = record.faults_by_reason();
        assert_eq!(
            (by_reason.into_iter().collect::<Vec<_>>(), last.as_str()),
            (vec![("fuel", 1), ("trap", 2)], "again")
        );
    }

    #[test]
    fn a_trial_ends_with_its_last_allowed_fault() {
        let record = Record::new(1, Some(2));
        assert_eq!(record.fault("trap", String::new(), SECOND), Consequence::Rebuild);
        assert_eq!(record.fault("trap", String::new(), 100 * SECOND), Consequence::Abort);
        assert!(!record.is_usable(u64::MAX));
    }

    #[test]
    fn tallies_add_up() {
        let record = Record::new(2, None);
        for worker in 0..2 {
            let tally = record.tally(worker).unwrap();
            tally.picked();
            tally.fell_back();
            tally.compared(worker == 0);
        }
        assert_eq!(record.counts(), Counts { picks: 2, fallbacks: 2, compared: 2, disagreed: 1 });
        assert!(record.tally(2).is_none());
    }
}
