//! Prometheus' text format, version 0.0.4, as far as histograms need it.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::{self, Display, Write};

use super::{BOUNDS, Histogram};

/// Whether Prometheus takes this as a metric's name.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | ':'))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

/// Whether a histogram may have this label: `le` is taken by its buckets.
pub(super) fn is_label(name: &str) -> bool {
    is_name(name) && !name.contains(':') && name != "le"
}

/// The lines above a family's series.
pub(super) fn head(out: &mut String, name: &str, help: Option<&str>) {
    if let Some(help) = help {
        let _ = writeln!(out, "# HELP {name} {}", Escaped { text: help, quotes: false });
    }
    let _ = writeln!(out, "# TYPE {name} histogram");
}

/// One label set: its cumulative buckets, sum and count. The last bucket and the count are the same number by
/// construction; Prometheus' quantiles go wrong where they differ.
pub(super) fn series(out: &mut String, name: &str, labels: &[(&str, Box<str>)], histogram: &Histogram) {
    let list = labels.iter().fold(String::new(), |mut list, (label, value)| {
        let _ = write!(list, "{label}=\"{}\",", Escaped { text: value, quotes: true });
        list
    });
    let bounds = BOUNDS.iter().map(|(_, le)| *le).chain(["+Inf"]);
    let mut total = 0;
    for (le, count) in bounds.zip(histogram.counts()) {
        total += count;
        let _ = writeln!(out, "{name}_bucket{{{list}le=\"{le}\"}} {total}");
    }
    let braces = if list.is_empty() { String::new() } else { format!("{{{}}}", list.trim_end_matches(',')) };
    let _ = writeln!(out, "{name}_sum{braces} {}", histogram.sum_micros() as f64 / 1e6);
    let _ = writeln!(out, "{name}_count{braces} {total}");
}

/// A backslash and a line feed are escaped everywhere, a quote only inside quotes.
struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '"' if self.quotes => f.write_str("\\\""),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Histograms;
    use super::{is_label, is_name};

    fn rendered(histograms: &Histograms) -> String {
        let mut text = String::new();
        histograms.render(&mut text);
        text
    }

    #[test]
    fn buckets_are_cumulative_and_agree_with_the_count() {
        let histograms = Histograms::new();
        histograms.describe("took_seconds", "Time \\ taken,\nsaid \"so\".");
        let histogram = histograms.get("took_seconds", &[("zone", "b"), ("class", "2xx")]);
        [400, 400, 700, 30_000, 20_000_000].into_iter().for_each(|micros| histogram.record(micros));
        let expected = r#"# HELP took_seconds Time \\ taken,\nsaid "so".
# TYPE took_seconds histogram
took_seconds_bucket{class="2xx",zone="b",le="0.0005"} 2
took_seconds_bucket{class="2xx",zone="b",le="0.001"} 3
took_seconds_bucket{class="2xx",zone="b",le="0.0025"} 3
took_seconds_bucket{class="2xx",zone="b",le="0.005"} 3
took_seconds_bucket{class="2xx",zone="b",le="0.01"} 3
took_seconds_bucket{class="2xx",zone="b",le="0.025"} 3
took_seconds_bucket{class="2xx",zone="b",le="0.05"} 4
took_seconds_bucket{class="2xx",zone="b",le="0.1"} 4
took_seconds_bucket{class="2xx",zone="b",le="0.25"} 4
took_seconds_bucket{class="2xx",zone="b",le="0.5"} 4
took_seconds_bucket{class="2xx",zone="b",le="1"} 4
took_seconds_bucket{class="2xx",zone="b",le="2.5"} 4
took_seconds_bucket{class="2xx",zone="b",le="5"} 4
took_seconds_bucket{class="2xx",zone="b",le="10"} 4
took_seconds_bucket{class="2xx",zone="b",le="+Inf"} 5
took_seconds_sum{class="2xx",zone="b"} 20.0315
took_seconds_count{class="2xx",zone="b"} 5
"#;
        assert_eq!(rendered(&histograms), expected);
    }

    #[test]
    fn without_labels_there_are_no_empty_braces() {
        let histograms = Histograms::new();
        histograms.get("took_seconds", &[]).record(1);
        let text = rendered(&histograms);
        assert!(text.contains("\ntook_seconds_bucket{le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("\ntook_seconds_sum 0.000001\ntook_seconds_count 1\n"), "{text}");
    }

    #[test]
    fn label_values_are_escaped() {
        let histograms = Histograms::new();
        histograms.get("took_seconds", &[("service", "a\\b\"c\nd,}")]);
        let text = rendered(&histograms);
        assert!(text.contains(r#"took_seconds_count{service="a\\b\"c\nd,}"} 0"#), "{text}");
    }

    #[test]
    fn names_are_prometheus_names() {
        assert!(is_name("wasmesh_requests_total") && is_name("a:b"));
        assert!(!is_name("") && !is_name("1a") && !is_name("a-b"));
        assert!(is_label("service") && !is_label("le") && !is_label("a:b"));
    }
}
