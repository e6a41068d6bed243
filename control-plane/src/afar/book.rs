//! What is to be fetched, what has been, and when what could not be is tried again. No I/O; time and chance are arguments.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use wasmesh_core::backoff::{Backoff, Jitter};

use super::remote::{Fault, Remote};
use crate::translate::{
    ObjectKey,
    policy::{MAX_MODULE_BYTES, Module, Reason},
};

/// How many fetches there are at once, and how many of one host: one that hangs must not keep others waiting. A host that has given
/// something, and has not failed since, may be asked for more: a replica that starts has everything to fetch, perhaps from one registry.
pub(super) const MAX_AT_ONCE: usize = 8;
const MAX_PER_HOST: usize = 2;
const MAX_PER_GOOD_HOST: usize = 4;

/// The most bytes of modules from afar. Whoever may write policies could otherwise name modules until there is no memory left.
const MAX_HELD_BYTES: usize = 256 << 20;

/// The pause after the first failure; it doubles with each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// One version of an object.
pub type Asker = (ObjectKey, u64);

/// What is wanted, and by whom.
pub type Wanted = BTreeMap<Remote, BTreeSet<Asker>>;

/// What has come of each; what is not there is still being fetched for the first time.
pub type Fetched = Arc<HashMap<Remote, Result<Module, Fault>>>;

/// Everything that is wanted, and how it stands.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<Remote, Entry>,
}

#[derive(Debug)]
struct Entry {
    askers: BTreeSet<Asker>,
    state: State,
    failures: u32,
    /// Why there is nothing, until there is something.
    fault: Option<Fault>,
}

#[derive(Debug)]
enum State {
    /// To be fetched from then on.
    Due(Instant),
    Running,
    Here(Module),
}

impl Book {
    /// Takes over what is wanted now. What nobody wants any more is forgotten, when its fetch has ended: until then it takes up one of
    /// its host's places.
    pub(super) fn follow(&mut self, wanted: Wanted, now: Instant) {
        self.entries.retain(|remote, entry| {
            let is_wanted = wanted.contains_key(remote);
            if !is_wanted {
                entry.askers.clear();
            }
            is_wanted || matches!(entry.state, State::Running)
        });
        for (remote, askers) in wanted {
            let entry = self.entries.entry(remote).or_insert_with(|| Entry {
                askers: BTreeSet::new(),
                state: State::Due(now),
                failures: 0,
                fault: None,
            });
            let is_lasting = entry.fault.as_ref().is_some_and(|fault| !fault.may_pass);
            if is_lasting && matches!(entry.state, State::Due(_)) && !askers.is_subset(&entry.askers) {
                entry.state = State::Due(now);
            }
            entry.askers = askers;
        }
    }

    /// What has come of everything so far.
    pub(super) fn fetched(&self) -> Fetched {
        let outcomes = self.wanted().filter_map(|(remote, entry)| {
            let outcome = match (&entry.state, &entry.fault) {
                (State::Here(module), _) => Ok(module.clone()),
                (_, Some(fault)) => Err(fault.clone()),
                (_, None) => return None,
            };
            Some((remote.clone(), outcome))
        });
        Arc::new(outcomes.collect())
    }

    /// Whether everything has been fetched, or tried at least once.
    pub(super) fn is_settled(&self) -> bool {
        self.wanted().all(|(_, entry)| entry.fault.is_some() || matches!(entry.state, State::Here(_)))
    }

    /// How many are here.
    pub(super) fn here(&self) -> usize {
        self.entries.values().filter(|entry| matches!(entry.state, State::Here(_))).count()
    }

    fn wanted(&self) -> impl Iterator<Item = (&Remote, &Entry)> {
        self.entries.iter().filter(|(_, entry)| !entry.askers.is_empty())
    }

