//! What is told of it, to people and to programs.

use serde::Serialize;
use wasmesh_core::policy::BuiltinPolicy;
use wasmesh_policy_host::{Policy, Word};

use super::measure::Measured;

/// What a table of several policies says of each.
pub(super) const COLUMNS: [&str; 7] =
    ["size", "called", "pick", "99th percentile", "rebuild", "per instance", "compile"];

/// All that there is to say. What is serialised is what programs read.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    policy: String,
    endpoints: u32,
    path: String,
    pick_ns: Spread,
    native_pick_ns: Median,
    compile_ms: f64,
    rebuild_us: f64,
    /// `null` where the kernel does not tell.
    instance_kib: Option<f64>,
    #[serde(skip)]
    bytes: usize,
    #[serde(skip)]
    why_component: Option<String>,
    #[serde(skip)]
    keys: Vec<String>,
    #[serde(skip)]
    twin: BuiltinPolicy,
}

#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    p99: f64,
}

#[derive(Debug, Serialize)]
struct Median {
    median: f64,
}

impl Report {
    /// Of a policy of this name over so many endpoints.
    pub(super) fn new(name: String, policy: &Policy, endpoints: u32, measured: &Measured, twin: BuiltinPolicy) -> Self {
        let module = policy.module();
        let Measured { picks, native_picks, rebuilds, instance_kib } = measured;
        Self {
            policy: name,
            endpoints,
            path: module.path().to_string(),
            pick_ns: Spread { median: rounded(picks.median()), p99: rounded(picks.percentile(99)) },
            native_pick_ns: Median { median: rounded(native_picks.median()) },
            compile_ms: rounded(module.compile_time().as_secs_f64() * 1e3),
            rebuild_us: rounded(rebuilds.median() / 1e3),
            instance_kib: instance_kib.map(rounded),
            bytes: module.size_bytes(),
            why_component: module.why_component().map(str::to_owned),
            keys: policy.plan().keys.iter().map(Word::to_string).collect(),
            twin,
        }
    }

    /// How large the module is.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The figures that a table of several policies has, in the order of [`COLUMNS`].
    pub(super) fn cells(&self) -> [String; COLUMNS.len()] {
        [
            format!("{:.1} KiB", self.bytes as f64 / 1024.0),
            self.path.clone(),
            format!("{} ns", self.pick_ns.median),
            format!("{} ns", self.pick_ns.p99),
            format!("{} µs", self.rebuild_us),
            self.instance_kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{kib} KiB")),
            format!("{} ms", self.compile_ms),
        ]
    }

    /// One line for each figure.
    pub(super) fn text(&self) -> String {
        let called = match &self.why_component {
            None => self.path.clone(),
            Some(why) => format!("{}, because {why}", self.path),
        };
        let keys = match self.keys.as_slice() {
            [] => "none".to_owned(),
            keys => format!("{}, hashed for each pick", keys.join(", ")),
        };
        let Spread { median, p99 } = self.pick_ns;
        let kib = self.instance_kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{kib} KiB"));
        let mut lines = vec![
            ("policy", format!("{}, over {} endpoints", self.policy, self.endpoints)),
            ("called", called),
            ("keys", keys),
            ("pick", format!("{median} ns, 99th percentile {p99} ns")),
            ("native pick", format!("{} ns, by the built-in {}", self.native_pick_ns.median, self.twin)),
            ("compile", format!("{} ms", self.compile_ms)),
            ("rebuild", format!("{} µs", self.rebuild_us)),
            ("per instance", kib),
        ];
        if cfg!(debug_assertions) {
            lines.push(("beware", DEBUG_BUILD.to_owned()));
        }
        lines.iter().map(|(what, value)| format!("{what:<14}{value}\n")).collect()
    }
}

/// Said where it is so.
pub(super) const DEBUG_BUILD: &str = "this wasmesh is a debug build: its own part makes the figures worthless";

/// More digits than these are noise.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use wasmesh_core::policy::BuiltinPolicy;

    use super::{Median, Report, Spread};

    #[test]
    fn the_object_keeps_its_shape() {
        let report = Report {
            policy: "ring-hash".to_owned(),
            endpoints: 100,
            path: "direct".to_owned(),
            pick_ns: Spread { median: 40.1, p99: 55.0 },
            native_pick_ns: Median { median: 20.0 },
            compile_ms: 80.5,
            rebuild_us: 900.0,
            instance_kib: Some(128.5),
            bytes: 40_000,
            why_component: None,
            keys: vec!["path".to_owned()],
            twin: BuiltinPolicy::RingHash,
        };
        let expected = r#"{"policy":"ring-hash","endpoints":100,"path":"direct","pick_ns":{"median":40.1,"p99":55.0},"#
            .to_owned()
            + r#""native_pick_ns":{"median":20.0},"compile_ms":80.5,"rebuild_us":900.0,"instance_kib":128.5}"#;
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
        let text = report.text();
        assert!(text.contains("\npick          40.1 ns, 99th percentile 55 ns\n"), "{text}");
        assert!(text.contains("\nkeys          path, hashed for each pick\n"), "{text}");
    }
}
