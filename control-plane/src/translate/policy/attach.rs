//! Which policy governs which port, when several ask for it.
//!
//! One that names a port beats one that names a Service, that beats the annotation of the Service; among equals the
//! oldest wins, then the first by name.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use wasmesh_core::{
    policy::PortPolicy,
    service::{ServiceKind, ServicePort, ServiceSpec, Transport},
};

/// A policy that asks for a Service or a port of it. The least one wins.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    /// The port's name; without one, all ports.
    pub section: Option<String>,
    /// Whose it is.
    pub claimant: Claimant,
    /// What it gives.
    pub policy: PortPolicy,
    /// The labels of pods that it sees.
    pub labels: Arc<BTreeSet<String>>,
}

/// A policy as one of those that want the same. The least one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claimant {
    /// Whoever cannot show an age is taken for the youngest.
    is_undated: bool,
    created: Option<Time>,
    /// Its name, in the namespace of the Service.
    pub name: String,
}

/// The policies that ask for one Service or its ports, the best first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attached(Vec<Attachment>);

impl Claimant {
    /// The policy with this metadata.
    pub fn of(metadata: &ObjectMeta) -> Self {
        let created = metadata.creation_timestamp.clone();
        Self { is_undated: created.is_none(), created, name: metadata.name.clone().unwrap_or_default() }
    }
}

impl Attached {
    /// Puts them in order.
    pub fn new(mut attachments: Vec<Attachment>) -> Self {
        attachments.sort_by(|a, b| (a.section.is_none(), &a.claimant).cmp(&(b.section.is_none(), &b.claimant)));
        Self(attachments)
    }

    /// The one that governs a port, if any does.
    pub fn governor(&self, spec: &ServiceSpec, port: &ServicePort) -> Option<&Attachment> {
        if !is_balanced(spec, port) {
            return None;
        }
        self.0.iter().find(|attachment| attachment.section.as_ref().is_none_or(|section| *section == port.name))
    }

    /// Gives every port its policy; those that nobody asks for keep theirs.
    pub fn apply(&self, spec: &mut ServiceSpec) {
        let policies = spec.ports.iter().map(|port| self.governor(spec, port).map(|winner| winner.policy.clone()));
        let policies: Vec<_> = policies.collect();
        for (port, policy) in spec.ports.iter_mut().zip(policies) {
            if let Some(policy) = policy {
                port.policy = policy;
            }
        }
    }

    /// The labels of pods that the policies of a Service's ports see.
    pub fn labels(&self, spec: &ServiceSpec) -> BTreeSet<&str> {
        let governors = spec.ports.iter().filter_map(|port| self.governor(spec, port));
        governors.flat_map(|governor| governor.labels.iter().map(String::as_str)).collect()
    }
}

/// Whether a port can have a policy: connections to a virtual address are balanced, and nothing else is.
pub(super) fn is_balanced(spec: &ServiceSpec, port: &ServicePort) -> bool {
    matches!(spec.kind, ServiceKind::ClusterIp { .. }) && port.transport == Transport::Tcp
}
