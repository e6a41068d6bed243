//! What namespaces demand of containers: whether Kubernetes would refuse pods for what their sidecars ask for.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota},
    apimachinery::pkg::{api::resource::Quantity as Written, apis::meta::v1::ObjectMeta},
};
use wasmesh_injection::{Bound, PodSecurity, Quantity, Resource, ResourceName, ResourceWish, Resources, Sidecar};

use super::{
    super::{
        facts::{ClusterFacts, MeshFacts},
        finding::Finding,
    },
    POD_SECURITY, advice, installation, label, meshed_namespaces, name, some,
};

const ABOUT: &str = "resources";

/// What is proposed where a limit of CPU is demanded, in thousandths of a core: enough that a sidecar is held back by its work
/// rather than by its limit.
const PROXY_CPU_MILLI: u128 = 1000;
const CAPTURE_CPU_MILLI: u128 = 100;

/// How often a proposal is judged anew, because what mends one thing may break another.
const ROUNDS: usize = 4;

/// Why pods would be refused.
struct Refusal {
    why: String,
    /// What would mend it, if sidecars can.
    wish: Option<ResourceWish>,
}

/// What a namespace demands.
struct Demands<'a> {
    ranges: Vec<&'a LimitRange>,
    quotas: Vec<&'a ResourceQuota>,
    sidecars: &'static [Sidecar],
}

/// Namespaces that refuse pods with sidecars.
pub(super) fn resources(facts: &ClusterFacts, mesh: &MeshFacts) -> Vec<Finding> {
    let (ranges, quotas) = match (&mesh.limit_ranges, &mesh.quotas) {
        (Ok(ranges), Ok(quotas)) => (ranges, quotas),
        (Err(why), _) | (_, Err(why)) => return vec![Finding::unknown(ABOUT, why)],
    };
    let installed = installation::sidecar_resources(&facts.deployment).unwrap_or_default();
    let findings = meshed_namespaces(facts).filter_map(|namespace| {
        let is_here = |metadata: &ObjectMeta| metadata.namespace.as_deref() == namespace.metadata.name.as_deref();
        let security = PodSecurity::of_label(label(&namespace.metadata, POD_SECURITY));
        let demands = Demands {
            ranges: ranges.iter().filter(|range| is_here(&range.metadata)).collect(),
            quotas: quotas.iter().filter(|quota| is_here(&quota.metadata)).collect(),
            sidecars: if security == PodSecurity::Allows { &Sidecar::ALL } else { &[Sidecar::Proxy] },
        };
        refused(facts, name(&namespace.metadata), &demands, &installed)
    });
    findings.collect()
}

fn refused(facts: &ClusterFacts, namespace: &str, demands: &Demands<'_>, installed: &Resources) -> Option<Finding> {
    let refusals = demands.judge(installed);
    if refusals.is_empty() {
        return None;
    }
    let whys: BTreeSet<_> = refusals.iter().map(|refusal| refusal.why.as_str()).collect();
    let says = format!("{namespace} refuses pods with sidecars: {}", some(whys));
    let fix = match proposal(demands, installed) {
        Some(wishes) => {
            let annotations: Vec<_> =
                wishes.iter().map(|wish| format!("{}: \"{}\"", wish.name.annotation(), wish.quantity)).collect();
            let list: Vec<_> = wishes.iter().map(ToString::to_string).collect();
            let present = installation::sidecar_resources_text(&facts.deployment);
            let list = present.into_iter().map(str::to_owned).chain(list).collect::<Vec<_>>().join(",");
            let install = advice::install_with(facts, &[format!("--sidecar-resources={list}")]);
            format!("annotate its pods with {}; or, for all pods: {install}", annotations.join(", "))
        }
        None => format!("change what the namespace demands: kubectl -n {namespace} edit limitrange,resourcequota"),
    };
    Some(Finding::warning(ABOUT, says, fix))
}

/// What would have to be different for pods to be taken, if anything would do.
fn proposal(demands: &Demands<'_>, installed: &Resources) -> Option<Vec<ResourceWish>> {
    let mut wishes: Vec<ResourceWish> = Vec::new();
    for _ in 0..ROUNDS {
        let mut resources = installed.clone();
        if !resources.apply(&wishes).is_empty() {
            return None;
        }
        let refusals = demands.judge(&resources);
        if refusals.is_empty() {
            return Some(wishes);
        }
        for refusal in refusals {
            let wish = refusal.wish?;
            wishes.retain(|earlier| earlier.name != wish.name);
            wishes.push(wish);
        }
    }
    None
}

