//! The book in which every request stands: who asked, who got it, what became of it, and so what was lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Number of a request; it travels with it.
pub(crate) type Id = u64;

/// Number of an endpoint.
pub(crate) type Place = usize;

/// How long a client waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How many failures are kept word for word.
const KEPT_WORDS: usize = 5;

/// The book of one drill.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Debug)]
struct Book {
    next: Id,
    is_closed: bool,
    /// Requests that have not ended, and those that failed.
    entries: HashMap<Id, Entry>,
    succeeded: u64,
    /// How long those took that succeeded.
    took: Vec<Duration>,
    /// Endpoints that should get requests, and since when that is so.
    expected: BTreeSet<Place>,
    /// When something was last not as it should be: a failure, an answer of an endpoint that should get nothing, or the first answer of
    /// one that should.
    unsteady: Instant,
    heard_of: BTreeSet<Place>,
    /// Whose packets are lost.
    unheard: Option<Place>,
    /// When there was last nobody who could have answered.
    helpless: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    begun: Instant,
    got: bool,
    /// Who has given all of its answer.
    answered: Option<Place>,
    /// How it failed, and whether somebody could have answered all the while.
    failure: Option<(String, bool)>,
}

/// What became of one that did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Nobody got it, though somebody was there.
    LostOnTheWayThere,
    /// Its answer was given and did not arrive.
    LostOnTheWayBack,
    /// By nobody's doing but its endpoint's.
    Failed,
}

/// What became of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// Those that would have succeeded without the mesh: nobody got them though somebody was there, or the answer was given and did not
    /// arrive.
    pub(crate) lost: u64,
    /// Of those that succeeded.
    pub(crate) p99: Duration,
    /// What was said of failures and how often, those that are lost first.
    pub(crate) words: Vec<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self(Mutex::new(Book {
            next: 1,
            is_closed: false,
            entries: HashMap::new(),
            succeeded: 0,
            took: Vec::new(),
            expected: BTreeSet::new(),
            unsteady: Instant::now(),
            heard_of: BTreeSet::new(),
            unheard: None,
            helpless: Some(Instant::now()),
        }))
    }
}

impl Ledger {
    /// A new request; `None` if there are to be no more.
    pub(crate) fn begin(&self) -> Option<Id> {
        let mut book = self.book();
        if book.is_closed {
            return None;
        }
        let id = book.next;
        book.next += 1;
        book.entries.insert(id, Entry { begun: Instant::now(), got: false, answered: None, failure: None });
        Some(id)
    }

    /// It has reached an endpoint, whatever that will do with it.
    pub(crate) fn got(&self, id: Id) {
        self.note(id, |entry| entry.got = true);
    }

    /// An endpoint has given all of its answer. That is nobody's loss while the endpoint is [`unheard`](Self::unheard).
    pub(crate) fn answered(&self, id: Id, by: Place) {
        let is_heard = self.book().unheard != Some(by);
        self.note(id, |entry| entry.answered = is_heard.then_some(by));
    }

    /// From now on nobody hears what an endpoint says; it may be that nobody has heard its last words either.
    pub(crate) fn unheard(&self, place: Option<Place>) {
        let mut book = self.book();
        book.unheard = place;
        book.entries.values_mut().for_each(|entry| _ = entry.answered.take_if(|by| Some(*by) == place));
    }

    /// Its client has the whole answer, of this endpoint.
    pub(crate) fn succeeded(&self, id: Id, by: Place) {
        let mut book = self.book();
        book.end(id);
        let is_news = book.heard_of.insert(by);
        if is_news || !book.expected.contains(&by) {
            book.unsteady = Instant::now();
        }
    }

    /// It was answered, and not by an endpoint.
    pub(crate) fn done(&self, id: Id) {
        self.book().end(id);
    }

    /// Its client has given it up.
    pub(crate) fn failed(&self, id: Id, words: impl Into<String>) {
        let mut book = self.book();
        book.unsteady = Instant::now();
        let helpless = book.helpless;
        if let Some(entry) = book.entries.get_mut(&id) {
            let was_help = helpless.is_none_or(|helpless| helpless < entry.begun);
            entry.failure = Some((words.into(), was_help));
        }
    }

    /// From now on these should get requests, and no others; `healthy` says whether any of them would answer at once.
    pub(crate) fn expect(&self, expected: BTreeSet<Place>, healthy: bool) {
        let mut book = self.book();
        if book.expected != expected {
            book.unsteady = Instant::now();
        }
        book.expected = expected;
        book.heard_of.clear();
        book.helpless = match healthy {
            // For as long as nobody is there, nobody was there a moment ago.
            false => Some(Instant::now() + Duration::from_secs(1 << 20)),
            true => book.helpless.map(|helpless| helpless.min(Instant::now())),
        };
    }

    /// Whoever should answer must be heard of again before all is as it should be.
    pub(crate) fn look_anew(&self) {
        let mut book = self.book();
        book.heard_of.clear();
        book.unsteady = Instant::now();
    }

    /// How many were answered so far.
    pub(crate) fn answers(&self) -> u64 {
        self.book().succeeded
    }

