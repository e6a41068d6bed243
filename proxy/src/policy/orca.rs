//! What endpoints report of themselves in the `endpoint-load-metrics` response header: the load reports of ORCA, as
//! backends of Envoy and gRPC send them (xds.data.orca.v3.OrcaLoadReport), in the text and the JSON form.

use serde_json::Value;
use wasmesh_core::load::EndpointLoad;

use super::seat::Seat;
use crate::http::Fields;

const HEADER: &str = "endpoint-load-metrics";

/// A longer report is none.
const MAX_BYTES: usize = 8192;

/// Keeps what an endpoint has reported with its answer, as far as the policies of the seat want it.
pub fn note(seat: &Seat, headers: &impl Fields, load: &EndpointLoad, now_us: impl FnOnce() -> u64) {
    if !seat.wants_reports() {
        return;
    }
    let Some(report) = headers.first(HEADER).and_then(|value| Report::parse(std::str::from_utf8(value).ok()?)) else {
        return;
    };
    let now_us = now_us();
    seat.wanted_reports(|slot, name| {
        if let Some(value) = report.value(name) {
            load.report(slot, thousandths(value), now_us);
        }
    });
}

/// A report as it was sent.
enum Report<'a> {
    /// `name=value` pairs.
    Text(&'a str),
    /// An object.
    Json(Value),
}

impl<'a> Report<'a> {
    /// `TEXT a=1,named_metrics.b=2` or `JSON {"a": 1, "named_metrics": {"b": 2}}`; without a word before it, whichever it
    /// looks like.
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return None;
        }
        if let Some(text) = text.strip_prefix("TEXT ") {
            return Some(Self::Text(text));
        }
        let json = text.strip_prefix("JSON ").unwrap_or(text);
        if json.trim_start().starts_with('{') {
            return serde_json::from_str(json).ok().map(Self::Json);
        }
        Some(Self::Text(text))
    }

    /// The number of that name: a field of the report, one of its named metrics without `named_metrics.` before it, or one
    /// of another map with the map's name before it, such as `utilization.gpu`.
    fn value(&self, name: &str) -> Option<f64> {
        match self {
            Self::Text(text) => {
                let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
                let named = |found: &str| {
                    let found = found.trim();
                    found == name || found.strip_prefix("named_metrics.") == Some(name)
                };
                pairs.filter(|(found, _)| named(found)).find_map(|(_, value)| value.trim().parse().ok())
            }
            Self::Json(report) => {
                let in_map = || {
                    let (map, key) = name.split_once('.')?;
                    report.get(map)?.get(key)
                };
                let found = report.get(name).or_else(|| report.get("named_metrics")?.get(name)).or_else(in_map)?;
                // The JSON form of protobuf writes some numbers as strings.
                found.as_f64().or_else(|| found.as_str()?.parse().ok())
            }
        }
    }
}

/// Cut to what fits; the largest number but one, because the largest says that there is none.
fn thousandths(value: f64) -> u32 {
    let scaled = (value * 1000.0).round();
    // A cast from a float saturates and takes NaN for 0.
    (scaled as u32).min(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> Option<u32> {
        Report::parse(text)?.value(name).map(thousandths)
    }

    #[test]
    fn text_and_json_say_the_same() {
        let text = "TEXT cpu_utilization=0.35, named_metrics.kv_cache_usage_perc=0.4,named_metrics.waiting=3,utilization.gpu=0.9";
        let json = r#"JSON {"cpu_utilization": 0.35, "named_metrics": {"kv_cache_usage_perc": 0.4, "waiting": "3"}, "utilization": {"gpu": 0.9}}"#;
        for report in [text, json, &text[5..], &json[5..]] {
            assert_eq!(value(report, "cpu_utilization"), Some(350), "{report}");
            assert_eq!(value(report, "kv_cache_usage_perc"), Some(400), "{report}");
            assert_eq!(value(report, "waiting"), Some(3000), "{report}");
            assert_eq!(value(report, "utilization.gpu"), Some(900), "{report}");
            assert_eq!(value(report, "nothing"), None, "{report}");
        }
    }

    /// As vLLM sends it, and as one would whose names are those of its metrics.
    #[test]
    fn names_may_have_colons() {
        let report = "TEXT named_metrics.kv_cache_usage_perc=0.25, named_metrics.num_requests_waiting=3.0";
        assert_eq!(value(report, "num_requests_waiting"), Some(3000));
        for report in ["vllm:num_requests_waiting=3", r#"JSON {"named_metrics": {"vllm:num_requests_waiting": 3.0}}"#] {
            assert_eq!(value(report, "vllm:num_requests_waiting"), Some(3000), "{report}");
        }
    }

    #[test]
    fn nonsense_is_no_report() {
        for report in ["", "JSON {", "JSON []", "TEXT", "a", "a=b", "=", "TEXT a=", "{\"a\": null}", "{\"a\": {}}"] {
            assert_eq!(value(report, "a"), None, "{report}");
        }
        assert_eq!(value(&format!("a=1,{}", "x".repeat(MAX_BYTES)), "a"), None);
        assert_eq!(value("a=1e300", "a"), Some(u32::MAX - 1));
        assert_eq!(value("a=-5", "a"), Some(0));
        assert_eq!(value("a=NaN", "a"), Some(0));
    }
}