impl Demands<'_> {
    /// Why the API server would refuse sidecars with these resources.
    fn judge(&self, resources: &Resources) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        for resource in Resource::ALL {
            for &sidecar in self.sidecars {
                self.judge_sidecar(sidecar, resource, resources, &mut refusals);
            }
            self.judge_pod(resource, resources, &mut refusals);
        }
        refusals
    }

    fn judge_sidecar(&self, sidecar: Sidecar, resource: Resource, resources: &Resources, refusals: &mut Vec<Refusal>) {
        let bounds = resources.of(sidecar).bounds(resource);
        let request = &bounds.request;
        // A container without a limit is given the namespace's.
        let default = self.items("Container").find_map(|(_, item)| amount(item.default.as_ref(), resource));
        let limit = bounds.limit.clone().or(default);
        let (container, kind) = (sidecar.container(), resource.name());
        let mut refuse = |why: String, bound, milli| {
            let quantity = quantity(resource, milli);
            let wish = ResourceWish { name: ResourceName { sidecar, resource, bound }, quantity };
            refusals.push(Refusal { why, wish: Some(wish) });
        };
        if let Some(limit) = limit.as_ref().filter(|limit| limit.milli() < request.milli()) {
            let why =
                format!("{container} requests {request} of {kind}, the namespace's LimitRange limits it to {limit}");
            refuse(why, Bound::Limit, request.milli());
        }
        for (range, item) in self.items("Container") {
            let place = format!("LimitRange {}", name(&range.metadata));
            if let Some(max) = amount(item.max.as_ref(), resource) {
                match &limit {
                    Some(limit) if limit.milli() > max.milli() => refuse(
                        format!("{container} has a {kind} limit of {limit}, {place} allows {max}"),
                        Bound::Limit,
                        max.milli(),
                    ),
                    _ if request.milli() > max.milli() => refuse(
                        format!("{container} requests {request} of {kind}, {place} allows {max}"),
                        Bound::Request,
                        max.milli(),
                    ),
                    _ => {}
                }
            }
            if let Some(min) = amount(item.min.as_ref(), resource) {
                if request.milli() < min.milli() {
                    let why = format!("{container} requests {request} of {kind}, {place} demands {min}");
                    refuse(why, Bound::Request, min.milli());
                } else if let Some(limit) = limit.as_ref().filter(|limit| limit.milli() < min.milli()) {
                    let why = format!("{container} has a {kind} limit of {limit}, {place} demands {min}");
                    refuse(why, Bound::Limit, min.milli());
                }
            }
            if let Some(ratio) =
                amount(item.max_limit_request_ratio.as_ref(), resource).filter(|ratio| ratio.milli() > 0)
            {
                match &limit {
                    None => refuse(
                        format!("{container} has no {kind} limit, which the ratio of {place} demands"),
                        Bound::Limit,
                        usual(sidecar, request),
                    ),
                    Some(limit) if limit.milli() * 1000 > request.milli() * ratio.milli() => refuse(
                        format!(
                            "{container} has {request} to {limit} of {kind}, {place} allows {ratio} times its request"
                        ),
                        Bound::Request,
                        (limit.milli() * 1000).div_ceil(ratio.milli()),
                    ),
                    Some(_) => {}
                }
            }
        }
        for quota in self.quotas.iter().filter(|quota| limits(quota, resource) && limit.is_none()) {
            let why = format!("{container} has no {kind} limit, which ResourceQuota {} demands", name(&quota.metadata));
            refuse(why, Bound::Limit, usual(sidecar, request));
        }
    }

    /// What a pod may have as a whole; its own containers are not known here.
    fn judge_pod(&self, resource: Resource, resources: &Resources, refusals: &mut Vec<Refusal>) {
        let limits = self.sidecars.iter().map(|sidecar| {
            let bounds = resources.of(*sidecar).bounds(resource);
            bounds.limit.as_ref().unwrap_or(&bounds.request).milli()
        });
        let all: u128 = limits.sum();
        for (range, item) in self.items("Pod") {
            if let Some(max) = amount(item.max.as_ref(), resource).filter(|max| all > max.milli()) {
                let place = format!("LimitRange {}", name(&range.metadata));
                let kind = resource.name();
                let why = format!(
                    "the {kind} limits of its sidecars alone are more than the {max} that {place} allows a pod"
                );
                refusals.push(Refusal { why, wish: None });
            }
        }
    }

    fn items(&self, kind: &str) -> impl Iterator<Item = (&LimitRange, &LimitRangeItem)> {
        let items = self
            .ranges
            .iter()
            .flat_map(|range| range.spec.iter().flat_map(|spec| &spec.limits).map(move |item| (*range, item)));
        items.filter(move |(_, item)| item.type_ == kind)
    }
}

