//! nghttp2's load for HTTP/2. Its log has every request, so that percentiles are exact.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Answers, Order, Outcome, spent};
use crate::bench::accounting::usage;
use crate::bench::arena::{Arena, CLIENT_UID};
use crate::bench::measure::{Call, GRPC_UNARY};

const HEADERS: [&str; 4] = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
const REQUEST: &str = "grpc-request";
const REQUEST_BYTES: usize = 128;

pub(super) fn run(arena: &Arena, order: &Order, call: Call) -> Result<Outcome> {
    let log = arena.path("h2load.log");
    let mut load = Load { arena, order, call, log: &log };
    load.run(order.warm_up(), |_| ())?;
    let before = order.settled();
    // Connections end with h2load: memory is looked at before.
    let (printed, rss) = load.run(order.seconds, |seconds| {
        thread::sleep(Duration::from_secs_f64(seconds * 0.8));
        order.measured.map(|process| usage(process).rss)
    })?;
    let after = order.settled();
    let mut outcome = outcome(&printed, &fs::read_to_string(&log)?, order.seconds, call.bytes)?;
    outcome.cpu = spent(before, after);
    outcome.rss = rss;
    Ok(outcome)
}

/// From several connections with several requests each, as one of them may be balanced as a whole. nghttp mixes up what is longer
/// than a frame, so these are short ones.
pub(super) fn answers(arena: &Arena, targets: &[String]) -> Result<Answers> {
    let call = GRPC_UNARY;
    let request = request(arena)?;
    let mut answers = Answers::new();
    for target in targets.iter().cycle().take(9) {
        let mut nghttp = Command::new("nghttp");
        nghttp.args(["--timeout", "5"]).args(HEADERS).arg("--data").arg(&request);
        nghttp.args((0..9).map(|number| format!("http://{target}{}?{number}", call.path)));
        let output = nghttp.uid(CLIENT_UID).gid(CLIENT_UID).stdin(Stdio::null()).output()?;
        let bodies = String::from_utf8_lossy(&output.stdout);
        let whole = bodies.lines().filter(|body| body.len() == call.bytes - 1);
        let names: Vec<_> = whole.filter_map(|body| body.chars().next()).collect();
        ensure!(names.len() == 9, "{} of 9 answers: {}", names.len(), excuse(&output.stderr, &bodies));
        names.into_iter().for_each(|name| *answers.entry(name.to_string()).or_default() += 1);
    }
    Ok(answers)
}

struct Load<'a> {
    arena: &'a Arena,
    order: &'a Order<'a>,
    call: Call,
    log: &'a Path,
}

impl Load<'_> {
    /// What h2load prints, and what is seen meanwhile.
    fn run<T>(&mut self, seconds: f64, meanwhile: impl FnOnce(f64) -> T) -> Result<(String, T)> {
        let _ = fs::remove_file(self.log);
        let target = self.order.targets.first().context("no target")?;
        let mut h2load = Command::new("h2load");
        h2load.args(["--threads", "1", "--clients", &self.order.connections.to_string()]);
        h2load.args([
            "--max-concurrent-streams",
            &self.order.measure.streams().to_string(),
            "--connection-inactivity-timeout",
            "5",
        ]);
        h2load.args(["--duration", &format!("{}ms", (seconds * 1000.0).round())]).args(HEADERS);
        h2load.arg("--data").arg(request(self.arena)?).arg("--log-file").arg(self.log);
        h2load.arg(format!("http://{target}{}", self.call.path));
        h2load.uid(CLIENT_UID).gid(CLIENT_UID).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = h2load.spawn().context("cannot run h2load")?;
        let seen = meanwhile(seconds);
        let output = child.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "h2load: {}", excuse(&output.stderr, &printed));
        Ok((printed, seen))
    }
}

fn request(arena: &Arena) -> Result<std::path::PathBuf> {
    arena.write(REQUEST, &"x".repeat(REQUEST_BYTES))
}