    /// Since when all is as it should be, if that is so: everybody who should answer has, nobody else, and nothing failed.
    pub(crate) fn steady_since(&self) -> Option<Instant> {
        let book = self.book();
        book.expected.is_subset(&book.heard_of).then_some(book.unsteady)
    }

    /// No more requests are begun.
    pub(crate) fn close(&self) {
        self.book().is_closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.book().is_closed
    }

    /// The sum. To be drawn when nothing is under way any more; what still is counts as failed.
    pub(crate) fn sum(&self) -> Summary {
        let book = self.book();
        let mut words: BTreeMap<(Fate, &str), u64> = BTreeMap::new();
        for entry in book.entries.values() {
            let text = entry.failure.as_ref().map_or("still under way", |(text, _)| text);
            *words.entry((entry.fate(), text)).or_default() += 1;
        }
        let lost = book.entries.values().filter(|entry| entry.fate() != Fate::Failed).count() as u64;
        let failed = book.entries.len() as u64;
        let said = words.iter().map(|((fate, text), count)| {
            let fate = match fate {
                Fate::LostOnTheWayThere => "lost on the way there",
                Fate::LostOnTheWayBack => "lost on the way back",
                Fate::Failed => "failed",
            };
            format!("{count} {fate}: {text}")
        });
        Summary {
            requests: book.succeeded + failed,
            succeeded: book.succeeded,
            failed,
            lost,
            p99: book.p99(),
            words: said.take(KEPT_WORDS).collect(),
        }
    }

    fn note(&self, id: Id, note: impl FnOnce(&mut Entry)) {
        // One that has succeeded is not there any more: a copy of it has come late. So late, nobody would have waited for it.
        self.book().entries.get_mut(&id).filter(|entry| entry.begun.elapsed() < PATIENCE).map(note);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// It has succeeded.
    fn end(&mut self, id: Id) {
        let begun = self.entries.remove(&id).map(|entry| entry.begun);
        self.took.extend(begun.map(|begun| begun.elapsed()));
        self.succeeded += 1;
    }

    fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }
}

impl Entry {
    fn fate(&self) -> Fate {
        let was_help = self.failure.as_ref().is_none_or(|(_, was_help)| *was_help);
        match self {
            Self { answered: Some(_), .. } => Fate::LostOnTheWayBack,
            Self { got: false, .. } if was_help => Fate::LostOnTheWayThere,
            _ => Fate::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        ledger.expect([0, 1].into(), true);
        ledger
    }

    #[test]
    fn a_request_that_nobody_got_is_lost() {
        let ledger = ledger();
        let [lost, excused, fine] = std::array::from_fn(|_| ledger.begin().unwrap());
        ledger.got(excused);
        ledger.got(fine);
        ledger.succeeded(fine, 0);
        ledger.failed(lost, "503");
        ledger.failed(excused, "502");
        let words = vec!["1 lost on the way there: 503".to_owned(), "1 failed: 502".to_owned()];
        let p99 = ledger.sum().p99;
        assert_eq!(ledger.sum(), Summary { requests: 3, succeeded: 1, failed: 2, lost: 1, p99, words });
    }

    #[test]
    fn an_answer_that_was_given_and_did_not_arrive_is_lost() {
        let ledger = ledger();
        let id = ledger.begin().unwrap();
        ledger.got(id);
        ledger.answered(id, 0);
        ledger.failed(id, "reset");
        assert_eq!(ledger.sum().lost, 1);
    }

    #[test]
    fn what_an_endpoint_says_whom_nobody_can_hear_is_not_lost_by_us() {
        let ledger = ledger();
        let [before, meanwhile, other] = std::array::from_fn(|_| ledger.begin().unwrap());
        [before, meanwhile, other].into_iter().for_each(|id| ledger.got(id));
        ledger.answered(before, 0);
        ledger.unheard(Some(0));
        ledger.answered(meanwhile, 0);
        ledger.answered(other, 1);
        [before, meanwhile, other].into_iter().for_each(|id| ledger.failed(id, "no answer"));
        assert_eq!(ledger.sum().lost, 1, "only the other endpoint's");
    }

    #[test]
    fn where_nobody_is_there_nothing_is_lost() {
        let ledger = ledger();
        let before = ledger.begin().unwrap();
        ledger.expect([0, 1].into(), false);
        let meanwhile = ledger.begin().unwrap();
        ledger.expect([0, 1].into(), true);
        let after = ledger.begin().unwrap();
        [before, meanwhile, after].into_iter().for_each(|id| ledger.failed(id, "503"));
        assert_eq!(ledger.sum().lost, 1, "only the one that began when all was well again");
    }

    #[test]
    fn it_is_steady_when_those_who_should_have_answered_and_no_others() {
        let ledger = ledger();
        let answer = |by| ledger.succeeded(ledger.begin().unwrap(), by);
        answer(0);
        assert_eq!(ledger.steady_since(), None);
        answer(1);
        let since = ledger.steady_since().unwrap();
        answer(1);
        assert_eq!(ledger.steady_since(), Some(since));
        answer(2);
        assert!(ledger.steady_since().unwrap() > since);
        ledger.expect([2].into(), true);
        assert_eq!(ledger.steady_since(), None);
    }
}
