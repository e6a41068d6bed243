//! docs/policies/simulations.md: its commands are run, and what it says came of them still does. `UPDATE_SIMULATIONS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// By how much a figure may differ, as a part of it: libraries of mathematics differ in last digits, and queues make more of that.
const TOLERANCE: f64 = 0.05;
/// The same for small figures, whatever they are: a few errors, thousandths of a share.
const SLACK: f64 = 5.0;
const SMALL_SLACK: f64 = 0.02;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What comes of a command as the page has it. Pictures go where they belong, or to a folder.
fn run(command: &str, pictures: Option<&Path>) -> String {
    let mut words = words(command);
    assert_eq!(words.remove(0), "wasmesh", "{command}");
    for word in words.iter_mut().filter(|word| word.ends_with(".svg")) {
        if let Some(folder) = pictures {
            *word = folder.join(Path::new(word).file_name().unwrap()).display().to_string();
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_wasmesh")).current_dir(root()).args(&words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A command's words; single quotes hold what has spaces.
fn words(command: &str) -> Vec<String> {
    let parts = command.trim().split('\'').enumerate();
    parts
        .flat_map(|(at, part)| {
            if at % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
        })
        .collect()
}

/// The first thing in which two texts differ by more than figures may.
fn difference(page: &str, now: &str) -> Option<String> {
    let [mut page, mut now] = [page, now].map(str::split_whitespace);
    loop {
        let (page, now) = match (page.next(), now.next()) {
            (None, None) => return None,
            pair => (pair.0.unwrap_or("nothing more"), pair.1.unwrap_or("nothing more")),
        };
        let number = |word: &str| word.trim_end_matches(',').parse::<f64>().ok();
        let is_alike = match (number(page), number(now)) {
            (Some(a), Some(b)) => {
                let slack = if page.contains('.') { SMALL_SLACK } else { SLACK };
                (a - b).abs() <= a.abs().max(b.abs()) * TOLERANCE + slack
            }
            _ => page == now,
        };
        if !is_alike {
            return Some(format!("the page says {page}, and now it is {now}"));
        }
    }
}

#[test]
fn the_page_says_what_comes_of_its_commands() {
    let file = root().join("docs/policies/simulations.md");
    let page = fs::read_to_string(&file).unwrap();
    let is_update = std::env::var_os("UPDATE_SIMULATIONS").is_some();
    let folder = tempfile::tempdir().unwrap();
    let mut renewed = String::new();
    let mut rest = page.as_str();
    let mut commands = 0;
    while let Some((before, after)) = rest.split_once("```sh\n") {
        let (command, after) = after.split_once("```\n\n```text\n").expect("a command, and then what comes of it");
        let (said, after) = after.split_once("```\n").unwrap();
        let now = run(command, (!is_update).then_some(folder.path()));
        if !is_update {
            assert_eq!(difference(said, &now), None, "{command}\n{now}\nUPDATE_SIMULATIONS=1 writes it anew");
        }
        renewed += &format!("{before}```sh\n{command}```\n\n```text\n{now}```\n");
        rest = after;
        commands += 1;
    }
    assert!(commands > 10);
    if is_update {
        fs::write(&file, renewed + rest).unwrap();
        return;
    }
    // Every picture is drawn by a command, is shown, and is there.
    for picture in fs::read_dir(root().join("docs/policies/pictures")).unwrap() {
        let name = picture.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("](pictures/{name})")) && folder.path().join(&name).exists(), "{name}");
    }
    for name in fs::read_dir(folder.path()).unwrap() {
        let name = name.unwrap().file_name();
        assert!(root().join("docs/policies/pictures").join(&name).exists(), "{name:?}");
    }
}

#[test]
fn figures_may_differ_a_little_and_words_may_not() {
    assert_eq!(difference("a 100.5 7, b", "a  102.1 9, b"), None);
    assert!(difference("a 100.5", "a 120.5").is_some());
    assert!(difference("a 1000", "b 1000").is_some());
    assert!(difference("a 1000", "a 1000 b").is_some());
    assert_eq!(words("wasmesh a '{\"b\": 1}' c"), ["wasmesh", "a", "{\"b\": 1}", "c"]);
}
