//! Which histograms there are: a name and its labels lead to one shared histogram.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Histogram, text};

/// All histograms of a process, by name and label set. Look one up where a service or a route is built, keep the
/// handle, and record on it: the lookup takes a lock, the record does not.
#[derive(Debug, Default)]
pub struct Histograms {
    /// Sorted, so that two renders of one state are the same text.
    families: Mutex<BTreeMap<&'static str, Family>>,
}

/// Sorted by label name, so that the order in which a caller names its labels does not matter.
type Labels = Box<[(&'static str, Box<str>)]>;

#[derive(Debug, Default)]
struct Family {
    help: Option<&'static str>,
    series: BTreeMap<Labels, Arc<Histogram>>,
}

impl Histograms {
    /// An empty registry.
    #[must_use]
    pub const fn new() -> Self {
        Self { families: Mutex::new(BTreeMap::new()) }
    }

    /// Says what `name` measures, for its `# HELP` line.
    pub fn describe(&self, name: &'static str, help: &'static str) {
        self.families().entry(name).or_default().help = Some(help);
    }

    /// The histogram of this name and these labels, made if it is the first time. The order of labels is irrelevant.
    pub fn get(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Arc<Histogram> {
        debug_assert!(text::is_name(name), "no metric name: {name:?}");
        debug_assert!(labels.iter().all(|(label, _)| text::is_label(label)), "no label names: {labels:?}");
        let labels = sorted(labels);
        debug_assert!(labels.is_sorted_by(|a, b| a.0 < b.0), "a label is given twice: {labels:?}");
        Arc::clone(self.families().entry(name).or_default().series.entry(labels).or_default())
    }

    /// Forgets a label set, for instance of a service that is gone; true if it is no longer here.
    ///
    /// As long as anyone else holds the histogram nothing is removed, or what that holder records would go nowhere.
    /// So each worker drops its handle and then calls this, and the last one takes the series away.
    pub fn remove(&self, name: &str, labels: &[(&'static str, &str)]) -> bool {
        let labels = sorted(labels);
        let mut families = self.families();
        let Some(family) = families.get_mut(name) else { return true };
        // A handle is only had from here, under this lock: a count of one cannot rise meanwhile.
        if family.series.get(&labels).is_some_and(|histogram| Arc::strong_count(histogram) > 1) {
            return false;
        }
        family.series.remove(&labels);
        true
    }

    /// Appends all histograms in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        for (name, family) in self.families().iter().filter(|(_, family)| !family.series.is_empty()) {
            text::head(out, name, family.help);
            for (labels, histogram) in &family.series {
                text::series(out, name, labels, histogram);
            }
        }
    }

    /// Each change to the map is complete before the lock is released, so a panic elsewhere cannot have left it half done.
    fn families(&self) -> MutexGuard<'_, BTreeMap<&'static str, Family>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sorted(labels: &[(&'static str, &str)]) -> Labels {
    let mut labels: Labels = labels.iter().map(|(name, value)| (*name, Box::from(*value))).collect();
    labels.sort_unstable();
    labels
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Histograms;

    const NAME: &str = "wasmesh_request_duration_seconds";

    #[test]
    fn the_order_of_labels_does_not_matter() {
        let histograms = Histograms::new();
        let one = histograms.get(NAME, &[("service", "shop"), ("class", "2xx")]);
        let same = histograms.get(NAME, &[("class", "2xx"), ("service", "shop")]);
        let other = histograms.get(NAME, &[("class", "5xx"), ("service", "shop")]);
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn a_series_goes_with_its_last_holder() {
        let histograms = Histograms::new();
        let labels = [("service", "shop")];
        let (first, second) = (histograms.get(NAME, &labels), histograms.get(NAME, &labels));
        drop(first);
        assert!(!histograms.remove(NAME, &labels), "another worker still records");
        drop(second);
        assert!(histograms.remove(NAME, &labels));
        assert!(histograms.remove(NAME, &labels), "and again");

        let mut text = String::new();
        histograms.render(&mut text);
        assert_eq!(text, "", "a family without series has no head either");
    }
}
