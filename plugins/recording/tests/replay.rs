//! What is recorded of real policies is replayed to them, and to others.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{
    borrow::Cow,
    io::Cursor,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use fastrand::Rng;
use wasmesh_policy_host::{
    About, Calls, Compiler, EndpointView, Grants, Health, Host, HostOptions, Instance, Outcome, Policy, Report,
    Request, RequestSource, Settings, Snapshot, Stats, Traits, Word,
};
use wasmesh_policy_recording::{Answer, Head, HeardSource, Line, Recorder, Recording, Tape, Unreadable, replay};

fn policy(name: &str, config: &str) -> Arc<Policy> {
    called(name, config, Calls::DirectIfPossible)
}

fn called(name: &str, config: &str, calls: Calls) -> Arc<Policy> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/built").join(name).with_extension("wasm");
    let host = Host::start(HostOptions { calls, ..HostOptions::new(Compiler::InProcess) }).unwrap();
    let module = host.load(&std::fs::read(file).unwrap()).unwrap();
    let settings = Settings { config: config.to_owned(), grants: Grants::ALL, ..Settings::default() };
    Policy::prepare(&module, settings, &About::default()).unwrap()
}

/// Load that is another one each time.
struct Restless(Mutex<Rng>);

impl Restless {
    fn number(&self, most: u32) -> u32 {
        self.0.lock().unwrap().u32(0..=most)
    }
}

impl Stats for Restless {
    fn in_flight(&self, _: u32) -> u32 {
        self.number(9)
    }
    fn total_in_flight(&self) -> u32 {
        self.number(99)
    }
    fn latency_us(&self, _: u32, _: u64) -> u32 {
        self.number(100_000)
    }
    fn failure_rate(&self, _: u32) -> u32 {
        self.number(1_000)
    }
    fn available(&self, _: u32, _: u64) -> bool {
        self.number(9) > 0
    }
    fn reported(&self, _: u32, _: u32, _: u64) -> Option<u32> {
        Some(self.number(50)).filter(|value| *value > 10)
    }
    fn peers(&self) -> u32 {
        7
    }
}

/// A request with a path, and perhaps with a header of any name.
struct Asked {
    path: String,
    header: Option<&'static str>,
}

impl RequestSource for Asked {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        match word {
            Word::Path => Some(Cow::Borrowed(self.path.as_bytes())),
            Word::Header(_) => self.header.map(|value| Cow::Borrowed(value.as_bytes())),
            _ => None,
        }
    }
    fn body(&self) -> Bytes {
        Bytes::new()
    }
    fn deadline_ms(&self) -> u32 {
        u32::MAX
    }
}

/// A worker whose picks are recorded.
struct Worker {
    policy: Arc<Policy>,
    recorder: Recorder,
    written: Arc<Mutex<Vec<u8>>>,
    rng: Rng,
}

impl Worker {
    fn new(policy: &Arc<Policy>, picks: u64) -> Self {
        Self::read_slowly(policy, picks, usize::MAX)
    }

    /// By a reader that takes so many pieces and no more.
    fn read_slowly(policy: &Arc<Policy>, picks: u64, pieces: usize) -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (paper, taken) = (Arc::clone(&written), AtomicUsize::new(0));
        let sink = Arc::new(move |piece: Bytes| {
            let takes = taken.fetch_add(1, Ordering::Relaxed) < pieces;
            if takes {
                paper.lock().unwrap().extend_from_slice(&piece);
            }
            takes
        });
        let head = Head::of(policy, "mine", "default/web", 80, "here");
        let recorder = Recorder::begin(head, picks, sink);
        Self { policy: Arc::clone(policy), recorder, written, rng: Rng::with_seed(7) }
    }

    /// An instance that goes on from another one, with a list of so many.
    fn begin(&mut self, from: Option<(Snapshot, u64)>, endpoints: u8) -> (Instance, Tape) {
        let about = About(vec![("worker".to_owned(), "0".to_owned())]);
        let mut tape = Tape::new(&self.recorder, self.policy.plan().keys.len());
        let mut instance = match &from {
            Some((state, _)) => self.policy.revive(&about, state).unwrap(),
            None => self.policy.instance(&about).unwrap(),
        };
        let view = |number| EndpointView {
            id: u64::MAX - u64::from(number),
            address: ([10, 0, 0, number], 80).into(),
            weight: 1 + u32::from(number % 3),
            priority: 0,
            zone: "zone-a",
            node: "",
            health: Health::Healthy,
            ready_ms: 5,
            labels: &[("version", "v1")],
        };
        let list: Vec<_> = (0..endpoints).map(view).collect();
        let stats = tape.listen(Box::new(Restless(Mutex::new(self.rng.fork()))));
        instance.update(u64::from(endpoints), 1_000, &list, stats).unwrap();
        tape.begun(from.map(|(_, number)| number), about, u64::from(endpoints), 1_000, &list);
        (instance, tape)
    }

    /// Picks so many times, and tells how some of them ended.
    fn work(&mut self, instance: &mut Instance, tape: &mut Tape, picks: u64, header: Option<&'static str>) {
        for _ in 0..picks {
            let asked = Asked { path: format!("/{}", self.rng.u32(0..50)), header };
            let attempt = u32::from(self.rng.u8(0..10) == 0);
            let request = Request {
                keys: self.policy.plan().keys(&asked),
                random: self.rng.u64(..),
                now_ms: 1_000 + self.rng.u64(0..1_000),
                attempt,
                avoid: (attempt > 0).then_some(0),
                traits: Traits { http: true, ..Traits::default() },
            };
            let source = HeardSource::new(&asked);
            let picked = instance.pick(&request, &source);
            tape.picked(&request, &source, &picked);
            if self.rng.bool() {
                let outcome = Outcome { server_error: self.rng.bool(), ..Outcome::default() };
                let report = Report { endpoint_id: u64::MAX - 1, outcome, now_ms: 2_000, ..Report::default() };
                instance.completed(&report).unwrap();
                tape.completed(&report);
            }
        }
    }

    /// All that was written, with the last line.
    fn end(self) -> Vec<u8> {
        let last = self.recorder.progress().last_line();
        let mut written = std::mem::take(&mut *self.written.lock().unwrap());
        written.extend_from_slice(&last);
        written
    }
}

