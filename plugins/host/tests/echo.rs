//! What crosses the boundary arrives as it was sent, in each language whose SDK has its own bindings: strings, bodies, keys, labels,
//! decisions of every kind, reports, refusals.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use support::{about, endpoint, load_file, rebuilt};
use wasmesh_policy_host::{
    Choice, Decision, EndpointView, Grants, Instance, Keys, LogLevel, LogSink, Outcome, Policy, Rejection, Report,
    Request, RequestSource, Settings, Stats, Word,
};

const LANGUAGES: [&str; 3] = ["go", "assemblyscript", "javascript"];

/// What `cargo xtask policies` has made of `plugins/policies/echo`.
fn prepare(language: &str, settings: Settings) -> Result<Arc<Policy>, Rejection> {
    let file = rebuilt().join("echo").join(language).with_extension("wasm");
    Policy::prepare(&load_file(&file), settings, &about())
}

/// A request that says this, with this body.
struct Says<'a>(&'a str, &'a [u8]);

impl RequestSource for Says<'_> {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        let Word::Header(name) = word else { return None };
        (name == "x-say").then(|| self.0.as_bytes().into())
    }

    fn body(&self) -> Bytes {
        Bytes::copy_from_slice(self.1)
    }

    fn deadline_ms(&self) -> u32 {
        3_000_000_000
    }
}

/// The second endpoint reports a number that only unsigned ones of 32 bits can have.
struct Load;

impl Stats for Load {
    fn in_flight(&self, _: u32) -> u32 {
        0
    }

    fn total_in_flight(&self) -> u32 {
        0
    }

    fn latency_us(&self, _: u32, _: u64) -> u32 {
        0
    }

    fn failure_rate(&self, _: u32) -> u32 {
        0
    }

    fn available(&self, _: u32, _: u64) -> bool {
        true
    }

    fn reported(&self, endpoint: u32, _: u32, _: u64) -> Option<u32> {
        (endpoint == 1).then_some(4_000_000_000)
    }

    fn peers(&self) -> u32 {
        1
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn write(&self, level: LogLevel, line: &str) {
        self.0.lock().unwrap().push(format!("{level:?} {line}"));
    }
}

fn settings() -> Settings {
    Settings { grants: Grants::ALL, ..Settings::default() }
}

/// Four endpoints called a to d.
fn echo(language: &str, settings: Settings) -> Instance {
    let policy = prepare(language, settings).unwrap();
    let mut instance = policy.instance(&about()).unwrap();
    update(&mut instance, &["a", "b", "c", "d"]).unwrap();
    instance
}

fn update(instance: &mut Instance, names: &[&str]) -> Result<(), String> {
    let labels: Vec<_> = names.iter().map(|name| [("first", ""), ("name", *name)]).collect();
    let views: Vec<_> =
        (0..).zip(&labels).map(|(number, labels)| EndpointView { labels, ..endpoint(number) }).collect();
    instance.update(1, 1000, &views, Box::new(Load)).map_err(|error| error.to_string())
}

fn pick(instance: &mut Instance, say: &str, body: &[u8]) -> Decision {
    let keys = Keys { hashes: [0, 0, 0, (1 << 53) - 3], present: 8 };
    instance.pick(&Request { keys, now_ms: 1000, ..Request::default() }, &Says(say, body)).unwrap()
}

#[test]
fn decisions_of_every_kind_arrive() {
    for language in LANGUAGES {
        let mut policy = echo(language, settings());
        for (name, index) in [("a", 0), ("c", 2)] {
            let decision = pick(&mut policy, name, b"");
            let expected = Decision { choice: Choice::Endpoint(index), alternate: Some(index + 1), reason: 1, tag: 0 };
            assert_eq!(decision, expected, "{language}: by the label's value");
        }
        assert_eq!(pick(&mut policy, "nobody", b"").choice, Choice::Fallback, "{language}");
        assert_eq!(pick(&mut policy, "reject", b"").choice, Choice::Reject(418), "{language}");
        assert_eq!(pick(&mut policy, "hold", b"").choice, Choice::Hold(7), "{language}");
        assert_eq!(pick(&mut policy, "key", b"").tag, (1 << 53) - 3, "{language}");
        assert_eq!(pick(&mut policy, "reported", b"").tag, 4_000_000_000, "{language}");
        assert_eq!(pick(&mut policy, "deadline", b"").tag, 3_000_000_000, "{language}");
        assert_eq!(pick(&mut policy, "body", b"").choice, Choice::Fallback, "{language}: there is none");
        let body = vec![b'z'; 5_000];
        assert_eq!(pick(&mut policy, "body", &body).tag, (5_000 << 8) + u64::from(b'z'), "{language}");
    }
}

#[test]
fn reports_arrive() {
    for language in LANGUAGES {
        let mut policy = echo(language, settings());
        let outcome = Outcome { server_error: true, streamed: true, ..Outcome::default() };
        let tag = (1 << 53) - 5;
        policy.completed(&Report { tag, status: 3, outcome, now_ms: 1000, ..Report::default() }).unwrap();
        let expected = Decision { choice: Choice::Endpoint(3), alternate: None, reason: 18, tag };
        assert_eq!(pick(&mut policy, "completed", b""), expected, "{language}");
    }
}

#[test]
fn text_that_is_no_utf_8_is_replaced() {
    for language in LANGUAGES {
        let lines = Arc::new(Lines::default());
        let mut policy = echo(language, Settings { log: lines.clone(), ..settings() });
        assert_eq!(pick(&mut policy, "log", b"").choice, Choice::Fallback, "{language}");
        assert_eq!(*lines.0.lock().unwrap(), ["Warn broken \u{fffd}"], "{language}");
        let refused = update(&mut policy, &["a", "refuse"]).unwrap_err();
        assert!(refused.contains("broken \u{fffd}"), "{language}: {refused}");
        let config = r#"{"refuse": true}"#.to_owned();
        let prepared = prepare(language, Settings { config, ..settings() });
        let refused = prepared.err().unwrap().to_string();
        assert!(refused.contains("broken \u{fffd}"), "{language}: {refused}");
    }
}

#[test]
fn bodies_that_grow_leave_nothing_behind() {
    let body = vec![1; 65_536];
    let mut policy = echo("go", settings());
    // Each is larger than all before it: together they have three times the memory that there is.
    for len in (8_192..=65_536).step_by(40) {
        assert_eq!(pick(&mut policy, "body", &body[..len]).tag, ((len as u64) << 8) + 1);
    }
}
