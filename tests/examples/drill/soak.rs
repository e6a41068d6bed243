//! Hours in which everything changes and nothing may grow.

mod lines;

use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use wasmesh_tests::{Policy, netns::Netns, process::Process};

use crate::{
    endpoint::Mood,
    ground::{Ground, Listed, Setting},
    ledger::Summary,
    protocol::Protocol,
};

/// How often something changes, and how often is looked.
const STEP: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(5);

/// Until when memory may still grow: caches and pools fill up, allocators take what they keep.
const WARM_UP: Duration = Duration::from_secs(300);

/// How much more memory than at the end of the warm-up there may be at the end, in parts of a hundred.
const TOLERATED: f64 = 5.0;

/// How long a pod that is told to leave waits before it does.
const PRE_STOP: Duration = Duration::from_millis(300);

/// How many connections come and go in each step.
const VISITORS: usize = 20;

/// Policies that take turns; nothing for none.
const POLICIES: [&str; 4] = ["rust/round-robin.wasm", "", "rust/least-request.wasm", "hostile/trap.wasm"];

/// What a process has.
#[derive(Debug, Clone, Copy, Default)]
struct Footprint {
    rss_kib: u64,
    files: u64,
    threads: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    proxy: Footprint,
    control_plane: Footprint,
}

/// What came of it.
pub(crate) struct Soaked {
    samples: Vec<Sample>,
    summary: Summary,
    /// What has grown.
    pub(crate) growth: Vec<String>,
}

impl Soaked {
    /// Whether nothing has grown, and nothing was lost.
    pub(crate) fn is_flat(&self) -> bool {
        self.growth.is_empty() && self.summary.lost == 0
    }

    pub(crate) fn json(&self) -> Value {
        let footprint = |of: Footprint| json!({ "rss_kib": of.rss_kib, "files": of.files, "threads": of.threads });
        let sample = |sample: &Sample| json!({ "seconds": sample.seconds.round(), "proxy": footprint(sample.proxy), "control_plane": footprint(sample.control_plane) });
        let Summary { requests, succeeded, failed, lost, .. } = self.summary;
        json!({
            "requests": requests, "succeeded": succeeded, "failed": failed, "lost": lost,
            "growth": self.growth,
            "samples": self.samples.iter().map(sample).collect::<Vec<_>>(),
        })
    }

    /// Draws it into a file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub(crate) fn draw(&self, file: &Path) {
        let series = |name: &'static str, of: fn(&Sample) -> f64| lines::Series {
            name,
            points: self.samples.iter().map(|sample| (sample.seconds / 60.0, of(sample))).collect(),
        };
        let panels = [
            lines::Panel {
                title: "Resident memory, MiB, over minutes",
                series: vec![
                    series("proxy", |sample| sample.proxy.rss_kib as f64 / 1024.0),
                    series("control plane", |sample| sample.control_plane.rss_kib as f64 / 1024.0),
                ],
            },
            lines::Panel {
                title: "File descriptors",
                series: vec![
                    series("proxy", |sample| sample.proxy.files as f64),
                    series("control plane", |sample| sample.control_plane.files as f64),
                ],
            },
            lines::Panel {
                title: "Threads",
                series: vec![
                    series("proxy", |sample| sample.proxy.threads as f64),
                    series("control plane", |sample| sample.control_plane.threads as f64),
                ],
            },
        ];
        fs::write(file, lines::picture(&panels)).expect("a picture");
    }
}

/// Has pods replaced, policies take turns and connections come and go, for so many minutes.
pub(crate) fn soak(netns: &Netns, minutes: f64, seed: u64) -> Result<Soaked, String> {
    let mut ground = Ground::start(netns, seed, Setting::Usual);
    ground.steady()?;
    let (begun, whole) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let (mut samples, mut looked) = (Vec::new(), None::<Instant>);
    for step in 0_usize.. {
        let began = Instant::now();
        if begun.elapsed() >= whole {
            break;
        }
        replace_one(&mut ground);
        if step.is_multiple_of(10) {
            change_policy(&ground, POLICIES[(step / 10) % POLICIES.len()]);
        }
        visit(&ground);
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            let control_plane = ground.control_plane.as_ref().map(footprint).unwrap_or_default();
            samples.push(Sample {
                seconds: begun.elapsed().as_secs_f64(),
                proxy: footprint(&ground.proxy),
                control_plane,
            });
        }
        sleep(STEP.saturating_sub(began.elapsed()));
    }
    ground.steady()?;
    let summary = ground.end();
    let growth = growth(&samples);
    Ok(Soaked { samples, summary, growth })
}

