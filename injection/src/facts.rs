//! What is known of where a pod is to run.

/// What is known of a pod's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whether its pods are meshed unless they say otherwise.
    pub opted_in: bool,
    /// What it demands of pods.
    pub pod_security: PodSecurity,
}

/// Whether the namespace lets a pod have NET_ADMIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodSecurity {
    /// As far as the namespace says.
    Allows,
    /// It enforces this level.
    Forbids(String),
    /// The namespace could not be looked at.
    Unknown,
}

impl PodSecurity {
    /// By the value of `pod-security.kubernetes.io/enforce`. A value that Kubernetes does not know means the strictest level
    /// to it.
    #[must_use]
    pub fn of_label(enforced: Option<&str>) -> Self {
        match enforced {
            None | Some("" | "privileged") => Self::Allows,
            Some(level @ ("baseline" | "restricted")) => Self::Forbids(level.to_owned()),
            Some(_) => Self::Forbids("restricted".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PodSecurity;

    #[test]
    fn what_a_namespace_enforces() {
        for level in [None, Some(""), Some("privileged")] {
            assert_eq!(PodSecurity::of_label(level), PodSecurity::Allows, "{level:?}");
        }
        for (level, meant) in [("baseline", "baseline"), ("restricted", "restricted"), ("Privileged", "restricted")] {
            assert_eq!(PodSecurity::of_label(Some(level)), PodSecurity::Forbids(meant.to_owned()));
        }
    }
}
