//! Our own load: it stops between warm-up and measurement, so that both accounts are read while nothing moves.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Answers, Order, Outcome, spent};
use crate::bench::arena::{Arena, CLIENT_UID};

/// Of a check: enough for every backend to be chosen, and for connections to be shared.
const CHECK_CONNECTIONS: usize = 12;
const CHECK_SECONDS: f64 = 0.3;

pub(super) fn run(arena: &Arena, order: &Order, exchange: &str) -> Result<Outcome> {
    let mut load =
        Load::start(arena, order.targets, exchange, order.connections, order.rate, order.seconds, order.warm_up())?;
    let before = order.settled();
    let report = load.measure()?;
    let after = order.settled();
    load.end()?;
    let mut outcome = outcome(&report)?;
    outcome.cpu = spent(before, after);
    outcome.rss = after.map(|usage| usage.rss);
    Ok(outcome)
}

pub(super) fn answers(arena: &Arena, targets: &[String], exchange: &str) -> Result<Answers> {
    let mut load = Load::start(arena, targets, exchange, CHECK_CONNECTIONS, None, CHECK_SECONDS, 0.0)?;
    let report = load.measure()?;
    load.end()?;
    if let Some(error) = report["first_error"].as_str() {
        bail!("{error}");
    }
    let answers = report["backends"].as_object().context("a report without backends")?;
    Ok(answers.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
}

struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Load {
    /// Starts the load and waits for the end of its warm-up.
    fn start(
        arena: &Arena,
        targets: &[String],
        exchange: &str,
        connections: usize,
        rate: Option<f64>,
        seconds: f64,
        warm_up: f64,
    ) -> Result<Self> {
        let mut command = Command::new(arena.path("wasmesh-bench-tools"));
        command.args(["load", "--exchange", exchange, "--connections", &connections.to_string()]);
        command.args(["--seconds", &seconds.to_string(), "--warm-up", &warm_up.to_string()]);
        command.args(rate.map(|rate| format!("--rate={rate}")));
        command.args(targets.iter().flat_map(|target| ["--to", target]));
        command.uid(CLIENT_UID).gid(CLIENT_UID);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run the load")?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("stdout was piped")?).lines();
        let mut load = Self { child, stdin, stdout };
        load.line()?;
        Ok(load)
    }

    fn measure(&mut self) -> Result<Value> {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(b"go\n")?;
        }
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// The connections are kept until here.
    fn end(mut self) -> Result<()> {
        self.stdin = None;
        self.child.wait()?;
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        if let Some(line) = self.stdout.next() {
            return Ok(line?);
        }
        let complaint = self.child.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
        bail!("{}", complaint.trim().trim_start_matches("Error: "))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn outcome(report: &Value) -> Result<Outcome> {
    let number = |name: &str| report[name].as_f64().with_context(|| format!("a report without {name}: {report}"));
    Ok(Outcome {
        requests: report["requests"].as_u64().context("a report without requests")?,
        seconds: number("seconds")?,
        p50_us: number("p50_us")?,
        p99_us: number("p99_us")?,
        errors: report["errors"].as_u64().context("a report without errors")?,
        first_error: report["first_error"].as_str().map(str::to_owned),
        ..Outcome::default()
    })
}
