//! What the measurements say: a table for people, one JSON object for programs.

use serde_json::{Value, json};

use super::load::Outcome;
use super::measure::Measure;
use super::options::Bench;
use super::stats::Spread;

/// One proxy at one setting, over all rounds.
#[derive(Debug)]
pub(super) struct Row {
    measure: Measure,
    connections: usize,
    proxy: &'static str,
    version: String,
    /// By round.
    samples: Vec<(usize, Outcome)>,
    /// The first thing that went wrong.
    error: Option<String>,
    errors: u64,
}

const BESIDE: [&str; 2] = ["haproxy", "envoy"];

impl Row {
    pub(super) fn new(measure: Measure, connections: usize, proxy: &'static str, version: &str) -> Self {
        let version = version.to_owned();
        Self { measure, connections, proxy, version, samples: Vec::new(), error: None, errors: 0 }
    }

    pub(super) fn is(&self, measure: Measure, connections: usize, proxy: &str) -> bool {
        (self.measure, self.connections, self.proxy) == (measure, connections, proxy)
    }

    pub(super) fn take(&mut self, round: usize, outcome: Result<Outcome, String>) {
        match outcome {
            Ok(outcome) => {
                self.errors += outcome.errors;
                self.error = self.error.take().or_else(|| outcome.first_error.clone());
                self.samples.push((round, outcome));
            }
            Err(error) => {
                self.errors += 1;
                self.error.get_or_insert(error);
            }
        }
    }

    /// Every answer in every round was right.
    pub(super) fn is_good(&self) -> bool {
        self.error.is_none() && !self.samples.is_empty()
    }

    /// What it managed in a round, in exchanges a second.
    pub(super) fn rate_in(&self, round: usize) -> Option<f64> {
        self.figures(rate).iter().find(|(of, _)| *of == round).map(|(_, rate)| *rate)
    }

    fn spread(&self, figure: fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.figures(figure).into_iter().map(|(_, figure)| figure))
    }

    fn figures(&self, figure: fn(&Outcome) -> Option<f64>) -> Vec<(usize, f64)> {
        self.samples.iter().filter_map(|(round, outcome)| Some((*round, figure(outcome)?))).collect()
    }

    /// The row of another proxy at the same setting.
    fn beside<'a>(&self, rows: &'a [Self], proxy: &str) -> Option<&'a Self> {
        rows.iter().find(|row| row.is(self.measure, self.connections, proxy))
    }

    /// Our CPU time per request in units of another proxy's, of the same round.
    fn cpu_beside(&self, rows: &[Self], proxy: &str) -> Option<Spread> {
        let other = self.beside(rows, proxy)?;
        Spread::of_pairs(&self.figures(cpu_us), &other.figures(cpu_us), |ours, theirs| ours / theirs)
    }

    /// What the proxy adds to the time of an exchange.
    fn added(&self, rows: &[Self]) -> Option<Spread> {
        let direct = self.beside(rows, "direct").filter(|direct| direct.proxy != self.proxy)?;
        Spread::of_pairs(&self.figures(p50), &direct.figures(p50), |ours, direct| ours - direct)
    }
}

fn rate(outcome: &Outcome) -> Option<f64> {
    (outcome.seconds > 0.0).then(|| outcome.requests as f64 / outcome.seconds)
}

fn cpu_us(outcome: &Outcome) -> Option<f64> {
    (outcome.requests > 0).then_some(outcome.cpu? as f64 / 1000.0 / outcome.requests as f64)
}

#[expect(clippy::unnecessary_wraps, reason = "as the other figures, of which some may be missing")]
fn p50(outcome: &Outcome) -> Option<f64> {
    Some(outcome.p50_us)
}

#[expect(clippy::unnecessary_wraps, reason = "as the other figures, of which some may be missing")]
fn p99(outcome: &Outcome) -> Option<f64> {
    Some(outcome.p99_us)
}

fn rss(outcome: &Outcome) -> Option<f64> {
    outcome.rss.map(|rss| rss as f64)
}

/// The table; with `--json` on stderr, and the JSON object as the last line of stdout.
pub(super) fn print(options: &Bench, rows: &[Row]) {
    let table = table(rows);
    if options.json {
        eprintln!("{table}");
        println!("{}", json!({ "results": rows.iter().map(|row| result(row, rows)).collect::<Vec<_>>() }));
    } else {
        println!("{table}");
    }
}

fn result(row: &Row, rows: &[Row]) -> Value {
    let median = |spread: Option<Spread>, digits| spread.map(|spread| round(spread.median, digits));
    let (rate, cpu) = (row.spread(rate), row.spread(cpu_us));
    let mut result = json!({
        "measure": row.measure.name(),
        "proxy": row.proxy,
        "version": row.version,
        "connections": row.connections,
        "requests_per_second": median(rate, 0),
        "requests_per_second_min": rate.map(|rate| round(rate.min, 0)),
        "requests_per_second_max": rate.map(|rate| round(rate.max, 0)),
        "cpu_us_per_request": median(cpu, 2),
        "cpu_us_per_request_min": cpu.map(|cpu| round(cpu.min, 2)),
        "cpu_us_per_request_max": cpu.map(|cpu| round(cpu.max, 2)),
        "p50_us": median(row.spread(p50), 1),
        "p99_us": median(row.spread(p99), 1),
        "p50_added_us": median(row.added(rows), 1),
        "rss_kib": median(row.spread(rss), 0),
        "rounds": row.samples.len(),
        "errors": row.errors,
        "error": row.error,
    });
    for other in BESIDE {
        result[format!("cpu_to_{other}")] = json!(median(row.cpu_beside(rows, other), 3));
    }
    if let Some(bytes) = row.measure.bytes() {
        result["bytes_per_second"] = json!(rate.map(|rate| round(rate.median * bytes, 0)));
    }
    if row.measure == Measure::TcpConnections {
        result["connections_per_second"] = result["requests_per_second"].clone();
        result["cpu_us_per_connection"] = result["cpu_us_per_request"].clone();
    }
    result
}

