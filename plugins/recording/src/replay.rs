//! Playing a recording to a policy and comparing what it answers.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wasmesh_policy_host::{
    About, EndpointView, Instance, NoSource, Policy, Rejection, RequestSource, Snapshot, Stats, UpdateError, Want,
};

use crate::{
    format::{Answer, Endpoint, Head, Line, Pick, Then},
    read::{Course, Recording},
};

/// How a policy did with a recording.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Picks that were compared.
    pub compared: u64,
    /// Those with another answer, if only in its reason, alternate or tag.
    pub different: u64,
    /// Those of them in which something else happens to the request.
    pub elsewhere: u64,
    /// Picks that were not compared, because the policy could read strings of the request, which are not recorded.
    pub with_strings: u64,
    /// Picks that were not compared, because they come after such ones: the instance may have kept something of those in mind.
    pub after_strings: u64,
    /// Questions about load that were not asked when it was recorded: these were answered by what was known last.
    pub other_questions: u64,
    /// Those among them to which nothing was known: answered as of an endpoint that is idle.
    pub unknown: u64,
    /// Words of this policy's plan that the recorded one did not have: they read as absent.
    pub missing_words: Vec<String>,
    /// By what was decided then and what is decided now, in words: how often, where it differs.
    pub changes: BTreeMap<(String, String), u64>,
    /// The first differences.
    pub first: Vec<Difference>,
}

/// A pick that was answered differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it was given.
    pub pick: Pick,
    /// What came of it now.
    pub now: Then,
    /// Addresses of the list, by index.
    pub addresses: Arc<[String]>,
}

/// How many differences are kept whole.
const FIRST: usize = 10;

/// Why a recording cannot be played to a policy at all.
#[derive(Debug, thiserror::Error)]
pub enum Unplayable {
    /// An instance cannot be made.
    #[error("instance {instance} cannot be made: {why}")]
    Instance {
        /// Its number in the recording.
        instance: u64,
        /// What is wrong.
        why: Rejection,
    },
    /// It does not take a list.
    #[error("instance {instance} does not take its list: {why}")]
    Update {
        /// Its number in the recording.
        instance: u64,
        /// What is wrong.
        why: UpdateError,
    },
}

/// Plays a recording to a policy.
///
/// The same module with the same settings answers the same in every pick that is compared, with no other questions.
///
/// # Errors
/// The policy does not take part: an instance cannot be made, or does not take a list.
pub fn replay(recording: &Recording, policy: &Arc<Policy>) -> Result<Replayed, Unplayable> {
    let mut replayed = Replayed { missing_words: missing_words(recording, policy), ..Replayed::default() };
    let mut states = States::of(recording);
    for (number, course) in &recording.instances {
        let player = Player::new(*number, course, recording, policy, &mut states)?;
        player.play(&mut replayed, &mut states);
    }
    Ok(replayed)
}

/// States that instances go on from, while somebody will.
struct States {
    wanted: HashSet<u64>,
    kept: HashMap<u64, State>,
}

struct State {
    /// `None` if the instance cannot be copied: whoever goes on from it begins anew, as it was when it was recorded.
    snapshot: Option<Snapshot>,
    /// Whether strings may have had a part in it.
    is_uncertain: bool,
}

impl States {
    fn of(recording: &Recording) -> Self {
        let wanted = recording.instances.values().filter_map(|course| course.begun.from).collect();
        Self { wanted, kept: HashMap::new() }
    }
}

/// What a plan asks of requests and endpoints and a recording does not have.
fn missing_words(recording: &Recording, policy: &Policy) -> Vec<String> {
    let Head { keys, wants, .. } = &recording.head;
    let plan = policy.plan();
    let of_keys = plan.keys.iter().map(ToString::to_string).filter(|word| !keys.contains(word));
    let of_wants = plan.wants.iter().map(ToString::to_string).filter(|word| !wants.contains(word));
    of_keys.chain(of_wants).collect()
}

/// One instance on its course.
struct Player<'a> {
    course: &'a Course,
    instance: Instance,
    script: Script,
    /// By key of this policy's plan: which of the recording it is.
    keys: Vec<Option<usize>>,
    addresses: Arc<[String]>,
    /// Names of the recording's reasons.
    reasons: &'a [String],
    /// Whether strings, which are not there, may have had a part in its state.
    is_uncertain: bool,
}

