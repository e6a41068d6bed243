//! `wasmesh policy replay`: whether a policy decides as it was recorded.

use std::{fmt::Write, process::ExitCode};

use anyhow::Context;
use serde::Serialize;
use wasmesh_policy_host::{Calls, Settings};
use wasmesh_policy_recording::{Difference, Recording, Replayed, replay};

use super::{load::load_with, record};
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
    /// Whether the recording has an end.
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
    let policy = load_with(&options.file, settings, Calls::DirectIfPossible, 1)?;
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
            not_compared: replayed.with_strings,
            other_questions: replayed.other_questions,
            complete: recording.end.is_some(),
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
    let Replayed { compared, different, elsewhere, with_strings, other_questions, first, .. } = replayed;
    let head = &recording.head;
    let which =
        if same_module { "the module that was recorded" } else { "another module than the one that was recorded" };
    let mut text = format!("{} is {which}, by {} for {}\n", options.file.display(), head.policy, head.service);
    let mut say = |line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    say(match different {
        0 => format!("{compared} picks, all decided the same"),
        _ => format!(
            "{compared} picks, {different} decided otherwise, {elsewhere} of them with another result for the request"
        ),
    });
    if *with_strings > 0 {
        say(format!(
            "{with_strings} more were not compared: the policy may read strings of these requests, which are not recorded"
        ));
    }
    if *other_questions > 0 {
        say(format!("{other_questions} questions about load were not asked then: answered by what was known last"));
    }
    if recording.end.is_none() {
        say("the recording was cut off: it has no end".to_owned());
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
