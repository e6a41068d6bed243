//! The process's metrics: counters and gauges by the `metrics` crate, durations by [`Histograms`], one text for both.
//!
//! Counters and gauges: `metrics::counter!` and `metrics::gauge!`; on a hot path resolve the handle once and keep it.
//! **Not** `metrics::histogram!`: the exporter queues each of its samples until the next scrape, without bound when
//! nobody scrapes. Durations go to [`Metrics::histograms`].

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::histogram::Histograms;

/// What `/metrics` shows. Cheap to clone; every clone is the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    exporter: PrometheusHandle,
    histograms: &'static Histograms,
}

/// Installs the process's recorder; every call returns the same metrics.
///
/// Several meshes in one test process therefore count into one place: tell them apart by labels, or compare before
/// and after. Call it before the first counter is made: a handle made earlier counts into nothing.
pub fn install() -> Metrics {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    static HISTOGRAMS: Histograms = Histograms::new();
    let exporter = INSTALLED.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("this process already has another metrics recorder: counters will not show on /metrics");
        }
        handle
    });
    Metrics { exporter: exporter.clone(), histograms: &HISTOGRAMS }
}

impl Metrics {
    /// The process's duration histograms.
    #[must_use]
    pub fn histograms(&self) -> &'static Histograms {
        self.histograms
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.exporter.render();
        self.histograms.render(&mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::install;

    #[test]
    fn installing_twice_gives_the_same_metrics() {
        let (first, second) = (install(), install());
        metrics::counter!("wasmesh_test_total", "half" => "counter").increment(2);
        first.histograms().get("wasmesh_test_seconds", &[("half", "histogram")]).record(1_000);

        let text = second.render();
        assert!(text.contains("wasmesh_test_total{half=\"counter\"} 2\n"), "{text}");
        assert!(text.contains("wasmesh_test_seconds_count{half=\"histogram\"} 1\n"), "{text}");
        assert_eq!(first.render(), text);
    }
}