/// A limit of CPU for who has none.
fn usual(sidecar: Sidecar, request: &Quantity) -> u128 {
    let usual = match sidecar {
        Sidecar::Proxy => PROXY_CPU_MILLI,
        Sidecar::Capture => CAPTURE_CPU_MILLI,
    };
    usual.max(request.milli())
}

/// Whether every container must have a limit.
fn limits(quota: &ResourceQuota, resource: Resource) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    hard.is_some_and(|hard| hard.contains_key(&format!("limits.{}", resource.name())))
}

fn amount(amounts: Option<&std::collections::BTreeMap<String, Written>>, resource: Resource) -> Option<Quantity> {
    amounts?.get(resource.name())?.0.parse().ok()
}

/// As people write it: bytes in mebibytes if they are whole ones.
fn quantity(resource: Resource, milli: u128) -> Quantity {
    match resource {
        Resource::Cpu => Quantity::of_milli(milli),
        Resource::Memory => Quantity::of_bytes(u64::try_from(milli.div_ceil(1000)).unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "a test writes its objects down where they are used")]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            super::finding::Level,
            tests::{cluster, levels, mesh, object, objects},
        },
        *,
    };

    fn range(limits: Value) -> Value {
        json!({ "metadata": { "namespace": "shop", "name": "range" }, "spec": { "limits": [limits] } })
    }

    fn quota(hard: Value) -> Value {
        json!({ "metadata": { "namespace": "shop", "name": "quota" }, "spec": { "hard": hard } })
    }

    fn judge(ranges: &[Value], quotas: &[Value], installed: &str, security: &str) -> Vec<Finding> {
        let arguments = if installed.is_empty() { vec![] } else { vec![format!("--sidecar-resources={installed}")] };
        let template = json!({ "spec": { "containers": [{ "name": "control-plane", "args": arguments }] } });
        let labels = json!({ "wasmesh.io/inject": "enabled", "pod-security.kubernetes.io/enforce": security });
        let facts = ClusterFacts {
            namespaces: Ok(objects(&[json!({ "metadata": { "name": "shop", "labels": labels } })])),
            deployment: Ok(Some(object(json!({ "spec": { "selector": {}, "template": template } })))),
            ..cluster()
        };
        resources(&facts, &MeshFacts { limit_ranges: Ok(objects(ranges)), quotas: Ok(objects(quotas)), ..mesh() })
    }

    /// That there is one finding which says all of this, and which is gone once what it proposes has been installed.
    #[track_caller]
    fn check(ranges: &[Value], quotas: &[Value], says: &[&str], wishes: &str) {
        let findings = judge(ranges, quotas, "", "privileged");
        assert_eq!(levels(&findings), [Level::Warning], "{findings:?}");
        let Finding { says: said, fix, .. } = &findings[0];
        assert!(says.iter().all(|part| said.contains(part)), "{said}");
        assert!(fix.contains(&format!("wasmesh install --sidecar-resources={wishes} |")), "{fix}");
        assert!(judge(ranges, quotas, wishes, "privileged").is_empty());
    }

    #[test]
    fn a_namespace_that_demands_nothing_of_it_takes_every_sidecar() {
        assert!(judge(&[], &[], "", "privileged").is_empty());
        let fits = json!({
            "type": "Container", "max": { "cpu": "2", "memory": "1Gi" }, "min": { "cpu": "1m", "memory": "4Mi" },
            "default": { "cpu": "2", "memory": "1Gi" }, "defaultRequest": { "cpu": "100m" },
        });
        // Who has no limit of their own is given the default.
        let hard = json!({ "limits.cpu": "8", "limits.memory": "8Gi", "requests.cpu": "4", "pods": "10" });
        assert!(judge(&[range(fits)], &[quota(hard)], "", "privileged").is_empty());
        let of_claims = json!({ "type": "PersistentVolumeClaim", "max": { "storage": "1Gi" } });
        assert!(judge(&[range(of_claims)], &[], "", "privileged").is_empty());
    }

    #[test]
    fn limits_that_are_too_high_or_too_low_are_named() {
        let max = json!({ "type": "Container", "max": { "memory": "128Mi" } });
        check(
            &[range(max)],
            &[],
            &["shop refuses", "wasmesh-proxy has a memory limit of 256Mi, LimitRange range allows 128Mi"],
            "proxy-memory-limit=128Mi",
        );
        let min = json!({ "type": "Container", "min": { "cpu": "5m", "memory": "16Mi" } });
        check(
            &[range(min)],
            &[],
            &["wasmesh-capture requests 1m of cpu, LimitRange range demands 5m", "requests 8Mi of memory"],
            "capture-cpu-request=5m,capture-memory-request=16Mi",
        );
    }

    #[test]
    fn a_default_limit_below_a_request_is_named() {
        let default = json!({ "type": "Container", "default": { "cpu": "5m", "memory": "1Gi" } });
        check(
            &[range(default)],
            &[],
            &["wasmesh-proxy requests 10m of cpu, the namespace's LimitRange limits it to 5m"],
            "proxy-cpu-limit=10m",
        );
    }

    #[test]
    fn a_ratio_raises_requests() {
        let ratio = json!({ "type": "Container", "maxLimitRequestRatio": { "memory": "4" } });
        check(
            &[range(ratio)],
            &[],
            &["wasmesh-proxy has 32Mi to 256Mi of memory, LimitRange range allows 4 times its request"],
            "proxy-memory-request=64Mi,capture-memory-request=16Mi",
        );
        let ratio = json!({ "type": "Container", "maxLimitRequestRatio": { "cpu": "10" } });
        check(
            &[range(ratio)],
            &[],
            &["wasmesh-proxy has no cpu limit"],
            "proxy-cpu-limit=1,capture-cpu-limit=100m,proxy-cpu-request=100m,capture-cpu-request=10m",
        );
    }

    #[test]
    fn a_quota_that_counts_limits_demands_them() {
        check(
            &[],
            &[quota(json!({ "limits.cpu": "8" }))],
            &["wasmesh-proxy has no cpu limit, which ResourceQuota quota demands", "wasmesh-capture has no"],
            "proxy-cpu-limit=1,capture-cpu-limit=100m",
        );
        let only_proxy = judge(&[], &[quota(json!({ "limits.cpu": "8" }))], "", "restricted");
        assert!(!only_proxy[0].says.contains("capture"), "{only_proxy:?}");
    }

    #[test]
    fn what_no_sidecar_can_do_is_for_the_namespace_to_do() {
        let of_pods = json!({ "type": "Pod", "max": { "memory": "256Mi" } });
        let findings = judge(&[range(of_pods)], &[], "", "privileged");
        assert!(
            findings[0].says.contains("sidecars alone") && findings[0].fix.contains("kubectl -n shop edit"),
            "{findings:?}"
        );
        let impossible = json!({ "type": "Container", "min": { "memory": "1Gi" }, "max": { "memory": "100Mi" } });
        assert!(judge(&[range(impossible)], &[], "", "privileged")[0].fix.contains("kubectl -n shop edit"));
        let unknown = resources(&cluster(), &MeshFacts { quotas: Err("forbidden".to_owned()), ..mesh() });
        assert_eq!(levels(&unknown), [Level::Note]);
    }

    #[test]
    fn what_is_installed_already_is_kept() {
        let max = json!({ "type": "Container", "max": { "memory": "128Mi" } });
        let findings = judge(&[range(max)], &[], "proxy-cpu-request=50m", "privileged");
        let expected = "--sidecar-resources=proxy-cpu-request=50m,proxy-memory-limit=128Mi";
        assert!(findings[0].fix.contains(expected), "{findings:?}");
    }
}
