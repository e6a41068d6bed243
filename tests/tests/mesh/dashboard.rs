//! The dashboard asks for nothing that does not exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder};
use serde_json::Value;
use wasmesh_tests::{Backend, Mesh, Service};

const DASHBOARD: &str = include_str!("../../../deploy/monitoring/dashboard.json");

/// Words of queries that are neither metrics nor labels.
const ENDINGS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Remembers what is said to exist.
#[derive(Default)]
struct Described(Mutex<BTreeSet<String>>);

impl Described {
    fn note(&self, name: &str) {
        self.0.lock().unwrap().insert(name.to_owned());
    }
}

impl Recorder for Described {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.note(key.as_str());
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.note(key.as_str());
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        self.note(key.as_str());
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Everything that proxies and control planes describe.
fn described() -> BTreeSet<String> {
    let (described, metrics) = (Described::default(), wasmesh_telemetry::metrics::install());
    with_local_recorder(&described, || {
        wasmesh_proxy::events::describe(&metrics);
        wasmesh_control_plane::events::describe(&metrics);
        wasmesh_control_plane::identity::events::describe();
        wasmesh_control_plane::certificates::events::describe();
        wasmesh_control_plane::injector::events::describe();
    });
    described.0.into_inner().unwrap()
}

/// The queries of the dashboard.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array()).flatten();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter();
    let variables = variables.filter_map(|variable| variable["definition"].as_str());
    targets.map(|target| target["expr"].as_str().unwrap()).chain(variables).map(str::to_owned).collect()
}

/// The metrics of a query, each with the labels by which its series are chosen.
fn selectors(query: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (at, _) in query.match_indices("wasmesh_") {
        let rest = &query[at..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        let chosen = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(chosen, _)| chosen);
        let labels = chosen.split(',').filter_map(|condition| condition.split(['=', '!']).next());
        found.push((name.to_owned(), labels.filter(|label| !label.is_empty()).map(str::to_owned).collect()));
    }
    found
}

/// The labels by which the sums of a query are kept apart.
fn groupings(query: &str) -> Vec<&str> {
    let lists = query.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.flat_map(|(labels, _)| labels.split(", ")).filter(|label| *label != "le").collect()
}

#[test]
fn every_metric_of_the_dashboard_exists_and_has_the_labels_that_are_asked_for() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("shown").endpoint(&backend)]);
    mesh.spread("http://shown/", 5);
    let page = mesh.admin().page("/metrics").text();
    let mut series: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("wasmesh_")) {
        let end = line.find(['{', ' ']).unwrap();
        let name = ENDINGS.iter().find_map(|ending| line[..end].strip_suffix(ending)).unwrap_or(&line[..end]);
        series.entry(name).or_default().push(line);
    }
    let described = described();
    let queries = queries();
    assert!(queries.len() > 30, "{}", queries.len());
    for query in &queries {
        let selectors = selectors(query);
        assert!(!selectors.is_empty(), "{query}");
        for (name, labels) in selectors {
            let seen = series.get(name.as_str());
            assert!(seen.is_some() || described.contains(&name), "{name} does not exist: {query}");
            // What has not happened yet has no series, so its labels are not known here.
            let Some(seen) = seen else { continue };
            for label in labels.iter().map(String::as_str).chain(groupings(query)) {
                let label = format!("{label}=\"");
                assert!(seen.iter().any(|line| line.contains(&label)), "{name} has no label {label}: {query}");
            }
        }
    }
}