    /// What is to be begun now, at most so many; and whether it has turned out that there is no room for something.
    pub(super) fn begin(&mut self, free: usize, now: Instant) -> (Vec<Remote>, bool) {
        let mut at: HashMap<String, usize> = HashMap::new();
        let mut room = MAX_HELD_BYTES.saturating_sub(self.held_bytes());
        for (remote, _) in self.entries.iter().filter(|(_, entry)| matches!(entry.state, State::Running)) {
            *at.entry(remote.host().to_owned()).or_default() += 1;
            room = room.saturating_sub(MAX_MODULE_BYTES);
        }
        let good = self.good_hosts();
        let (mut begun, mut is_full) = (Vec::new(), false);
        for (remote, entry) in &mut self.entries {
            let is_due = matches!(entry.state, State::Due(at) if at <= now);
            if !is_due || begun.len() == free {
                continue;
            }
            let of_host = at.entry(remote.host().to_owned()).or_default();
            let most = if good.contains(remote.host()) { MAX_PER_GOOD_HOST } else { MAX_PER_HOST };
            if *of_host >= most {
                continue;
            }
            if room < MAX_MODULE_BYTES {
                is_full |= entry.fault.replace(full()) != Some(full());
                entry.state = State::Due(now + LONGEST_PAUSE);
                continue;
            }
            *of_host += 1;
            room -= MAX_MODULE_BYTES;
            entry.state = State::Running;
            begun.push(remote.clone());
        }
        (begun, is_full)
    }

    /// When something is due that is not yet.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let due = self.entries.values().filter_map(|entry| match entry.state {
            State::Due(at) if at > now => Some(at),
            _ => None,
        });
        due.min()
    }

    /// Takes in what has come of a fetch. `random` is 64 fresh random bits.
    pub(super) fn finish(&mut self, remote: &Remote, outcome: Result<Module, Fault>, now: Instant, random: u64) {
        let Some(entry) = self.entries.get_mut(remote) else { return };
        if entry.askers.is_empty() {
            self.entries.remove(remote);
            return;
        }
        match outcome {
            Ok(module) => {
                *entry = Entry {
                    state: State::Here(module),
                    failures: 0,
                    fault: None,
                    askers: std::mem::take(&mut entry.askers),
                }
            }
            Err(_) if matches!(entry.state, State::Here(_)) => {}
            Err(fault) => {
                entry.failures = entry.failures.saturating_add(1);
                // Whatever it is may be mended where it is; a replica that was started too early must find out some time.
                let failures = if fault.may_pass { entry.failures } else { u32::MAX };
                entry.state = State::Due(now + pause(failures, random));
                entry.fault = Some(fault);
            }
        }
    }

    /// The hosts that something is here of, and nothing has failed of that is still wanted.
    fn good_hosts(&self) -> HashSet<String> {
        let of =
            |is: fn(&Entry) -> bool| self.entries.iter().filter(move |(_, entry)| is(entry)).map(|(it, _)| it.host());
        let bad: HashSet<_> = of(|entry| entry.fault.is_some()).collect();
        of(|entry| matches!(entry.state, State::Here(_)))
            .filter(|host| !bad.contains(host))
            .map(str::to_owned)
            .collect()
    }

    /// The bytes of all modules; the same one from two places counts once.
    fn held_bytes(&self) -> usize {
        let here = self.entries.values().filter_map(|entry| match &entry.state {
            State::Here(module) => Some((module.digest().0, module.bytes().len())),
            _ => None,
        });
        here.collect::<BTreeMap<_, _>>().values().sum()
    }
}

fn full() -> Fault {
    let mib = MAX_HELD_BYTES >> 20;
    let message = format!(
        "the control plane holds {mib} MiB of modules from afar, which are the most: remove policies, or have some name the same module"
    );
    Fault::passing(Reason::FetchFailed, message)
}

