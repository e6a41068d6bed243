//! `cargo xtask bench charts FOLDER`: draws what the other benches have printed with `--json` into files of the folder.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

use super::picture::{Group, picture};

/// A picture: its file, what it shows in which unit, and from which results it is drawn.
struct Chart {
    file: &'static str,
    title: &'static str,
    field: &'static str,
    groups: &'static [Source],
}

/// One group of bars: every proxy at one setting.
struct Source {
    file: &'static str,
    measure: &'static str,
    connections: &'static [u64],
    label: &'static str,
}

const CHARTS: [Chart; 4] = [
    Chart {
        file: "cpu.svg",
        title: "CPU of the proxy per request, µs (less is better)",
        field: "cpu_us_per_request",
        groups: &[
            Source {
                file: "http.json",
                measure: "http",
                connections: &[1, 32, 256],
                label: "HTTP/1.1, {} connections",
            },
            Source { file: "grpc.json", measure: "grpc", connections: &[1, 32], label: "gRPC, {} × 10 streams" },
        ],
    },
    Chart {
        file: "latency.svg",
        title: "Latency, p50 with one connection, µs (less is better)",
        field: "p50_us",
        groups: &[Source { file: "http.json", measure: "http", connections: &[1], label: "HTTP/1.1, {} connection" }],
    },
    Chart {
        file: "tail.svg",
        title: "Latency, p99 at 60 % of each proxy's limit, open loop, µs (less is better)",
        field: "p99_us",
        groups: &[Source {
            file: "http.json",
            measure: "http-open",
            connections: &[32, 256],
            label: "HTTP/1.1, {} connections",
        }],
    },
    Chart {
        file: "memory.svg",
        title: "Memory per HTTP/1.1 connection, KiB (less is better)",
        field: "kib_per_connection",
        groups: &[
            Source { file: "memory.json", measure: "memory-idle", connections: &[], label: "idle, {} connections" },
            Source { file: "memory.json", measure: "memory-active", connections: &[], label: "active, {} connections" },
        ],
    },
];

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let [folder] = args else {
        anyhow::bail!("bench charts where? The folder with http.json, grpc.json and memory.json")
    };
    let folder = Path::new(folder);
    for chart in &CHARTS {
        let mut groups = Vec::new();
        for source in chart.groups {
            groups.extend(source.groups(&results(&folder.join(source.file))?, chart.field));
        }
        let path = folder.join(chart.file);
        fs::write(&path, picture(chart.title, &groups)).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("xtask: {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn results(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}, which a bench prints with --json", path.display()))?;
    let report: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    report["results"].as_array().cloned().with_context(|| format!("{} has no results", path.display()))
}

impl Source {
    /// All settings of the measure if none is named.
    fn groups(&self, results: &[Value], field: &str) -> Vec<Group> {
        let of_measure: Vec<_> = results.iter().filter(|result| result["measure"] == self.measure).collect();
        let mut settings: Vec<_> = of_measure.iter().filter_map(|result| result["connections"].as_u64()).collect();
        settings.dedup();
        settings.retain(|connections| self.connections.is_empty() || self.connections.contains(connections));
        settings.sort_unstable();
        settings.dedup();
        let group = |connections: &u64| {
            let of_setting = of_measure.iter().filter(|result| result["connections"].as_u64() == Some(*connections));
            let bars =
                of_setting.filter_map(|result| Some((result["proxy"].as_str()?.to_owned(), result[field].as_f64()?)));
            Group { label: self.label.replace("{}", &connections.to_string()), bars: bars.collect() }
        };
        settings.iter().map(group).filter(|group| !group.bars.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Source;

    #[test]
    fn a_group_has_a_bar_for_each_proxy_with_a_figure() {
        let results = [
            json!({ "measure": "http", "proxy": "direct", "connections": 32, "cpu": null }),
            json!({ "measure": "http", "proxy": "nginx", "connections": 32, "cpu": 14.5 }),
            json!({ "measure": "http", "proxy": "nginx", "connections": 64, "cpu": 1.0 }),
            json!({ "measure": "http-open", "proxy": "nginx", "connections": 32, "cpu": 9.0 }),
        ];
        let source = Source { file: "", measure: "http", connections: &[32], label: "{} connections" };
        let groups = source.groups(&results, "cpu");
        assert_eq!(groups.len(), 1);
        assert_eq!(
            (groups[0].label.as_str(), &groups[0].bars[..]),
            ("32 connections", &[("nginx".to_owned(), 14.5)][..])
        );
    }
}