impl<'a> Player<'a> {
    fn new(
        number: u64,
        course: &'a Course,
        recording: &'a Recording,
        policy: &Arc<Policy>,
        states: &mut States,
    ) -> Result<Self, Unplayable> {
        let begun = &course.begun;
        let about = About(begun.about.clone());
        // Nobody else goes on from there.
        let state = begun.from.and_then(|from| states.kept.remove(&from));
        let is_uncertain = state.as_ref().is_some_and(|state| state.is_uncertain);
        let made = match state.and_then(|state| state.snapshot).as_ref() {
            Some(snapshot) => policy.revive(&about, snapshot),
            None => policy.instance(&about),
        };
        let mut instance = made.map_err(|why| Unplayable::Instance { instance: number, why })?;
        let script = Script::new(wants(recording, policy));
        script.turn_to(&begun.answers);
        let labels: Vec<Vec<(&str, &str)>> = begun.endpoints.iter().map(labels).collect();
        let views: Vec<_> =
            begun.endpoints.iter().zip(&labels).map(|(endpoint, labels)| view(endpoint, labels)).collect();
        let updated = instance.update(begun.generation, begun.now_ms, &views, Box::new(script.clone()));
        updated.map_err(|why| Unplayable::Update { instance: number, why })?;
        let addresses = begun.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
        Ok(Self {
            course,
            instance,
            script,
            keys: keys(recording, policy),
            addresses,
            reasons: &recording.head.reasons,
            is_uncertain,
        })
    }

    fn play(mut self, replayed: &mut Replayed, states: &mut States) {
        for line in &self.course.lines {
            match line {
                Line::Pick(pick) => self.pick(pick, replayed),
                Line::Completed(report) => {
                    self.script.turn_to(&report.answers);
                    // One that fails now is dead, which the next pick shows.
                    let _ = self.instance.completed(&report.report());
                }
                Line::Snapshot { snapshot, .. } if states.wanted.contains(snapshot) => {
                    let state = State { snapshot: self.instance.snapshot(), is_uncertain: self.is_uncertain };
                    states.kept.insert(*snapshot, state);
                }
                Line::Snapshot { .. } | Line::Recording(_) | Line::Instance(_) | Line::End(_) => {}
            }
        }
        let (other_questions, unknown) = self.script.other_questions();
        replayed.other_questions += other_questions;
        replayed.unknown += unknown;
    }

    fn pick(&mut self, pick: &Pick, replayed: &mut Replayed) {
        self.script.turn_to(&pick.answers);
        let request = pick.request(&self.keys);
        let source = Deadline(pick.deadline_ms.unwrap_or(u32::MAX));
        let now = Then::of(&self.instance.pick(&request, &source));
        if pick.had_strings {
            self.is_uncertain = true;
            replayed.with_strings += 1;
            return;
        }
        if self.is_uncertain {
            replayed.after_strings += 1;
            return;
        }
        replayed.compared += 1;
        if now == pick.then {
            return;
        }
        replayed.different += 1;
        replayed.elsewhere += u64::from(!now.is_same_for_the_request(&pick.then));
        let words = (self.words(&pick.then, self.reasons), self.words(&now, &self.instance.policy().plan().reasons));
        *replayed.changes.entry(words).or_default() += 1;
        if replayed.first.len() < FIRST {
            let addresses = Arc::clone(&self.addresses);
            replayed.first.push(Difference { pick: pick.clone(), now, addresses });
        }
    }

    /// What was decided and why, without what differs from pick to pick.
    fn words(&self, then: &Then, reasons: &[String]) -> String {
        let address =
            |index: &u32| self.addresses.get(*index as usize).cloned().unwrap_or_else(|| format!("endpoint {index}"));
        let (what, reason) = match then {
            Then::Endpoint { index, reason, .. } => (address(index), reason),
            Then::Fallback(reason) => ("fallback".to_owned(), reason),
            Then::Reject(status, reason) => (format!("reject with {status}"), reason),
            Then::Hold(_, reason) => ("hold".to_owned(), reason),
            Then::Fault(fault) => return format!("fault: {fault}"),
        };
        match reasons.get(*reason as usize) {
            Some(reason) => format!("{what} ({reason})"),
            None => what,
        }
    }
}

/// By key of a policy's plan: which key of the recording is the same.
fn keys(recording: &Recording, policy: &Policy) -> Vec<Option<usize>> {
    let known = &recording.head.keys;
    policy.plan().keys.iter().map(|key| known.iter().position(|word| *word == key.to_string())).collect()
}

/// By want of a policy's plan: which want of the recording is the same.
fn wants(recording: &Recording, policy: &Policy) -> Vec<Option<u32>> {
    let known = &recording.head.wants;
    let place = |want: &Want| known.iter().position(|word| *word == want.to_string()).map(|at| at as u32);
    policy.plan().wants.iter().map(place).collect()
}

