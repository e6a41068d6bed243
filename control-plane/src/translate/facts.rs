//! What pods and nodes add to endpoints: annotations and labels of pods, zones of nodes.
//!
//! Only what is used is kept: pods and nodes change all the time in ways that do not matter here, and there are many.
//! Labels are all kept, because a policy that comes later may ask for any; they hardly ever change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The annotation of a pod with its share of traffic.
pub const WEIGHT: &str = "wasmesh.io/weight";
/// The annotation of a pod with its rank of preference.
pub const PRIORITY: &str = "wasmesh.io/priority";
const ZONE: &str = "topology.kubernetes.io/zone";

/// Names a pod: namespace and name.
pub type PodName = (String, String);

/// The zones of nodes, by the names of the nodes.
pub type Zones = HashMap<String, String>;

/// Facts about pods and nodes, by name.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pods: HashMap<PodName, PodFacts>,
    /// Shared with whoever looks up the zone of a proxy.
    zones: Arc<Zones>,
}

/// What is known of a pod: its annotations and labels, as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodFacts {
    /// [`WEIGHT`].
    pub weight: Option<String>,
    /// [`PRIORITY`].
    pub priority: Option<String>,
    /// All of its labels.
    pub labels: BTreeMap<String, String>,
}

impl Facts {
    /// The facts about a pod, if there are any.
    pub fn pod(&self, name: &PodName) -> Option<&PodFacts> {
        self.pods.get(name)
    }

    /// The zone of a node, if it is known.
    pub fn zone_of_node(&self, name: &str) -> Option<&str> {
        self.zones.get(name).map(String::as_str)
    }

    /// The zones of all nodes that have one.
    pub fn zones(&self) -> &Arc<Zones> {
        &self.zones
    }

    /// Takes a pod in, or forgets it, and tells whether any fact changed.
    pub fn set_pod(&mut self, name: &PodName, metadata: Option<&ObjectMeta>) -> bool {
        let facts = metadata.map(PodFacts::of).filter(|facts| *facts != PodFacts::default());
        let before = match facts.clone() {
            Some(facts) => self.pods.insert(name.clone(), facts),
            None => self.pods.remove(name),
        };
        before != facts
    }

    /// Takes a node in, or forgets it, and tells whether any fact changed.
    pub fn set_node(&mut self, name: &str, metadata: Option<&ObjectMeta>) -> bool {
        let zone = metadata.and_then(|metadata| metadata.labels.as_ref()?.get(ZONE)).filter(|zone| !zone.is_empty());
        // Nodes say something of themselves all the time, and hardly ever another zone.
        if self.zones.get(name) == zone {
            return false;
        }
        let zones = Arc::make_mut(&mut self.zones);
        match zone {
            Some(zone) => zones.insert(name.to_owned(), zone.clone()),
            None => zones.remove(name),
        };
        true
    }
}

impl PodFacts {
    fn of(metadata: &ObjectMeta) -> Self {
        let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
        let labels = metadata.labels.clone().unwrap_or_default();
        Self { weight: annotation(WEIGHT), priority: annotation(PRIORITY), labels }
    }
}
