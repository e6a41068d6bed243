//! `wasmesh policy simulate`: what a policy does to latency, load and failures, before anybody's traffic meets it.
//!
//! A discrete-event simulation of clients, sidecars with what each of them knows, and endpoints with lines in front of them. The
//! policies are the real ones, on the host that sidecars use. All that is random follows from a seed, and every policy meets
//! the same requests: the same seed gives the same bytes.

mod body;
mod engine;
mod outcome;
mod plot;
mod random;
mod report;
mod scenario;
mod servers;
mod sidecar;

use std::{fs, process::ExitCode};

use anyhow::Context;
use wasmesh_core::policy::BuiltinPolicy;
use wasmesh_policy_host::{Calls, Grants};

use self::{report::Report, scenario::Scenario, sidecar::Subject};
use super::{bench::name_of, load::load_for};
use crate::options;

/// Simulates and prints.
pub(super) fn run(options: &options::Simulate) -> anyhow::Result<ExitCode> {
    let scenario = Scenario::read(&options.scenario)?;
    let seed = options.seed.unwrap_or(scenario.seed);
    let mut subjects = Vec::new();
    if let Some(file) = &options.file {
        let sidecars = scenario.clients.sidecars;
        let policy = load_for(file, &options.config, Calls::DirectIfPossible, Grants::ALL, sidecars)?;
        subjects.push(Subject::Module { name: name_of(file), policy, fallback: BuiltinPolicy::LeastRequest });
    }
    subjects.extend(options.against.iter().copied().map(Subject::Builtin));
    let seconds = if options.plot.is_some() { scenario.seconds as usize } else { 0 };
    let groups = scenario.endpoints.iter().flat_map(|group| std::iter::repeat_n(group, group.count));
    let zones: Vec<_> = groups.map(|group| group.zone.as_str()).collect();
    let mut outcomes = Vec::new();
    let mut rows = Vec::new();
    for subject in &subjects {
        let mut outcome = engine::simulate(&scenario, seed, subject, seconds);
        rows.push(report::Row::new(&mut outcome, subject, &zones));
        // The row has what was wanted of it.
        outcome.latencies_us = Vec::new();
        outcomes.push(outcome);
    }
    let report = Report::new(seed, rows);
    if let Some(file) = &options.plot {
        let svg = plot::svg(&mut outcomes, scenario.seconds);
        fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if options.json {
        eprint!("{}", report.text());
        crate::commands::print(&format!("{}\n", serde_json::to_string(&report)?))
    } else {
        crate::commands::print(&report.text())
    }
}

#[cfg(test)]
mod tests {
    use super::{engine::simulate, outcome::Outcome, scenario::Scenario, sidecar::Subject};

    const ONE_SLOW: &str = "
seconds: 20
clients: { sidecars: 5, requestsPerSecond: 400 }
endpoints:
- { count: 4, serviceTime: { median: 10, p99: 30 }, atOnce: 8 }
- { serviceTime: { median: 80, p99: 240 }, atOnce: 8 }
";

    fn played(scenario: &str, policy: &str, seed: u64) -> Outcome {
        let scenario = Scenario::parse(scenario).unwrap();
        simulate(&scenario, seed, &Subject::Builtin(policy.parse().unwrap()), 0)
    }

    #[test]
    fn the_same_seed_gives_the_same_and_another_one_does_not() {
        let [one, again, other] = [7, 7, 8].map(|seed| played(ONE_SLOW, "least-request", seed));
        assert_eq!((&one.latencies_us, &one.taken), (&again.latencies_us, &again.taken));
        assert_ne!(one.latencies_us, other.latencies_us);
    }

    #[test]
    fn every_request_is_accounted_for_and_comes_at_the_rate_that_was_asked_for() {
        let outcome = played(ONE_SLOW, "round-robin", 1);
        assert_eq!(outcome.requests(), outcome.taken.iter().sum::<u64>());
        assert!((7_600..8_400).contains(&outcome.requests()), "{}", outcome.requests());
        assert_eq!(outcome.errors, 0);
    }

    #[test]
    fn least_request_beats_round_robin_where_one_endpoint_is_slow() {
        let mut turns = played(ONE_SLOW, "round-robin", 1);
        let mut least = played(ONE_SLOW, "least-request", 1);
        let (turns, least) = (turns.percentile_ms(99.0).unwrap(), least.percentile_ms(99.0).unwrap());
        assert!(least < turns * 0.9, "p99 {least} ms and {turns} ms");
    }

    /// One server with exponential-like work and one place is close to theory: at load 0.5 the mean wait of M/G/1 is
    /// rho / (1 - rho) * (1 + cv²) / 2 services.
    #[test]
    fn a_line_is_as_long_as_theory_says() {
        let scenario = "
seconds: 400
clients: { sidecars: 1, requestsPerSecond: 50 }
network: { sameZone: 0, crossZone: 0, membershipDelay: 0 }
endpoints: [{ serviceTime: { median: 10, p99: 10 }, atOnce: 1 }]
";
        let outcome = played(scenario, "random", 3);
        let mean_ms = outcome.latencies_us.iter().map(|latency| f64::from(*latency)).sum::<f64>()
            / outcome.latencies_us.len() as f64
            / 1e3;
        // M/D/1: 10 ms of work and 5 ms of waiting.
        assert!((mean_ms - 15.0).abs() < 0.6, "{mean_ms}");
    }

    #[test]
    fn a_pod_that_returns_is_another_one_and_every_sidecar_knows_it() {
        let keyed =
            ONE_SLOW.replace("requestsPerSecond: 400", "requestsPerSecond: 400, keys: { path: { distinct: 50 } }");
        let events = "events: [{ at: 5, endpoints: [0], present: false }, { at: 5.1, endpoints: [0], present: true }]";
        let outcome = played(&format!("{keyed}{events}\n"), "round-robin", 1);
        // Forgotten by one sidecar for good it would have a sixth less.
        let share = outcome.taken[0] as f64 / outcome.taken[1] as f64;
        assert!((0.95..1.05).contains(&share), "{:?}", outcome.taken);
        assert_eq!(outcome.errors, 0);
    }

    #[test]
    fn without_a_good_answer_there_is_no_percentile() {
        let failing = ONE_SLOW.replace("atOnce: 8", "atOnce: 8, failing: 1");
        let mut outcome = played(&failing, "round-robin", 1);
        assert_eq!(outcome.percentile_ms(99.0), None);
        assert_eq!(outcome.requests(), outcome.errors);
    }

    #[test]
    fn whoever_comes_is_slow_until_it_is_warm() {
        let scenario = Scenario::parse(
            "
seconds: 20
clients: { sidecars: 1, requestsPerSecond: 50 }
network: { sameZone: 0, crossZone: 0, membershipDelay: 0 }
endpoints:
- { serviceTime: { median: 10, p99: 10 }, atOnce: 99, present: false, warmUp: { seconds: 10, slower: 5 } }
events: [{ at: 0, endpoints: [0], present: true }]
",
        )
        .unwrap();
        let outcome = simulate(&scenario, 1, &Subject::Builtin("random".parse().unwrap()), 20);
        let ms = |second: usize| f64::from(outcome.by_second[second][0]) / 1e3;
        assert!((46.0..50.1).contains(&ms(0)) && (27.0..31.0).contains(&ms(5)), "{} {}", ms(0), ms(5));
        assert!(outcome.by_second[11..].iter().flatten().all(|latency_us| *latency_us == 10_000));
        assert_eq!(outcome.errors, 0);
    }

    #[test]
    fn a_request_for_somebody_else_is_an_error_that_ejects_nobody() {
        let outcome = played(
            "
seconds: 60
clients: { sidecars: 2, requestsPerSecond: 200, keys: { path: { named: { /a: { share: 0.5 }, /b: { share: 0.5, slower: 9 } } } } }
endpoints:
- { serviceTime: { median: 1, p99: 1 }, atOnce: 99 }
- { serviceTime: { median: 1, p99: 1 }, atOnce: 99, serves: { path: [/a] } }
",
            "random",
            1,
        );
        let share = outcome.errors as f64 / outcome.requests() as f64;
        assert!((0.23..0.27).contains(&share), "a quarter: those for /b at the other one, not {share}");
        let slow = outcome.latencies_us.iter().filter(|latency_us| **latency_us > 5_000).count();
        assert!((0.30..0.37).contains(&(slow as f64 / outcome.latencies_us.len() as f64)), "{slow} were for /b");
    }

    #[test]
    fn who_has_left_is_tried_until_it_is_known_and_nobody_loses_a_request_by_it() {
        let leaving = format!("{ONE_SLOW}events: [{{ at: 5, endpoints: [0, 1], present: false }}]\n");
        let outcome = played(&leaving, "round-robin", 1);
        assert_eq!(outcome.errors, 0, "another endpoint takes what is refused");
        assert!(outcome.taken[0] < outcome.taken[2] / 2);
    }
}
