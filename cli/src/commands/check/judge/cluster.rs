//! What the mesh needs of any cluster.

use super::{
    super::facts::{ClusterFacts, Permission},
    super::finding::Finding,
    advice, installation, some,
    version::minor,
};

/// The oldest Kubernetes whose sidecars start before the containers that use them, and end after them.
const OLDEST: (u32, u32) = (1, 29);

pub(super) fn api_server(facts: &ClusterFacts) -> Vec<Finding> {
    const ABOUT: &str = "API server";
    let version = &facts.version;
    let finding = match minor(version) {
        Some(found) if found < OLDEST => Finding::error(
            ABOUT,
            format!("is of version {version}; sidecars need {}.{} or newer", OLDEST.0, OLDEST.1),
            "update the cluster",
        ),
        Some(_) => Finding::good(ABOUT, format!("answers, version {version}")),
        None => Finding::unknown(ABOUT, &format!("{version:?} is no version")),
    };
    vec![finding]
}

pub(super) fn permissions(permissions: &[Permission]) -> Vec<Finding> {
    const ABOUT: &str = "permissions";
    let denied = permissions.iter().filter(|permission| permission.is_allowed == Ok(false));
    let denied: Vec<_> = denied.map(|permission| permission.what.as_str()).collect();
    let unknown = permissions.iter().find_map(|permission| permission.is_allowed.as_ref().err());
    match (denied.as_slice(), unknown) {
        ([], None) if permissions.is_empty() => Vec::new(),
        ([], None) => vec![Finding::good(ABOUT, "you may create all that is installed")],
        ([], Some(why)) => vec![Finding::unknown(ABOUT, why)],
        (denied, _) => vec![Finding::error(
            ABOUT,
            format!("you may not {}", some(denied.iter().copied())),
            "install as an administrator of the cluster, with a context of theirs (--context)",
        )],
    }
}

const RANGES: &str = "Service ranges";

pub(super) fn service_ranges_before(facts: &ClusterFacts) -> Finding {
    match &facts.service_cidrs {
        Ok(Some(ranges)) if !ranges.is_empty() => said(ranges),
        Ok(_) => Finding::note(
            RANGES,
            "the API server does not say them (ServiceCIDR objects came with Kubernetes 1.33)",
            "install with --service-cidr: the range is in the API server's flag --service-cluster-ip-range",
        ),
        Err(why) => Finding::unknown(RANGES, why),
    }
}

/// Without ranges nothing is captured.
pub(super) fn service_ranges_after(facts: &ClusterFacts) -> Finding {
    let given = installation::arguments(&facts.deployment).any(|argument| argument.starts_with("--service-cidr"));
    match &facts.service_cidrs {
        Ok(Some(ranges)) if !ranges.is_empty() => said(ranges),
        _ if given => Finding::good(RANGES, "given to the control plane"),
        Ok(_) => Finding::error(
            RANGES,
            "nobody says them, so the connections of pods are not led to their sidecars",
            format!(
                "{}, CIDR being the range of the API server's flag --service-cluster-ip-range",
                advice::install_with(facts, &["--service-cidr=CIDR".to_owned()])
            ),
        ),
        Err(why) => Finding::unknown(RANGES, why),
    }
}

fn said(ranges: &[k8s_openapi::api::networking::v1::ServiceCIDR]) -> Finding {
    let all = ranges.iter().filter_map(|range| range.spec.as_ref()?.cidrs.as_ref()).flatten();
    Finding::good(RANGES, some(all.map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::super::finding::Level,
        super::tests::{cluster, levels, object},
        *,
    };

    #[test]
    fn an_old_cluster_cannot_run_sidecars() {
        let of = |version: &str| levels(&api_server(&ClusterFacts { version: version.to_owned(), ..cluster() }));
        assert_eq!(of("v1.28.15"), [Level::Error]);
        assert_eq!(of("v1.29.0"), [Level::Good]);
        assert_eq!(of("v1.36.2-gke.7"), [Level::Good]);
        assert_eq!(of("?"), [Level::Note]);
    }

    #[test]
    fn what_may_not_be_created_is_named() {
        let may = |what: &str, is_allowed| Permission { what: format!("create {what}"), is_allowed };
        let findings = permissions(&[may("namespaces", Ok(true)), may("clusterroles", Ok(false))]);
        assert_eq!(levels(&findings), [Level::Error]);
        assert!(findings[0].says.contains("create clusterroles") && !findings[0].says.contains("namespaces"));
        assert_eq!(levels(&permissions(&[may("a", Ok(true))])), [Level::Good]);
        assert_eq!(levels(&permissions(&[may("a", Err("no".to_owned()))])), [Level::Note]);
    }

    #[test]
    fn ranges_that_nobody_says_are_an_error_once_pods_rely_on_them() {
        let silent = || ClusterFacts { service_cidrs: Ok(None), ..cluster() };
        assert_eq!(service_ranges_before(&silent()).level, Level::Note);
        assert_eq!(service_ranges_after(&silent()).level, Level::Error);
        let container = json!({ "name": "control-plane", "args": ["--service-cidr=10.96.0.0/16"] });
        let template = json!({ "spec": { "containers": [container] } });
        let deployment = object(json!({ "spec": { "selector": {}, "template": template } }));
        let given = ClusterFacts { deployment: Ok(Some(deployment)), ..silent() };
        assert_eq!(service_ranges_after(&given).level, Level::Good);
        assert_eq!(service_ranges_after(&cluster()).says, "10.96.0.0/16");
    }
}
