//! Signals that end the demo early: SIGINT and SIGTERM, and SIGHUP when its terminal goes away.

use std::{future::pending, io, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};
use wasmesh_telemetry::shutdown;

/// A program ended by SIGINT says so in its exit code; SIGTERM asks for the same.
const INTERRUPTED: u8 = 130;

/// As a shell shows the end of a program by SIGHUP.
const HUNG_UP: u8 = 129;

/// A future that ends at the first of them, with what the program is to end with. Call it inside a runtime; the handlers
/// stand when this returns.
pub(super) fn interruption() -> io::Result<impl Future<Output = ExitCode>> {
    let stop = shutdown::signal()?;
    let mut hangup = if is_under_nohup() { None } else { Some(signal(SignalKind::hangup())?) };
    let hung_up = async move {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            () = stop => ExitCode::from(INTERRUPTED),
            _ = hung_up => ExitCode::from(HUNG_UP),
        }
    })
}

/// Whether whoever started this wants it to outlive its terminal. A handler would undo that.
fn is_under_nohup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// `SigIgn` of proc_pid_status(5): a mask in hexadecimal with one bit for each signal, SIGHUP's the lowest.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let check = |mask: &str, expected: bool| {
            let status = format!("Name:\twasmesh\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t1\n");
            assert_eq!(ignores_hangup(&status), expected, "{mask}");
        };
        check("0000000000001001", true);
        check("0000000000001000", false);
        check("x", false);
        assert!(!ignores_hangup(""));
    }
}
