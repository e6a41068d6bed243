//! Our own load: it stops between warm-up and measurement, so that both accounts are read while nothing moves.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Answers, Order, Outcome, spent};
use crate::bench::arena::Arena;
use crate::bench::tool::Tool;

/// Of a check: enough for every backend to be chosen, and for connections to be shared.
const CHECK_CONNECTIONS: usize = 12;
const CHECK_SECONDS: f64 = 0.3;

pub(super) fn run(arena: &Arena, order: &Order, exchange: &str) -> Result<Outcome> {
    let mut load =
        start(arena, order.targets, exchange, order.connections, order.rate, order.seconds, order.warm_up())?;
    let before = order.settled();
    let report = measure(&mut load)?;
    let after = order.settled();
    load.end()?;
    let mut outcome = outcome(&report)?;
    outcome.cpu = spent(before, after);
    outcome.rss = after.map(|usage| usage.rss);
    Ok(outcome)
}

pub(super) fn answers(arena: &Arena, targets: &[String], exchange: &str) -> Result<Answers> {
    let mut load = start(arena, targets, exchange, CHECK_CONNECTIONS, None, CHECK_SECONDS, 0.0)?;
    let report = measure(&mut load)?;
    load.end()?;
    if let Some(error) = report["first_error"].as_str() {
        bail!("{error}");
    }
    let answers = report["backends"].as_object().context("a report without backends")?;
    Ok(answers.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect())
}

/// Starts the load and waits for the end of its warm-up.
fn start(
    arena: &Arena,
    targets: &[String],
    exchange: &str,
    connections: usize,
    rate: Option<f64>,
    seconds: f64,
    warm_up: f64,
) -> Result<Tool> {
    let mut args: Vec<_> = ["load", "--exchange", exchange].map(str::to_owned).into();
    args.extend([
        format!("--connections={connections}"),
        format!("--seconds={seconds}"),
        format!("--warm-up={warm_up}"),
    ]);
    args.extend(rate.map(|rate| format!("--rate={rate}")));
    args.extend(targets.iter().map(|target| format!("--to={target}")));
    let mut load = Tool::start(arena, &args)?;
    load.line()?;
    Ok(load)
}

fn measure(load: &mut Tool) -> Result<Value> {
    load.go()?;
    Ok(serde_json::from_str(&load.line()?)?)
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