fn round(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

fn table(rows: &[Row]) -> String {
    let mut table = String::new();
    let mut setting = None;
    for row in rows {
        if setting.replace((row.measure, row.connections)) != Some((row.measure, row.connections)) {
            table += &format!(
                "\n{}, connections: {}\n{:<13}{:>9}  {:<17}{:>8}  {:<15}{:>9}{:>9}{:>9}{:>9}  {:<17}{:<17}\n",
                row.measure.name(),
                row.connections,
                "proxy",
                "req/s",
                "(range)",
                "CPU µs",
                "(range)",
                "p50 µs",
                "added",
                "p99 µs",
                "RSS KiB",
                "CPU ÷ haproxy",
                "CPU ÷ envoy"
            );
        }
        table += &line(row, rows);
    }
    for row in rows.iter().filter(|row| !row.is_good()) {
        let error = row.error.as_deref().unwrap_or("no samples");
        let (measure, connections, proxy) = (row.measure.name(), row.connections, row.proxy);
        table += &format!("\nERROR {proxy}, {measure}, {connections} connections ({} in all): {error}", row.errors);
    }
    table
}

fn line(row: &Row, rows: &[Row]) -> String {
    let number = |spread: Option<Spread>, digits| spread.map_or("-".to_owned(), |s| format!("{:.digits$}", s.median));
    let range = |spread: Option<Spread>, digits| {
        spread.map_or(String::new(), |s| format!("({:.digits$}–{:.digits$})", s.min, s.max))
    };
    let both = |spread, digits| format!("{} {}", number(spread, digits), range(spread, digits));
    let (rate, cpu) = (row.spread(rate), row.spread(cpu_us));
    format!(
        "{:<13}{:>9}  {:<17}{:>8}  {:<15}{:>9}{:>9}{:>9}{:>9}  {:<17}{:<17}{}\n",
        row.proxy,
        number(rate, 0),
        range(rate, 0),
        number(cpu, 2),
        range(cpu, 2),
        number(row.spread(p50), 1),
        number(row.added(rows), 1),
        number(row.spread(p99), 1),
        number(row.spread(rss), 0),
        both(row.cpu_beside(rows, "haproxy"), 2),
        both(row.cpu_beside(rows, "envoy"), 2),
        if row.is_good() { "" } else { "ERROR" },
    )
}

#[cfg(test)]
mod tests {
    use super::{Measure, Outcome, Row, result, table};

    fn outcome(requests: u64, cpu: Option<u64>) -> Outcome {
        Outcome { requests, seconds: 2.0, p50_us: 50.0, p99_us: 90.0, cpu, rss: Some(1024), ..Outcome::default() }
    }

    fn row(measure: Measure, proxy: &'static str, outcomes: &[Outcome]) -> Row {
        let mut row = Row::new(measure, 32, proxy, "1.0");
        outcomes.iter().enumerate().for_each(|(round, outcome)| row.take(round, Ok(outcome.clone())));
        row
    }

    #[test]
    fn a_result_has_the_promised_fields() {
        let ours = row(Measure::Http, "wasmesh", &[outcome(1000, Some(10_000_000)), outcome(2000, Some(40_000_000))]);
        let theirs = row(Measure::Http, "haproxy", &[outcome(1000, Some(20_000_000)), outcome(1000, Some(20_000_000))]);
        let rows = [ours, theirs];
        let result = result(&rows[0], &rows);
        let expected = [
            ("requests_per_second", 750.0),
            ("cpu_us_per_request", 15.0),
            ("cpu_us_per_request_max", 20.0),
            ("p50_us", 50.0),
            ("p99_us", 90.0),
            ("rss_kib", 1024.0),
            ("connections", 32.0),
            ("cpu_to_haproxy", 0.75),
        ];
        for (name, value) in expected {
            assert_eq!(result[name].as_f64(), Some(value), "{name}: {result}");
        }
        assert_eq!((result["proxy"].as_str(), result["version"].as_str()), (Some("wasmesh"), Some("1.0")));
        assert!(result["cpu_to_envoy"].is_null() && result["error"].is_null());
    }

    #[test]
    fn what_cannot_be_measured_is_null_and_what_fails_is_marked() {
        let direct = row(Measure::TcpThroughput, "direct", &[outcome(1000, None)]);
        assert!(result(&direct, &[])["cpu_us_per_request"].is_null());
        assert_eq!(result(&direct, &[])["bytes_per_second"].as_f64(), Some(500.0 * 131_072.0));
        let mut failed = row(Measure::Grpc, "wasmesh", &[]);
        failed.take(0, Err("refused".to_owned()));
        assert!(!failed.is_good());
        assert!(result(&failed, &[])["requests_per_second"].is_null());
        let table = table(&[failed]);
        assert!(table.contains("ERROR wasmesh, grpc, 32 connections (1 in all): refused"), "{table}");
    }
}
