//! What people see: a story for each phase, and who gets what; live on a terminal, one line at the end elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
};

use super::{judge, phases::Phase, tally::Tally};

/// Of the longest bar.
const BAR: u64 = 32;

/// Where it is shown.
pub(super) struct Screen {
    to_stderr: bool,
    live: bool,
    /// Of the live table, to be painted over.
    lines: usize,
}

impl Screen {
    /// On stdout, or on stderr if stdout belongs to a program that reads JSON.
    pub(super) fn new(to_stderr: bool) -> Self {
        let live = if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        Self { to_stderr, live, lines: 0 }
    }

    /// Whether it pays to show a phase that is not over yet.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Plain text.
    pub(super) fn say(&mut self, text: &str) {
        self.lines = 0;
        self.put(&format!("{text}\n"));
    }

    /// A phase begins.
    pub(super) fn begin(&mut self, number: usize, of: usize, phase: &Phase) {
        let (bold, plain) = if self.live { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.say(&format!("{bold}{number}/{of} {}{plain}\n{}", phase.name, indented(&phase.story)));
    }

    /// How it stands.
    pub(super) fn show(&mut self, backends: &[SocketAddr], phase: &Phase, tally: &Tally) {
        if !self.live {
            return;
        }
        let table = table(backends, &phase.served, tally);
        let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
        self.put(&format!("{up}{table}"));
        self.lines = table.lines().count();
    }

    /// How it went.
    pub(super) fn end(&mut self, backends: &[SocketAddr], phase: &Phase, result: &judge::Outcome) {
        if self.live {
            self.show(backends, phase, &result.settled);
        } else {
            self.put(&format!("    {}\n", counts(&result.settled)));
        }
        if let Some(testers) = &result.testers {
            self.say(&format!("    of these by testers: {}", by_backend(testers)));
        }
        for said in &result.policies {
            self.say(&format!("    the sidecar says: {said}"));
        }
        let (all, unit) = (result.changing.sent + result.settled.sent, result.protocol.unit());
        if result.complaints.is_empty() {
            self.say(&format!("    ok: {all} {unit}, no error\n"));
        } else {
            self.say(&format!("    NOT as it must be:\n{}\n", indented(&result.complaints.join("\n"))));
        }
    }

    /// A reader that has gone away must not end the demo.
    fn put(&self, text: &str) {
        let _ = if self.to_stderr {
            io::stderr().write_all(text.as_bytes())
        } else {
            io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())
        };
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Every backend that there is, so that the table keeps its shape from phase to phase.
fn table(backends: &[SocketAddr], served: &[SocketAddr], tally: &Tally) -> String {
    let most = backends.iter().map(|backend| tally.of(backend)).max().unwrap_or_default().max(1);
    let rows = backends.iter().map(|backend| {
        let count = tally.of(backend);
        let bar = match served.contains(backend) {
            true => "█".repeat(usize::try_from(count * BAR / most).unwrap_or_default()),
            false => "· to get nothing".to_owned(),
        };
        format!("    {:<20}{count:>8}  {bar}\n", backend.to_string())
    });
    let sum = format!("    {:<20}{:>8}  {} errors\n", "in all", tally.ended(), tally.errors);
    rows.chain([sum]).collect()
}

fn counts(tally: &Tally) -> String {
    format!("{}; errors {}", by_backend(&tally.answered), tally.errors)
}

fn by_backend(counts: &BTreeMap<SocketAddr, u64>) -> String {
    counts.iter().map(|(backend, count)| format!("{backend} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{counts, table};
    use crate::demo::tally::Tally;

    #[test]
    fn bars_are_in_proportion() {
        let backends = [1, 2, 3].map(|at| ([127, 0, 0, at], 9898).into());
        let answered = [(backends[0], 100), (backends[1], 50)].into();
        let tally = Tally { sent: 150, answered, ..Tally::default() };
        let expected = format!(
            "    127.0.0.1:9898           100  {}\n    127.0.0.2:9898            50  {}\n    127.0.0.3:9898             \
             0  · to get nothing\n    in all                   150  0 errors\n",
            "█".repeat(32),
            "█".repeat(16)
        );
        assert_eq!(table(&backends, &backends[..2], &tally), expected);
        assert_eq!(counts(&tally), "127.0.0.1:9898 100, 127.0.0.2:9898 50; errors 0");
    }

    #[test]
    fn nothing_yet_is_no_division_by_zero() {
        let backend = "127.0.0.1:1".parse().unwrap();
        assert!(table(&[backend], &[backend], &Tally::default()).contains("127.0.0.1:1"));
    }
}