/// Two instances, the second of which goes on from where the first one was in the middle of its work.
fn recorded(policy: &Arc<Policy>) -> Vec<u8> {
    let mut worker = Worker::new(policy, 1_000);
    let (mut first, mut tape) = worker.begin(None, 5);
    worker.work(&mut first, &mut tape, 300, None);
    // None on the component path: the next instance begins anew.
    let copy = first.snapshot().map(|state| (state, tape.copied()));
    worker.work(&mut first, &mut tape, 100, None);
    let (mut second, mut second_tape) = worker.begin(copy, 7);
    worker.work(&mut second, &mut second_tape, 400, None);
    // What was written first may come last.
    drop((second_tape, tape));
    worker.end()
}

fn read(bytes: &[u8]) -> Recording {
    Recording::read(Cursor::new(bytes)).unwrap()
}

#[test]
fn the_same_module_decides_the_same_and_asks_the_same() {
    for (name, config) in [
        ("rust/round-robin", "{}"),
        ("rust/least-request", "{}"),
        ("rust/ring-hash", "{}"),
        ("rust/error-penalty", "{}"),
        ("rust/least-reported", r#"{"report": "queue"}"#),
        ("rust/tenant-shards", r#"{"tenant": "path"}"#),
    ] {
        for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
            let policy = called(name, config, calls);
            let recording = read(&recorded(&policy));
            let goes_on = recording.instances.values().any(|course| course.begun.from.is_some());
            assert_eq!(goes_on, calls == Calls::DirectIfPossible, "{name}");
            assert_eq!((recording.picks(), recording.instances.len(), recording.with_strings()), (800, 2, 0), "{name}");
            assert!(recording.is_whole(), "{name}");
            let replayed = replay(&recording, &policy).unwrap();
            assert_eq!((replayed.compared, replayed.different, replayed.other_questions), (800, 0, 0), "{name}");
        }
    }
}

#[test]
fn another_module_and_another_answer_are_seen() {
    let least_request = policy("rust/least-request", "{}");
    let mut recording = read(&recorded(&least_request));
    let replayed = replay(&recording, &policy("rust/round-robin", "{}")).unwrap();
    assert!(replayed.elsewhere > 400, "{replayed:?}");
    let changed: u64 = replayed.changes.values().sum();
    assert_eq!((changed, replayed.compared), (replayed.different, 800));
    // All are idle but one: that one was chosen when it was not.
    let lines = recording.instances.values_mut().flat_map(|course| &mut course.lines);
    for answer in lines.flat_map(|line| if let Line::Pick(pick) = line { pick.answers.as_mut_slice() } else { &mut [] })
    {
        if let Answer::InFlight(endpoint, load) = answer {
            *load = u32::from(*endpoint == 1) * 100;
        }
    }
    let replayed = replay(&recording, &least_request).unwrap();
    assert!(replayed.elsewhere > 50, "{replayed:?}");
}

#[test]
fn words_that_the_recorded_policy_did_not_ask_for_are_named() {
    let recording = read(&recorded(&policy("rust/round-robin", "{}")));
    let replayed = replay(&recording, &policy("rust/ring-hash", r#"{"key": "header:x-user"}"#)).unwrap();
    assert_eq!(replayed.missing_words, ["header:x-user"]);
    let replayed = replay(&recording, &policy("rust/least-request", "{}")).unwrap();
    // Round robin never asks how many requests are under way.
    assert!(replayed.unknown > 100 && replayed.other_questions >= replayed.unknown, "{replayed:?}");
}

#[test]
fn strings_are_not_recorded_and_their_picks_are_not_compared() {
    let policy = policy("hostile/greedy-wants", "{}");
    let mut worker = Worker::new(&policy, 100);
    let (mut instance, mut tape) = worker.begin(None, 3);
    worker.work(&mut instance, &mut tape, 20, None);
    worker.work(&mut instance, &mut tape, 30, Some("a secret"));
    let copy = instance.snapshot().map(|state| (state, tape.copied()));
    // Whoever has read a string may keep something of it in mind, and so may whoever goes on from there.
    worker.work(&mut instance, &mut tape, 5, None);
    let (mut next, mut next_tape) = worker.begin(copy, 3);
    worker.work(&mut next, &mut next_tape, 7, None);
    drop((tape, next_tape));
    let written = worker.end();
    assert!(!String::from_utf8_lossy(&written).contains("a secret"));
    let recording = read(&written);
    assert_eq!(recording.with_strings(), 30);
    let replayed = replay(&recording, &policy).unwrap();
    assert_eq!((replayed.compared, replayed.with_strings, replayed.after_strings), (20, 30, 12));
    assert_eq!(replayed.different, 0);
}

#[test]
fn it_ends_with_the_last_pick_that_was_wanted_or_when_nobody_reads() {
    let policy = policy("rust/round-robin", "{}");
    let mut worker = Worker::new(&policy, 10);
    let (mut instance, mut tape) = worker.begin(None, 3);
    worker.work(&mut instance, &mut tape, 30, None);
    drop(tape);
    let recording = read(&worker.end());
    assert_eq!((recording.picks(), recording.end.unwrap().picks), (10, 10));

    let head = Head::of(&policy, "mine", "default/web", 80, "here");
    let recorder = Recorder::begin(head, 10, Arc::new(|_| false));
    assert!(recorder.progress().is_over());
    assert!(String::from_utf8_lossy(&recorder.progress().last_line()).contains("reads too slowly"));
}

#[test]
fn what_was_cut_off_is_read_as_far_as_it_goes_and_nonsense_is_not() {
    let written = recorded(&policy("rust/round-robin", "{}"));
    let cut = read(&written[..written.len() / 2]);
    assert!(cut.end.is_none() && cut.picks() > 100, "{}", cut.picks());

    let text = String::from_utf8(written).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let error = |lines: &[&str]| Recording::read(Cursor::new(lines.join("\n"))).unwrap_err().to_string();
    assert!(matches!(Recording::read(Cursor::new("")), Err(Unreadable::NoHead)));
    assert!(error(&lines[1..]).contains("does not begin as a recording does"));
    assert!(error(&[lines[0], lines[0], lines[1]]).contains("line 2"));
    assert!(error(&[lines[0], "{", lines[1]]).contains("line 2 is no line of a recording"));
    assert!(error(&[lines[0], lines[2], lines[1]]).contains("has not begun"));
    assert!(error(&[lines[0].replace("\"format\":1", "\"format\":2").as_str()]).contains("format 2"));

    // The state that the second instance goes on from was lost: the first one can be replayed all the same.
    let without_snapshot: Vec<_> = lines.iter().copied().filter(|line| !line.starts_with("{\"snapshot\"")).collect();
    assert_eq!(without_snapshot.len() + 1, lines.len());
    let holed = read(without_snapshot.join("\n").as_bytes());
    assert_eq!((holed.picks(), holed.without_beginning, holed.is_whole()), (400, 400, false));
    assert_eq!(replay(&holed, &policy("rust/round-robin", "{}")).unwrap().different, 0);
}

#[test]
fn what_a_slow_reader_has_missed_shows() {
    let policy = policy("rust/least-request", "{}");
    let mut worker = Worker::read_slowly(&policy, 10_000, 3);
    let (mut instance, mut tape) = worker.begin(None, 5);
    worker.work(&mut instance, &mut tape, 3_000, None);
    drop(tape);
    let recording = read(&worker.end());
    assert!(recording.end.as_ref().unwrap().why.contains("reads too slowly"));
    assert!(!recording.is_whole() && recording.picks() > 100, "{}", recording.picks());
    assert_eq!(replay(&recording, &policy).unwrap().different, 0);
}