/// A pod comes, the oldest one leaves as a Deployment has it leave, and the one before that is gone.
fn replace_one(ground: &mut Ground<'_>) {
    for gone in ground.terminating() {
        ground.list(gone, None);
        ground.forget(gone);
    }
    let oldest = ground.ready()[0];
    ground.add(Listed::Ready);
    ground.list(oldest, Some(Listed::Terminating));
    ground.publish();
    ground.pass(PRE_STOP);
    ground.set(oldest, Mood::Leaving);
}

fn change_policy(ground: &Ground<'_>, module: &str) {
    if module.is_empty() {
        ground.folder.remove_policy("drilled");
    } else {
        let policy = Policy::wasm("drilled", module);
        let policy = if module.starts_with("hostile") { policy.config(json!({ "every": 1_500 })) } else { policy };
        ground.apply(&policy);
    }
}

/// Connections that say something and go, in the middle of whatever they are doing.
fn visit(ground: &Ground<'_>) {
    for number in 0..VISITORS {
        let protocol = Protocol::ALL[number % Protocol::ALL.len()];
        let Ok(mut stream) = TcpStream::connect(ground.address(protocol)) else { continue };
        // Nobody waits for an answer.
        let _ = stream.write_all(b"GET /0 HTTP/1.1\r\nHost: web\r\n\r\n");
    }
}

fn footprint(process: &Process) -> Footprint {
    let folder = format!("/proc/{}", process.id());
    let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
    let field = |name: &str| {
        let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
        rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    Footprint {
        rss_kib: field("VmRSS").unwrap_or_default(),
        files: fs::read_dir(format!("{folder}/fd")).map_or(0, |files| files.count() as u64),
        threads: field("Threads").unwrap_or_default(),
    }
}

/// Something of a sample.
type Figure = fn(&Sample) -> u64;

/// What is more at the end than after the warm-up, in words. Each is the median of a minute, so that one busy moment is no growth.
fn growth(samples: &[Sample]) -> Vec<String> {
    let Some(last) = samples.last().map(|sample| sample.seconds) else { return vec!["nothing was seen".to_owned()] };
    // A soak that is shorter shows that it works.
    let warm = WARM_UP.as_secs_f64().min(last / 2.0);
    let median = |from: f64, of: Figure| {
        let mut values: Vec<_> =
            samples.iter().filter(|sample| (from..=from + 60.0).contains(&sample.seconds)).map(of).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default() as f64
    };
    let figures: [(&str, Figure, f64); 6] = [
        ("memory of the proxy", |sample| sample.proxy.rss_kib, 0.0),
        ("memory of the control plane", |sample| sample.control_plane.rss_kib, 0.0),
        // Pools breathe.
        ("files of the proxy", |sample| sample.proxy.files, 20.0),
        ("files of the control plane", |sample| sample.control_plane.files, 2.0),
        ("threads of the proxy", |sample| sample.proxy.threads, 1.0),
        ("threads of the control plane", |sample| sample.control_plane.threads, 1.0),
    ];
    let grown = figures.into_iter().filter_map(|(name, of, spare)| {
        let (before, after) = (median(warm, of), median((last - 60.0).max(warm), of));
        let is_more = after > before * (1.0 + TOLERATED / 100.0) + spare;
        is_more.then(|| format!("{name}: {before} after the warm-up, {after} at the end"))
    });
    grown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rss: impl Fn(f64) -> u64) -> Vec<Sample> {
        let at = |second: u64| {
            let seconds = second as f64;
            let proxy = Footprint { rss_kib: rss(seconds), files: 50, threads: 8 };
            Sample { seconds, proxy, control_plane: proxy }
        };
        (0..1800).step_by(5).map(at).collect()
    }

    #[test]
    fn what_grows_after_the_warm_up_is_named() {
        assert_eq!(growth(&samples(|_| 20_000)), Vec::<String>::new());
        assert_eq!(growth(&samples(|seconds| 20_000 + (seconds.min(300.0) * 10.0) as u64)), Vec::<String>::new());
        assert_eq!(growth(&samples(|seconds| 20_000 + seconds as u64)).len(), 2);
        assert_eq!(growth(&[]), ["nothing was seen"]);
    }
}