/// `requests: 30640 total, 30650 started, 30640 done, 30640 succeeded, 0 failed, 0 errored, 0 timeout`, and the log:
/// start, status and duration in microseconds.
fn outcome(printed: &str, log: &str, seconds: f64, answer: usize) -> Result<Outcome> {
    let requests = count(printed, "requests: ", "succeeded")?;
    let errors = count(printed, "requests: ", "failed")?;
    let data = printed.lines().find(|line| line.starts_with("traffic: "));
    let data = data.and_then(|line| line.rsplit_once('(')?.1.strip_suffix(") data")?.parse::<u64>().ok());
    let data = data.context("h2load prints no traffic")?;
    // Those cut at the end have sent a part.
    let whole = data >= requests * answer as u64;
    let mut durations: Vec<_> = log.lines().filter_map(duration).collect();
    durations.sort_unstable();
    let (Some(p50_us), Some(p99_us)) = (percentile(&durations, 50), percentile(&durations, 99)) else {
        bail!("no answer with status 200: {}", summary(printed));
    };
    let first_error = match (errors, whole) {
        (0, true) => None,
        (0, false) => Some(format!("bodies are not whole: {data} bytes in {requests} answers")),
        _ => Some(summary(printed)),
    };
    let errors = errors + u64::from(!whole);
    Ok(Outcome { requests, seconds, p50_us, p99_us, errors, first_error, ..Outcome::default() })
}

fn duration(line: &str) -> Option<u32> {
    let mut fields = line.split('\t').skip(1);
    (fields.next()? == "200").then_some(())?;
    fields.next()?.parse().ok()
}

/// Of sorted durations, by nearest rank.
fn percentile(sorted: &[u32], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().map(f64::from)
}

fn count(printed: &str, line: &str, what: &str) -> Result<u64> {
    let counts = printed.lines().find_map(|found| found.strip_prefix(line)).context("h2load prints no counts")?;
    let count = counts.split(", ").find_map(|count| count.strip_suffix(what)?.trim().parse().ok());
    count.with_context(|| format!("h2load does not say how many {what}: {counts}"))
}

fn summary(printed: &str) -> String {
    let lines = printed.lines().filter(|line| line.starts_with("requests: ") || line.starts_with("status codes: "));
    lines.collect::<Vec<_>>().join("; ")
}

fn excuse(stderr: &[u8], otherwise: &str) -> String {
    let stderr = String::from_utf8_lossy(stderr);
    let said = if stderr.trim().is_empty() { otherwise } else { &stderr };
    said.trim().chars().take(200).collect::<String>().replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::{Outcome, outcome};

    const LOG: &str = "1795184735536572\t200\t366\n1795184735536573\t200\t394\n1795184735536573\t503\t9\n";

    fn printed(succeeded: u64, failed: u64, data: u64) -> String {
        format!(
            "finished in 1.00s\nrequests: 3 total, 4 started, 3 done, {succeeded} succeeded, {failed} failed, 0 errored, \
             0 timeout\nstatus codes: 2 2xx, 0 3xx, 0 4xx, 1 5xx\ntraffic: 4.88MB (5118) total, 32KB (33) headers (space \
             savings 93.64%), 3.74MB ({data}) data\n"
        )
    }

    #[test]
    fn good_answers_are_counted_and_timed() {
        let good = Outcome { requests: 2, seconds: 1.0, p50_us: 366.0, p99_us: 394.0, ..Outcome::default() };
        assert_eq!(outcome(&printed(2, 0, 256), LOG, 1.0, 128).unwrap(), good);
    }

    #[test]
    fn bad_answers_are_errors() {
        let failed = outcome(&printed(2, 1, 300), LOG, 1.0, 128).unwrap();
        assert!(failed.errors == 1 && failed.first_error.unwrap().contains("1 5xx"));
        let cut = outcome(&printed(2, 0, 255), LOG, 1.0, 128).unwrap();
        assert!(cut.errors == 1 && cut.first_error.unwrap().contains("not whole"));
        assert!(outcome(&printed(0, 0, 0), "", 1.0, 128).is_err());
        assert!(outcome("", LOG, 1.0, 128).is_err());
    }
}