/// The pause after so many failures in a row: half of it is left to chance, so that replicas do not come all at once.
fn pause(failures: u32, random: u64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let backoff = Backoff::new(doubled.min(LONGEST_PAUSE), LONGEST_PAUSE, Jitter::Equal);
    backoff.map_or(LONGEST_PAUSE, |mut backoff| backoff.next(random))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use wasmesh_core::afar::Url;

    use super::*;
    use crate::translate::ObjectKind;

    fn remote(url: &str) -> Remote {
        Remote::Http { url: Url::parse(url).unwrap(), sha256: "00".repeat(32) }
    }

    fn asker(name: &str, revision: u64) -> Asker {
        let kind = ObjectKind::LoadBalancingPolicy;
        (ObjectKey { kind, namespace: "shop".to_owned(), name: name.to_owned() }, revision)
    }

    fn wanted(urls: &[(&str, u64)]) -> Wanted {
        urls.iter().map(|(url, revision)| (remote(url), BTreeSet::from([asker(url, *revision)]))).collect()
    }

    fn module(tag: usize, length: usize) -> Module {
        let mut bytes = [b"\0asm\x0d\0\x01\0", &tag.to_le_bytes()[..]].concat();
        bytes.resize(length.max(bytes.len()), 0);
        Module::new(bytes.into()).unwrap()
    }

    fn begin(book: &mut Book, free: usize, now: Instant) -> Vec<Remote> {
        book.begin(free, now).0
    }

    fn fault(may_pass: bool) -> Fault {
        Fault { reason: Reason::FetchFailed, message: "down".to_owned(), may_pass }
    }

    #[test]
    fn what_fails_is_tried_again_ever_later_and_what_is_here_stays() {
        let (mut book, start) = (Book::default(), Instant::now());
        let own = remote("https://a/x");
        book.follow(wanted(&[("https://a/x", 1)]), start);
        assert!(!book.is_settled() && book.fetched().is_empty());
        let mut now = start;
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(begin(&mut book, 9, now), std::slice::from_ref(&own));
            assert!(begin(&mut book, 9, now).is_empty(), "it is under way");
            book.finish(&own, Err(fault(true)), now, u64::MAX);
            assert!(book.is_settled() && book.fetched()[&own] == Err(fault(true)));
            assert!(begin(&mut book, 9, now).is_empty());
            let next = book.next(now).unwrap();
            assert_eq!(next - now, Duration::from_secs(pause));
            now = next;
        }
        assert_eq!(begin(&mut book, 9, now).len(), 1);
        assert_eq!(book.fetched()[&own], Err(fault(true)), "why there is nothing is said all along");
        book.finish(&own, Ok(module(1, 0)), now, u64::MAX);
        assert_eq!((book.fetched()[&own].clone(), book.next(now)), (Ok(module(1, 0)), None));
        book.follow(wanted(&[("https://a/x", 2)]), now);
        assert!(begin(&mut book, 9, now).is_empty(), "its digest says that it is the same");
        book.follow(Wanted::new(), now);
        assert!(book.fetched().is_empty());
        book.finish(&own, Ok(module(1, 0)), now, u64::MAX);
        assert!(book.fetched().is_empty(), "nobody wants it any more");
    }

    #[test]
    fn what_seems_to_be_for_good_waits_long_or_for_another_version_of_an_object() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        let own = remote("https://a/x");
        book.follow(wanted(&[("https://a/x", 1)]), now);
        begin(&mut book, 9, now);
        book.finish(&own, Err(fault(false)), now, u64::MAX);
        book.follow(wanted(&[("https://a/x", 1)]), now);
        assert!(begin(&mut book, 9, now).is_empty() && book.is_settled());
        assert_eq!(book.next(now), Some(now + LONGEST_PAUSE));
        book.follow(wanted(&[("https://a/x", 2)]), now);
        assert_eq!(begin(&mut book, 9, now), std::slice::from_ref(&own));
        book.finish(&own, Err(fault(false)), now, u64::MAX);
        now += LONGEST_PAUSE;
        assert_eq!(begin(&mut book, 9, now), [own], "it may have been mended where it is");
    }

    #[test]
    fn what_nobody_wants_any_more_takes_up_its_place_until_it_has_ended() {
        let (mut book, now) = (Book::default(), Instant::now());
        let [first, second] = ["https://hangs/1", "https://hangs/2"].map(remote);
        book.follow(wanted(&[("https://hangs/1", 1), ("https://hangs/2", 1)]), now);
        assert_eq!(begin(&mut book, MAX_AT_ONCE, now), [first.clone(), second.clone()]);
        // An edit names other files of a host that hangs; another goes back to what is under way.
        book.follow(wanted(&[("https://hangs/3", 2), ("https://works/x", 2)]), now);
        assert_eq!(begin(&mut book, MAX_AT_ONCE, now), [remote("https://works/x")]);
        book.finish(&remote("https://works/x"), Ok(module(1, 0)), now, 0);
        assert!(book.fetched().len() == 1 && !book.is_settled());
        book.follow(wanted(&[("https://hangs/2", 3), ("https://hangs/3", 2)]), now);
        assert!(begin(&mut book, MAX_AT_ONCE, now).is_empty(), "it is under way already");
        book.finish(&first, Ok(module(1, 0)), now, 0);
        assert!(book.fetched().is_empty());
        assert_eq!(begin(&mut book, MAX_AT_ONCE, now), [remote("https://hangs/3")]);
        book.finish(&second, Ok(module(2, 0)), now, 0);
        assert_eq!(book.fetched()[&second], Ok(module(2, 0)));
    }

    #[test]
    fn a_host_that_hangs_keeps_no_other_waiting() {
        let (mut book, now) = (Book::default(), Instant::now());
        let urls: Vec<_> = (0..20).map(|n| format!("https://hangs/{n}")).collect();
        let all: Vec<_> = urls.iter().map(|url| (url.as_str(), 1)).chain([("https://works/x", 1)]).collect();
        book.follow(wanted(&all), now);
        let begun = begin(&mut book, MAX_AT_ONCE, now);
        assert_eq!(begun.len(), 3);
        assert!(begun.contains(&remote("https://works/x")));
        book.finish(&begun[0], Err(fault(true)), now, 0);
        assert_eq!(begin(&mut book, 1, now).len(), 1, "the next one of that host");
        assert!(begin(&mut book, 0, now).is_empty());
    }

    #[test]
    fn a_host_that_has_given_something_is_asked_for_more_until_it_fails() {
        let (mut book, now) = (Book::default(), Instant::now());
        let urls: Vec<_> = (0..20).map(|n| format!("https://a/{n}")).collect();
        book.follow(wanted(&urls.iter().map(|url| (url.as_str(), 1)).collect::<Vec<_>>()), now);
        let mut running = begin(&mut book, MAX_AT_ONCE, now);
        assert_eq!(running.len(), MAX_PER_HOST);
        book.finish(&running.remove(0), Ok(module(1, 0)), now, 0);
        running.extend(begin(&mut book, MAX_AT_ONCE, now));
        assert_eq!(running.len(), MAX_PER_GOOD_HOST);
        book.finish(&running.remove(0), Err(fault(true)), now, 0);
        assert!(begin(&mut book, MAX_AT_ONCE, now).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_nobody_loses_what_is_his() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        let urls: Vec<_> = (0..100).map(|n| format!("https://host{n:02}/x")).collect();
        book.follow(wanted(&urls.iter().map(|url| (url.as_str(), 1)).collect::<Vec<_>>()), now);
        let mut tag = 0;
        loop {
            let begun = begin(&mut book, MAX_AT_ONCE, now);
            if begun.is_empty() {
                break;
            }
            for remote in begun {
                tag += 1;
                book.finish(&remote, Ok(module(tag, MAX_MODULE_BYTES)), now, 0);
            }
        }
        let count = |book: &Book| book.fetched().values().filter(|outcome| outcome.is_ok()).count();
        assert_eq!((count(&book), book.held_bytes()), (64, MAX_HELD_BYTES));
        let told = book
            .fetched()
            .values()
            .filter_map(|outcome| outcome.as_ref().err())
            .all(|it| it.message.contains("256 MiB"));
        assert!(told && book.is_settled());
        now += LONGEST_PAUSE;
        assert!(begin(&mut book, MAX_AT_ONCE, now).is_empty(), "still full");
        book.follow(wanted(&urls[10..].iter().map(|url| (url.as_str(), 1)).collect::<Vec<_>>()), now);
        now += LONGEST_PAUSE;
        assert!(!begin(&mut book, MAX_AT_ONCE, now).is_empty(), "there is room again");
    }

    proptest! {
        #[test]
        fn pauses_are_bounded(failures in 1_u32.., random: u64) {
            let pause = pause(failures, random);
            prop_assert!(pause >= FIRST_PAUSE / 2 && pause <= LONGEST_PAUSE);
        }
    }
}
