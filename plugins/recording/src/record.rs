//! Writing a recording while traffic flows.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use wasmesh_policy_host::{About, Decision, EndpointView, Fault, Report, Request, Stats};

use crate::{
    format::{Answer, Begun, End, Head, Line, Pick, Reported, Then},
    heard::{Answers, HeardSource, MAX_ANSWERS},
};

/// Where finished pieces go, whole lines each. Answers whether they were taken; it must not wait.
pub type Sink = Arc<dyn Fn(Bytes) -> bool + Send + Sync>;

/// How much a tape gathers before it is passed on.
const PIECE_BYTES: usize = 32 << 10;

/// A recording under way. It ends when so many picks were recorded, when it is told to, or when nobody takes what it writes.
///
/// Whoever still has something to write holds a clone: once all are gone, the sink is gone too.
#[derive(Clone)]
pub struct Recorder {
    sink: Sink,
    progress: Arc<Progress>,
}

/// How far a recording has come; outlives it, to say how it has ended.
#[derive(Debug)]
pub struct Progress {
    /// How many picks may still be recorded.
    left: AtomicU64,
    recorded: AtomicU64,
    /// Numbers for instances and for snapshots.
    next: AtomicU64,
    over: AtomicBool,
    why: OnceLock<String>,
}

impl Recorder {
    /// Records up to so many picks, beginning with the first line.
    pub fn begin(head: Head, picks: u64, sink: Sink) -> Self {
        let (recorded, next, over, why) = Default::default();
        let progress = Progress { left: AtomicU64::new(picks), recorded, next, over, why };
        let recorder = Self { sink, progress: Arc::new(progress) };
        recorder.pass_on(line(&Line::Recording(head)));
        recorder
    }

    /// How far it has come.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    fn pass_on(&self, piece: Bytes) {
        if !(self.sink)(piece) {
            self.progress.end("who reads it has left, or reads too slowly: what comes after this is not complete");
        }
    }
}

impl Progress {
    /// Records no more. The first reason holds.
    pub fn end(&self, why: &str) {
        let _ = self.why.set(why.to_owned());
        self.over.store(true, Ordering::Release);
    }

    /// Whether nothing is recorded any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// The last line; to be written when all tapes are gone.
    pub fn last_line(&self) -> Bytes {
        let why = self.why.get().map_or("the proxy has ended", String::as_str).to_owned();
        line(&Line::End(End { picks: self.recorded.load(Ordering::Acquire), why }))
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Room for one more pick, and whether it is the last one.
    fn take_one(&self) -> Option<bool> {
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).ok()?;
        self.recorded.fetch_add(1, Ordering::AcqRel);
        Some(before == 1)
    }
}

fn line(line: &Line) -> Bytes {
    let mut bytes = Vec::new();
    write(&mut bytes, line);
    bytes.into()
}

fn write(bytes: &mut Vec<u8>, line: &Line) {
    // Numbers, strings and lists: there is nothing in a line that JSON does not have.
    let written = serde_json::to_writer(&mut *bytes, line);
    debug_assert!(written.is_ok(), "{written:?}");
    bytes.push(b'\n');
}

/// The recording of one instance, from its first list on. Written out when it is dropped.
pub struct Tape {
    recorder: Recorder,
    instance: u64,
    /// How many keys the policy's plan has.
    keys: usize,
    answers: Answers,
    piece: Vec<u8>,
}

impl Tape {
    /// For an instance whose plan has so many keys.
    pub fn new(recorder: &Recorder, keys: usize) -> Self {
        let (answers, piece) = Default::default();
        Self { recorder: recorder.clone(), instance: recorder.progress.number(), keys, answers, piece }
    }

    /// What the instance is to be updated with in place of this.
    pub fn listen(&self, stats: Box<dyn Stats>) -> Box<dyn Stats> {
        Box::new(self.answers.listen(stats))
    }

    /// The instance has taken its list; `from` is the snapshot that it goes on from.
    pub fn begun(&mut self, from: Option<u64>, about: About, generation: u64, now_ms: u64, list: &[EndpointView<'_>]) {
        let (instance, answers) = (self.instance, self.answers());
        if self.recorder.progress.is_over() {
            return;
        }
        let endpoints = list.iter().map(Into::into).collect();
        self.write(&Line::Instance(Begun { instance, from, about: about.0, generation, now_ms, endpoints, answers }));
    }

    /// The instance was asked. Returns whether this pick has ended the recording.
    pub fn picked(&mut self, request: &Request, source: &HeardSource<'_>, result: &Result<Decision, Fault>) -> bool {
        let answers = self.answers();
        if self.recorder.progress.is_over() {
            return false;
        }
        let Some(is_last) = self.recorder.progress.take_one() else { return false };
        let (deadline_ms, had_strings) = source.heard();
        let mut then = Then::of(result);
        if had_strings {
            // It may have been made of them.
            then.forget_tag();
        }
        let pick = Pick::of(self.instance, request, self.keys);
        self.write(&Line::Pick(Pick { deadline_ms, had_strings, answers, then, ..pick }));
        if is_last {
            self.recorder.progress.end("it has as many picks as were asked for");
        }
        // Whoever reads may have left in the meantime.
        self.recorder.progress.is_over()
    }

    /// The instance was told how a request has ended.
    pub fn completed(&mut self, report: &Report) {
        let answers = self.answers();
        if !self.recorder.progress.is_over() {
            self.write(&Line::Completed(Reported { answers, ..Reported::of(self.instance, report) }));
        }
    }

    /// The state of the instance is copied now. Returns what the copy is called.
    pub fn copied(&mut self) -> u64 {
        let (instance, snapshot) = (self.instance, self.recorder.progress.number());
        if !self.recorder.progress.is_over() {
            self.write(&Line::Snapshot { instance, snapshot });
        }
        snapshot
    }

    fn answers(&self) -> Vec<Answer> {
        let answers = self.answers.take();
        if answers.len() > MAX_ANSWERS {
            self.recorder.progress.end("the policy asks too much about load in one call to be recorded");
        }
        answers
    }

    fn write(&mut self, line: &Line) {
        write(&mut self.piece, line);
        if self.piece.len() >= PIECE_BYTES {
            self.pass_on();
        }
    }

    fn pass_on(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if !piece.is_empty() {
            self.recorder.pass_on(piece.into());
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.pass_on();
    }
}
