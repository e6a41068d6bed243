//! `cargo xtask test`: every rung in turn, failures told late, skips told loudly.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::cargo::{cargo, guests, succeeds};
use crate::failures::Failures;
use crate::prerequisites::Machine;
use crate::rungs::{Rung, Step};
use crate::stream::{self, Shown};
use crate::tally::Tally;
use crate::{conformance, demo, drill, images, kube, options};

/// What became of a rung.
#[derive(Debug)]
struct Report {
    rung: &'static str,
    verdict: Verdict,
    took: Duration,
    tally: Tally,
    /// Optional steps that were left out, and why.
    left_out: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    /// It could not run, for this reason.
    Skipped(String),
}

/// Runs the chosen rungs and reports; fails if one failed, or could not run and that is not allowed.
pub(crate) fn run(options: &options::Test) -> Result<ExitCode> {
    let mut machine = Machine::default();
    let reports: Vec<_> = options.rungs().map(|rung| climb(rung, &mut machine)).collect();
    let good = reports.iter().all(|report| match report.verdict {
        Verdict::Passed => true,
        Verdict::Failed => false,
        Verdict::Skipped(_) => options.allow_skips,
    });
    print(&reports, options.allow_skips);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn climb(rung: &Rung, machine: &mut Machine) -> Report {
    eprintln!("\nxtask: rung {}", rung.name);
    let start = Instant::now();
    let mut report = Report {
        rung: rung.name,
        verdict: Verdict::Passed,
        took: start.elapsed(),
        tally: Tally::default(),
        left_out: vec![],
        notes: vec![],
    };
    match machine.provide(rung.needs) {
        Ok(()) => rung.steps.iter().for_each(|step| report.take(step)),
        Err(obstacle) => report.skip(obstacle),
    }
    report.took = start.elapsed();
    report
}

impl Report {
    fn take(&mut self, step: &Step) {
        let failed_before = self.tally.failed;
        let outcome = match step {
            Step::CargoIf { first, then, else_because } if !succeeds(first) => {
                self.left_out.push(format!("cargo {}: {else_because}", then.join(" ")));
                self.tally.skipped += 1;
                Ok(())
            }
            Step::Cargo(args) | Step::CargoIf { then: args, .. } => self.cargo(cargo(args), args),
            Step::Guests(args) => self.cargo(guests(args), args),
            Step::Kube(args) => kube::folder().and_then(|folder| {
                let mut command = cargo(args);
                command.env(kube::VARIABLE, folder);
                self.cargo(command, args)
            }),
            Step::Cluster(args) => kube::folder().and_then(|folder| {
                let mut command = cargo(args);
                command.env(kube::VARIABLE, folder).env(images::VARIABLE, images::build(false)?);
                self.cargo(command, args)
            }),
            Step::Demo => demo::check(),
            Step::Drill => drill::check(&mut self.tally, &mut self.notes),
            Step::Conformance => conformance::check(&mut self.tally, &mut self.notes),
        };
        if let Err(error) = outcome {
            eprintln!("xtask: {error:#}");
            self.verdict = Verdict::Failed;
            self.notes.push(format!("{error:#}"));
            // What fails without a failing test, a lint or a compile error, still shows in the sum.
            self.tally.failed = self.tally.failed.max(failed_before + 1);
        }
    }

    fn cargo(&mut self, mut command: Command, args: &[&str]) -> Result<()> {
        eprintln!("xtask: cargo {}", args.join(" "));
        let tally = &mut self.tally;
        let mut failures = Failures::default();
        let status = stream::run(&mut command, Shown::Live, |line| {
            *tally += Tally::parse(line).unwrap_or_default();
            failures.see(line);
        });
        self.notes.extend(failures.notes());
        ensure!(status?.success(), "`cargo {}` failed", args.join(" "));
        Ok(())
    }

    fn skip(&mut self, obstacle: String) {
        self.verdict = Verdict::Skipped(obstacle);
        self.tally.skipped += 1;
    }
}

fn print(reports: &[Report], allow_skips: bool) {
    println!("\n{:<8}{:<9}{:>8}", "rung", "result", "seconds");
    let mut sum = Tally::default();
    for Report { rung, verdict, took, tally, left_out, .. } in reports {
        let result = match verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Skipped(_) => "SKIPPED",
        };
        println!("{rung:<8}{result:<9}{:>8.1}", took.as_secs_f64());
        for step in left_out {
            println!("{:<8}{:<9}{:>8}  {step}", "", "skipped", "-");
        }
        sum += *tally;
    }
    println!();
    for Report { rung, verdict, notes, .. } in reports {
        notes.iter().for_each(|note| println!("{rung}: {note}"));
        if let Verdict::Skipped(obstacle) = verdict {
            let consequence = if allow_skips { "allowed" } else { "fails the run; --allow-skips allows it" };
            println!("{rung}: could not run ({consequence}): {obstacle}");
        }
    }
    println!("{sum}");
}

#[cfg(test)]
mod tests {
    use super::{Report, Verdict, climb};
    use crate::prerequisites::Machine;
    use crate::rungs::{Need, Rung, Step};

    fn climbed(rung: &'static Rung) -> Report {
        climb(rung, &mut Machine::default())
    }

    #[test]
    fn a_step_that_fails_without_a_test_counts_as_one_failure_and_the_next_still_runs() {
        const RUNG: Rung = Rung {
            name: "broken",
            needs: &[],
            steps: &[Step::Cargo(&["no-such-command"]), Step::Cargo(&["no-such-command"])],
        };
        let report = climbed(&RUNG);
        assert_eq!(report.verdict, Verdict::Failed);
        assert_eq!(report.tally.to_string(), "0 passed, 2 failed, 0 skipped");
        assert_eq!(report.notes, ["`cargo no-such-command` failed", "`cargo no-such-command` failed"]);
    }

    #[test]
    fn an_optional_step_that_is_left_out_is_a_skip_and_no_failure() {
        const RUNG: Rung = Rung {
            name: "deny",
            needs: &[],
            steps: &[Step::CargoIf {
                first: &["no-such-command"],
                then: &["no-such-command", "either"],
                else_because: "the network is down",
            }],
        };
        let report = climbed(&RUNG);
        assert_eq!(report.verdict, Verdict::Passed);
        assert_eq!(report.tally.to_string(), "0 passed, 0 failed, 1 skipped");
        assert_eq!(report.left_out, ["cargo no-such-command either: the network is down"]);
    }

    #[test]
    fn a_rung_that_cannot_run_never_passes() {
        const RUNG: Rung =
            Rung { name: "far", needs: &[Need::Works { what: "wings", script: "exit 1" }], steps: &[Step::Demo] };
        let report = climbed(&RUNG);
        assert!(matches!(report.verdict, Verdict::Skipped(_)), "{report:?}");
        assert_eq!(report.tally.to_string(), "0 passed, 0 failed, 1 skipped");
    }
}
