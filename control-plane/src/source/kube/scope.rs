//! What is watched: one scope is one watch.

use std::fmt;

/// All objects of a kind, or those of them that something asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// All Services.
    Services,
    /// All EndpointSlices.
    EndpointSlices,
    /// The metadata of all Nodes.
    Nodes,
    /// All policies.
    Policies,
    /// One ConfigMap: others are no business of ours.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The metadata of the pods of a namespace.
    Pods {
        /// The namespace.
        namespace: String,
    },
}

impl Scope {
    /// What is watched whatever there is.
    pub const FIXED: [Self; 4] = [Self::Services, Self::EndpointSlices, Self::Nodes, Self::Policies];

    /// Whether nothing may be published before it has been read. Without one of the others the mesh still works, and whoever
    /// has not been given the right to read them would wait for ever.
    pub fn is_essential(&self) -> bool {
        matches!(self, Self::Services | Self::EndpointSlices)
    }

    /// The resource, as it is called in roles and metrics.
    pub fn resource(&self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Nodes => "nodes",
            Self::Policies => "loadbalancingpolicies",
            Self::ConfigMap { .. } => "configmaps",
            Self::Pods { .. } => "pods",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Services | Self::EndpointSlices | Self::Nodes | Self::Policies => f.write_str(self.resource()),
            Self::ConfigMap { namespace, name } => write!(f, "configmap {namespace}/{name}"),
            Self::Pods { namespace } => write!(f, "pods of namespace {namespace}"),
        }
    }
}
