//! `wasmesh policy replay`: whether a policy decides as it was recorded.

use std::{fmt::Write, process::ExitCode};

use anyhow::Context;
use serde::Serialize;
use wasmesh_policy_host::{About, Calls, Settings};
use wasmesh_policy_recording::{Difference, Recording, Replayed, replay};

use super::{
    load::{about, load_with},
    record,
};
use crate::options;

/// What programs read.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Whether the module is the one that was recorded.
    same_module: bool,
    compared: u64,
    different: u64,
    elsewhere: u64,
    not_compared: u64,
    other_questions: u64,
    unknown: u64,
    missing_words: &'a [String],
    /// Whether the recording has an end, and all that was written before that.
    complete: bool,
    changes: Vec<Change<'a>>,
}

/// One kind of difference.
#[derive(Debug, Serialize)]
struct Change<'a> {
    then: &'a str,
    now: &'a str,
    picks: u64,
}

/// The most kinds of differences that people are shown.
const MAX_CHANGES: usize = 20;

/// Replays and prints. Fails if anything differs, or nothing could be compared.
pub(super) fn run(options: &options::ReplayPolicy) -> anyhow::Result<ExitCode> {
    let recording = record::read(&options.recording)?;
    let head = &recording.head;
    let settings = Settings {
        config: options.config.clone().unwrap_or_else(|| head.config.clone()),
        fuel: head.fuel,
        memory_bytes: head.memory_bytes,
        grants: head.grants.into(),
        ..Settings::default()
    };
    // Where it was, and not where this is: its plan may depend on that.
    let about = recording.instances.values().next().map_or_else(about, |course| About(course.begun.about.clone()));
    let policy = load_with(&options.file, settings, Calls::DirectIfPossible, 1, &about)?;
    let same_module = policy.module().digest().to_string() == head.module;
    let replayed =
        replay(&recording, &policy).with_context(|| format!("{} cannot be replayed", options.recording.display()))?;
    let text = text(options, &recording, same_module, &replayed);
    if options.json {
        eprint!("{text}");
        let report = Report::of(&recording, same_module, &replayed);
        crate::commands::print(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        crate::commands::print(&text)?;
    }
    let is_same = replayed.different == 0 && replayed.compared > 0;
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl<'a> Report<'a> {
    fn of(recording: &Recording, same_module: bool, replayed: &'a Replayed) -> Self {
        Self {
            same_module,
            compared: replayed.compared,
            different: replayed.different,
            elsewhere: replayed.elsewhere,
            not_compared: replayed.with_strings + replayed.after_strings + recording.without_beginning as u64,
            other_questions: replayed.other_questions,
            unknown: replayed.unknown,
            missing_words: &replayed.missing_words,
            complete: recording.is_whole(),
            changes: changes(replayed),
        }
    }
}

/// The most frequent first.
fn changes(replayed: &Replayed) -> Vec<Change<'_>> {
    let changes = replayed.changes.iter().map(|((then, now), picks)| Change { then, now, picks: *picks });
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.picks));
    changes
}

fn text(options: &options::ReplayPolicy, recording: &Recording, same_module: bool, replayed: &Replayed) -> String {
    let Replayed {
        compared,
        different,
        elsewhere,
        with_strings,
        after_strings,
        other_questions,
        unknown,
        missing_words,
        first,
        ..
    } = replayed;
    let head = &recording.head;
    let which =
        if same_module { "the module that was recorded" } else { "another module than the one that was recorded" };
    let mut text = format!("{} is {which}, by {} for {}\n", options.file.display(), head.policy, head.service);
    let mut say = |line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    say(match different {
        0 if *compared == 0 => "nothing could be compared".to_owned(),
        0 => format!("{compared} picks, all decided the same"),
        _ => format!(
            "{compared} picks, {different} decided otherwise, {elsewhere} of them with another result for the request"
        ),
    });
    if *with_strings > 0 {
        say(format!(
            "{} more were not compared: in {with_strings} the recorded policy could read strings, which are not recorded, and \
             {after_strings} come after such ones",
            with_strings + after_strings
        ));
    }
    if !missing_words.is_empty() {
        say(format!("the recorded policy did not ask for {}: absent in all picks", missing_words.join(", ")));
    }
    if *other_questions > 0 {
        say(format!(
            "{other_questions} questions about load were not asked then: answered by what was known last, {unknown} of them as of an \
             idle endpoint, of which nothing was known"
        ));
    }
    if recording.end.is_none() {
        say("the recording was cut off: it has no end".to_owned());
    } else if !recording.is_whole() {
        say("the recording has holes: its reader was too slow".to_owned());
    }
    let changes = changes(replayed);
    for Change { then, now, picks } in changes.iter().take(MAX_CHANGES) {
        say(format!("{picks:>8}  {then} -> {now}"));
    }
    if changes.len() > MAX_CHANGES {
        say(format!("          and {} more kinds of difference", changes.len() - MAX_CHANGES));
    }
    if let Some(Difference { pick, now, .. }) = first.first() {
        let json = |value: Result<String, _>| value.unwrap_or_default();
        say(format!("the first: {}", json(serde_json::to_string(pick))));
        say(format!("now:       {}", json(serde_json::to_string(now))));
    }
    text
}
