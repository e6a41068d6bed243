//! Runs a program so that its output can be watched by people and read by us at the same time.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// How long a pipe may be silent after its program has ended, before we stop listening.
const SILENCE: Duration = Duration::from_millis(500);

/// Runs `command` to its end and shows each line of its stdout to `seen` and, where it is [`Shown::Live`], to the user.
///
/// It returns when the program has ended, even if something the program started still holds its stdout: a test that
/// forgets a server must not hang the run.
pub(crate) fn run(command: &mut Command, shown: Shown, mut seen: impl FnMut(&str)) -> Result<ExitStatus> {
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
            }
        }
    }
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

    use super::{Shown, run};

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
    fn a_program_that_is_not_there_is_an_error() {
        let error = run(&mut Command::new("wasmesh-no-such-program"), Shown::Hidden, |_| {}).unwrap_err();
        assert!(error.to_string().contains("wasmesh-no-such-program"), "{error}");
    }
}