fn labels(endpoint: &Endpoint) -> Vec<(&str, &str)> {
    endpoint.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn view<'a>(endpoint: &'a Endpoint, labels: &'a [(&'a str, &'a str)]) -> EndpointView<'a> {
    EndpointView {
        id: endpoint.id,
        address: endpoint.address,
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: &endpoint.zone,
        node: &endpoint.node,
        health: endpoint.health.into(),
        ready_ms: endpoint.ready_ms,
        labels,
    }
}

/// A request of which only its deadline is known.
struct Deadline(u32);

impl RequestSource for Deadline {
    fn value(&self, word: &wasmesh_policy_host::Word) -> Option<std::borrow::Cow<'_, [u8]>> {
        NoSource.value(word)
    }

    fn body(&self) -> bytes::Bytes {
        NoSource.body()
    }

    fn deadline_ms(&self) -> u32 {
        self.0
    }
}

/// A question, without its answer. `reported` goes by the recording's want.
type Question = (u8, u32, u32);

fn parts(answer: Answer) -> (Question, u32) {
    match answer {
        Answer::InFlight(endpoint, value) => ((0, endpoint, 0), value),
        Answer::TotalInFlight(value) => ((1, 0, 0), value),
        Answer::LatencyUs(endpoint, value) => ((2, endpoint, 0), value),
        Answer::FailureRate(endpoint, value) => ((3, endpoint, 0), value),
        Answer::Available(endpoint, value) => ((4, endpoint, 0), value.into()),
        Answer::Reported(endpoint, want, value) => ((5, endpoint, want), value.unwrap_or(NOT_REPORTED)),
        Answer::Peers(value) => ((6, 0, 0), value),
    }
}

/// As the host has it: no report says so much.
const NOT_REPORTED: u32 = u32::MAX;

/// Answers as they were given: in the same order to the same questions; to others, what was answered last.
#[derive(Clone)]
struct Script(Arc<Mutex<Prompter>>);

struct Prompter {
    /// By want of the policy: the recording's.
    wants: Vec<Option<u32>>,
    /// What was answered in this call and was not asked for yet.
    coming: VecDeque<(Question, u32)>,
    /// What was answered last, as far as the recording has come.
    last: HashMap<Question, u32>,
    other_questions: u64,
    unknown: u64,
}

impl Script {
    fn new(wants: Vec<Option<u32>>) -> Self {
        let (coming, last, other_questions, unknown) = Default::default();
        Self(Arc::new(Mutex::new(Prompter { wants, coming, last, other_questions, unknown })))
    }

    /// The next call begins, in which these were the answers.
    fn turn_to(&self, answers: &[Answer]) {
        let mut prompter = self.lock();
        let answers: VecDeque<_> = answers.iter().map(|answer| parts(*answer)).collect();
        prompter.last.extend(answers.iter().copied());
        prompter.coming = answers;
    }

    fn other_questions(&self) -> (u64, u64) {
        let prompter = self.lock();
        (prompter.other_questions, prompter.unknown)
    }

    fn ask(&self, question: Question, unknown: u32) -> u32 {
        let mut prompter = self.lock();
        if let Some((coming, answer)) = prompter.coming.front().copied()
            && coming == question
        {
            prompter.coming.pop_front();
            return answer;
        }
        prompter.other_questions += 1;
        if let Some(answer) = prompter.last.get(&question) {
            return *answer;
        }
        prompter.unknown += 1;
        unknown
    }

    fn lock(&self) -> MutexGuard<'_, Prompter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stats for Script {
    fn in_flight(&self, endpoint: u32) -> u32 {
        self.ask((0, endpoint, 0), 0)
    }

    fn total_in_flight(&self) -> u32 {
        self.ask((1, 0, 0), 0)
    }

    fn latency_us(&self, endpoint: u32, _now_ms: u64) -> u32 {
        self.ask((2, endpoint, 0), 0)
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        self.ask((3, endpoint, 0), 0)
    }

    fn available(&self, endpoint: u32, _now_ms: u64) -> bool {
        self.ask((4, endpoint, 0), 1) != 0
    }

    fn reported(&self, endpoint: u32, want: u32, _now_ms: u64) -> Option<u32> {
        let known = self.lock().wants.get(want as usize).copied().flatten();
        // What is not in the recording is called what nothing in it is called.
        let value = self.ask((5, endpoint, known.unwrap_or(u32::MAX)), NOT_REPORTED);
        (value != NOT_REPORTED).then_some(value)
    }

    fn peers(&self) -> u32 {
        self.ask((6, 0, 0), 1)
    }
}
