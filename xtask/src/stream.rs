//! Runs a program so that its output can be watched by people and read by us at the same time.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a program may take. Twice what the slowest needs on a cold machine; one that hangs must not take the whole run along, and
/// with it what all others have shown.
const LIMIT: Duration = Duration::from_mins(30);

/// How long a pipe may be silent after its program has ended, before we stop listening.
const SILENCE: Duration = Duration::from_millis(500);

/// Runs `command` to its end and shows each line of its stdout to `seen` and, where it is [`Shown::Live`], to the user.
///
/// It returns when the program has ended, even if something the program started still holds its stdout: a test that
/// forgets a server must not hang the run.
///
/// # Errors
/// When it cannot be run, or has not ended in time; then it is ended, with all that it has started.
pub(crate) fn run(command: &mut Command, shown: Shown, seen: impl FnMut(&str)) -> Result<ExitStatus> {
    run_within(LIMIT, command, shown, seen)
}

fn run_within(limit: Duration, command: &mut Command, shown: Shown, mut seen: impl FnMut(&str)) -> Result<ExitStatus> {
    let started = Instant::now();
    let program = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let lines = child.stdout.take().map(lines).context("stdout was piped")?;
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => {
                if shown == Shown::Live {
                    // Whoever piped us into `head` has seen enough; the exit code still counts.
                    let _ = std::io::stdout().write_all(line.as_bytes());
                }
                seen(line.trim_end());
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(child.wait()?),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait()? {
                    return Ok(status);
                }
                if started.elapsed() > limit {
                    end(child.id());
                    child.wait()?;
                    bail!("{} has not ended within {limit:?}, so it was ended: something hangs", program.display());
                }
            }
        }
    }
}

/// Ends a process and those that it has started, the eldest first: nobody starts another meanwhile.
fn end(process: u32) {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    // Should it not work, the wait for it says so.
    let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
    children.split_whitespace().filter_map(|child| child.parse().ok()).for_each(end);
}

/// Whether the user sees the output too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Live,
    Hidden,
}

fn lines(out: impl Read + Send + 'static) -> Receiver<String> {
    let (lines, read) = channel();
    thread::spawn(move || {
        let mut out = BufReader::new(out);
        let mut line = Vec::new();
        while out.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    read
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::{Shown, run, run_within};

    fn sh(script: &str) -> (Vec<String>, Option<i32>) {
        let mut lines = Vec::new();
        let status = run(Command::new("sh").args(["-c", script]), Shown::Hidden, |line| lines.push(line.to_owned()));
        (lines, status.unwrap().code())
    }

    #[test]
    fn lines_and_the_exit_code_arrive() {
        assert_eq!(sh("echo one; printf two; exit 3"), (vec!["one".to_owned(), "two".to_owned()], Some(3)));
    }

    #[test]
    fn what_a_program_leaves_behind_does_not_hang_us() {
        let started = Instant::now();
        assert_eq!(sh("sleep 20 & echo done"), (vec!["done".to_owned()], Some(0)));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_hangs_is_ended_with_all_that_it_has_started() {
        let mut children = String::new();
        let mut command = Command::new("sh");
        let error = run_within(
            Duration::from_millis(100),
            command.args(["-c", "sleep 1000 & echo $!; wait"]),
            Shown::Hidden,
            |line| line.clone_into(&mut children),
        );
        assert!(error.unwrap_err().to_string().contains("something hangs"));
        let state = || std::fs::read_to_string(format!("/proc/{children}/stat")).unwrap_or_default();
        while !state().is_empty() && !state().contains(") Z ") {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = run(&mut Command::new("wasmesh-no-such-program"), Shown::Hidden, |_| {}).unwrap_err();
        assert!(error.to_string().contains("wasmesh-no-such-program"), "{error}");
    }
}
