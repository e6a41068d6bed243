//! `cargo xtask fuzz`: libFuzzer makes up bytes for everything that reads bytes of strangers.
//!
//! Only the crates of this workspace are built to say where they have been; what they depend on is what the tests are built with. What
//! reaches new code is kept outside of the checkout, for the next run; `fuzz/corpus` has what is typical and what was found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::{cache, cargo, root};
use crate::stream::{self, Shown};

const BINARY: &str = "wasmesh-fuzz";
const VARIABLE: &str = "WASMESH_FUZZ_TARGET";
/// How long each target is fuzzed by default, in seconds.
const SECONDS: u32 = 60;
/// As many targets at once as there are CPUs on a small machine.
const AT_ONCE: usize = 2;
/// For one input, in MiB and seconds; and how long it may be, in bytes.
const MAX_MEMORY: u32 = 1024;
const MAX_TIME: u32 = 30;
const MAX_LENGTH: u32 = 16 * 1024;

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let (mut names, mut seconds) = (Vec::new(), SECONDS);
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "--seconds" => seconds = args.next().context("--seconds needs a number")?.parse()?,
            "all" => names = all()?,
            name => names.push(name.to_owned()),
        }
    }
    ensure!(!names.is_empty(), "which target, or all? There are {}", all()?.join(", "));
    if let Some(unknown) = names.iter().find(|name| !corpus(name).is_dir()) {
        bail!("no target is named {unknown:?}; there are {}", all()?.join(", "));
    }
    let binary = build()?;
    let findings = Mutex::new(Vec::new());
    println!("{:<28}{:>12}{:>10}", "target", "inputs", "kept");
    let left = Mutex::new(names.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = next() {
                    if let Err(finding) = fuzz(&binary, &name, seconds) {
                        findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
                    }
                }
            });
        }
    });
    let findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.iter().for_each(|finding| eprintln!("xtask: {finding:#}"));
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fuzzes one target. What is wrong with an input that it finds is the error.
fn fuzz(binary: &Path, name: &str, seconds: u32) -> Result<()> {
    let (kept, found) = (kept(name)?, root().join("target/fuzz"));
    fs::create_dir_all(&found)?;
    let prefix = found.join(format!("{name}-"));
    let mut fuzzer = Command::new(binary);
    fuzzer.env(VARIABLE, name).arg(&kept).arg(corpus(name)).args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MAX_MEMORY}"),
        format!("-timeout={MAX_TIME}"),
        format!("-max_len={MAX_LENGTH}"),
        format!("-artifact_prefix={}", prefix.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    let output = fuzzer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    let stat = |stat: &str| words.lines().find_map(|line| line.strip_prefix(stat)).unwrap_or("?").trim().to_owned();
    let inputs = stat("stat::number_of_executed_units:");
    println!("{name:<28}{inputs:>12}{:>10}", fs::read_dir(&kept)?.count());
    if output.status.success() {
        return Ok(());
    }
    let last: Vec<_> = words.lines().filter(|line| !line.starts_with(['#', '\t'])).collect();
    let from = last.len().saturating_sub(30);
    bail!(
        "{name}: {}\n{}\nkeep the input in fuzz/corpus/{name}; replay it with {VARIABLE}={name} {} INPUT",
        output.status,
        last[from..].join("\n"),
        binary.display()
    );
}

/// Builds the fuzzer, with the features of the whole workspace, or everything below it would be built once more.
fn build() -> Result<PathBuf> {
    let mut build = cargo(&["build", "--workspace", "--bin", BINARY, "--message-format=json-render-diagnostics"]);
    build.env("RUSTC_WORKSPACE_WRAPPER", root().join("fuzz/rustc.sh"));
    let mut executable = None;
    let status = stream::run(&mut build, Shown::Hidden, |line| {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        if message["target"]["name"] == BINARY {
            executable = message["executable"].as_str().map(PathBuf::from).or_else(|| executable.take());
        }
    })?;
    ensure!(status.success(), "the fuzzer does not build");
    executable.context("the build made no fuzzer")
}

/// What is checked in.
fn corpus(name: &str) -> PathBuf {
    root().join("fuzz/corpus").join(name)
}

/// What was found to reach more code.
fn kept(name: &str) -> Result<PathBuf> {
    let folder = cache("fuzz")?.join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn all() -> Result<Vec<String>> {
    let folders = fs::read_dir(root().join("fuzz/corpus")).context("no fuzz/corpus")?;
    let mut names: Vec<_> = folders.flatten().map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
