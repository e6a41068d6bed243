//! Endpoints: the living places a request can go to, and the list of them behind a Service.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use crate::version::{Canonical, CanonicalWriter, Version, Versioned};

/// Names one endpoint for as long as it lives.
///
/// It is stable over updates, workers, proxies and replicas of the control plane; another pod on the same address has
/// another id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u64);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One address behind one port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its identity.
    pub id: EndpointId,
    /// The name of the Service port it answers for.
    pub port: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Share of traffic relative to its peers, at least 1.
    pub weight: u32,
    /// Preference: endpoints with a higher number are used only when none with a lower one is available.
    pub priority: u32,
    /// Its zone; empty if unknown.
    pub zone: String,
    /// Its node; empty if unknown.
    pub node: String,
    /// Its DNS host name within a headless Service; empty if it has none.
    pub hostname: String,
    /// Labels of its pod, only those that the policy asks for.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes traffic.
    pub conditions: Conditions,
    /// For whom it is meant.
    pub hints: Hints,
}

/// The conditions of an endpoint, with the defaults of the API already filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// Takes traffic.
    pub ready: bool,
    /// Answers, even if it is on its way out.
    pub serving: bool,
    /// Is on its way out.
    pub terminating: bool,
}

impl Default for Conditions {
    /// What absent conditions mean: ready, serving, not terminating.
    fn default() -> Self {
        Self { ready: true, serving: true, terminating: false }
    }
}

/// Topology hints of an endpoint; an empty list means that none was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// Zones whose clients should use it.
    pub zones: Vec<String>,
    /// Nodes whose clients should use it.
    pub nodes: Vec<String>,
}

impl Canonical for Endpoint {
    fn write(&self, writer: &mut CanonicalWriter) {
        writer.number(self.id.0);
        writer.text(&self.port);
        writer.ip(self.address.ip());
        writer.number(self.address.port());
        writer.number(self.weight);
        writer.number(self.priority);
        writer.text(&self.zone);
        writer.text(&self.node);
        writer.text(&self.hostname);
        writer.length(self.labels.len());
        for (name, value) in &self.labels {
            writer.text(name);
            writer.text(value);
        }
        let Conditions { ready, serving, terminating } = self.conditions;
        writer.number(u8::from(ready) | u8::from(serving) << 1 | u8::from(terminating) << 2);
        writer.sequence(&self.hints.zones, |w, zone| w.text(zone));
        writer.sequence(&self.hints.nodes, |w, node| w.text(node));
    }
}

/// All endpoints of a Service, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSet {
    members: Vec<Versioned<Endpoint>>,
    version: Version,
}

/// A change from one [`EndpointSet`] to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointsDelta {
    /// The version it applies to; `None` replaces whatever is there.
    pub base: Option<Version>,
    /// The version it leads to.
    pub version: Version,
    /// Endpoints that are new or changed.
    pub upserts: Vec<Versioned<Endpoint>>,
    /// Endpoints that are gone.
    pub removed: Vec<EndpointId>,
}

/// Why a delta could not be applied. Either way the cure is to send the whole list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointsDeltaError {
    /// The delta was made for another list.
    #[error("the endpoint delta starts at version {expected}, but version {held:?} is held")]
    WrongBase {
        /// Where the delta starts.
        expected: Version,
        /// What is held, if anything.
        held: Option<Version>,
    },
    /// The result is not what the delta promised.
    #[error("the endpoint delta promises version {promised}, but leads to {reached}")]
    Diverged {
        /// The version the delta names.
        promised: Version,
        /// The version that came out.
        reached: Version,
    },
}

impl Default for EndpointSet {
    /// No endpoints; the same as a set that was made of none, version included.
    fn default() -> Self {
        Self::new([])
    }
}

impl EndpointSet {
    /// A set of these endpoints. Of two with the same id the later one stays.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self::from_members(endpoints.into_iter().map(Versioned::new))
    }

    fn from_members(members: impl IntoIterator<Item = Versioned<Endpoint>>) -> Self {
        let by_id: BTreeMap<EndpointId, Versioned<Endpoint>> =
            members.into_iter().map(|member| (member.value.id, member)).collect();
        let members: Vec<_> = by_id.into_values().collect();
        let version = Self::version_of(&members);
        Self { members, version }
    }

    /// A set's version is made of its members' versions alone, so that a receiver which does not know every field
    /// of an endpoint still arrives at the same value.
    fn version_of(members: &[Versioned<Endpoint>]) -> Version {
        let mut writer = CanonicalWriter::default();
        writer.sequence(members, |w, member| {
            w.number(member.value.id.0);
            w.number(member.version.0);
        });
        Version(writer.finish())
    }

    /// The version of the whole set.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many endpoints there are, over all ports and families.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The endpoints, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.members.iter().map(|member| &member.value)
    }

    /// The endpoint with this id.
    pub fn get(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.position(id).ok().map(|at| &self.members[at].value)
    }

    fn position(&self, id: EndpointId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&id, |member| member.value.id)
    }

    /// The whole set as a delta that replaces whatever is there.
    pub fn as_replacement(&self) -> EndpointsDelta {
        EndpointsDelta { base: None, version: self.version, upserts: self.members.clone(), removed: Vec::new() }
    }

    /// What leads from `old` to `self`.
    pub fn delta_from(&self, old: &Self) -> EndpointsDelta {
        let upserts = self
            .members
            .iter()
            .filter(|new| old.position(new.value.id).map_or(true, |at| old.members[at].version != new.version))
            .cloned()
            .collect();
        let removed = old.members.iter().map(|gone| gone.value.id).filter(|id| self.position(*id).is_err()).collect();
        EndpointsDelta { base: Some(old.version), version: self.version, upserts, removed }
    }

    /// Applies a delta to `held`, the list that was there, if there was one.
    ///
    /// # Errors
    /// When the delta was made for another list, or does not lead to the version it names.
    pub fn apply(held: Option<&Self>, delta: EndpointsDelta) -> Result<Self, EndpointsDeltaError> {
        // Versions name contents: whoever holds what it leads to has had it already.
        if let Some(held) = held.filter(|held| held.version == delta.version) {
            return Ok(held.clone());
        }
        let mut members = match delta.base {
            None => Vec::new(),
            Some(base) => match held {
                Some(set) if set.version == base => set.members.clone(),
                other => {
                    let held = other.map(Self::version);
                    return Err(EndpointsDeltaError::WrongBase { expected: base, held });
                }
            },
        };
        if !delta.removed.is_empty() {
            let gone: std::collections::HashSet<_> = delta.removed.into_iter().collect();
            members.retain(|member| !gone.contains(&member.value.id));
        }
        members.extend(delta.upserts);
        let set = Self::from_members(members);
        if set.version != delta.version {
            return Err(EndpointsDeltaError::Diverged { promised: delta.version, reached: set.version });
        }
        Ok(set)
    }
}
