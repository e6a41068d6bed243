//! Asks the API server for what is to be judged. Nothing is changed: the only object that is sent is a trial.

use std::{fmt::Debug, time::SystemTime};

use anyhow::anyhow;
use k8s_openapi::{
    api::{
        authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
        core::v1::{ConfigMap, Namespace, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    facts::{ClusterFacts, Fetched, MeshFacts, Permission},
    judge::asks_for_the_mesh,
};
use crate::kubernetes::{SYSTEM, explain};

/// How many objects come in one answer.
const PAGE: u32 = 500;

/// What installing needs: group, resource, and whether it is in the namespace of the installation.
const NEEDED: [(&str, &str, bool); 12] = [
    ("", "namespaces", false),
    ("apiextensions.k8s.io", "customresourcedefinitions", false),
    ("rbac.authorization.k8s.io", "clusterroles", false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", false),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", false),
    ("", "serviceaccounts", true),
    ("", "services", true),
    ("apps", "deployments", true),
    ("policy", "poddisruptionbudgets", true),
    ("networking.k8s.io", "networkpolicies", true),
    ("rbac.authorization.k8s.io", "roles", true),
    ("rbac.authorization.k8s.io", "rolebindings", true),
];

/// Looks at a cluster. `to_install` says whether it is asked what may be done.
///
/// # Errors
/// When the API server does not answer at all.
pub(super) async fn cluster(client: &Client, to_install: bool) -> anyhow::Result<ClusterFacts> {
    let version = client.apiserver_version().await;
    let version = version.map_err(|error| anyhow!("the API server does not answer: {}", explain(&error)))?.git_version;
    let mut permissions = Vec::new();
    for (group, resource, in_system) in NEEDED.iter().filter(|_| to_install) {
        permissions.push(permission(client, group, resource, *in_system).await);
    }
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let crds = definitions.list_metadata(&ListParams::default()).await.map_err(|error| explain(&error));
    Ok(ClusterFacts {
        version,
        permissions,
        service_cidrs: known(list(Api::all(client.clone())).await),
        webhooks: list(Api::all(client.clone())).await.map_err(|error| explain(&error)),
        crd_names: crds.map(|crds| crds.items.into_iter().filter_map(|crd| crd.metadata.name).collect()),
        cilium: get(Api::<ConfigMap>::namespaced(client.clone(), "kube-system"), "cilium-config").await,
        felix: felix(client).await,
        namespaces: list(Api::all(client.clone())).await.map_err(|error| explain(&error)),
        deployment: get(Api::namespaced(client.clone(), SYSTEM), "wasmesh-control-plane").await,
    })
}

/// Looks at an installation.
pub(super) async fn mesh(client: &Client, namespaces: &Fetched<Vec<Namespace>>) -> MeshFacts {
    let meshed: Vec<_> = namespaces.iter().flatten().filter(|it| asks_for_the_mesh(&it.metadata)).collect();
    let meshed: Vec<_> = meshed.into_iter().filter_map(|namespace| namespace.metadata.name.as_deref()).collect();
    MeshFacts {
        now: SystemTime::now(),
        crd: get(Api::all(client.clone()), "loadbalancingpolicies.wasmesh.io").await,
        secret: get(Api::namespaced(client.clone(), SYSTEM), "wasmesh-ca").await,
        trial: trial(client, meshed.first().copied().unwrap_or("default")).await,
        pods: of_namespaces(client, &meshed).await,
        network_policies: of_namespaces(client, &meshed).await,
        limit_ranges: of_namespaces(client, &meshed).await,
        quotas: of_namespaces(client, &meshed).await,
    }
}

async fn permission(client: &Client, group: &str, resource: &str, in_system: bool) -> Permission {
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some("create".to_owned()),
        namespace: in_system.then(|| SYSTEM.to_owned()),
        ..Default::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { metadata: Default::default(), spec, status: None };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    let what = if group.is_empty() { format!("create {resource}") } else { format!("create {resource}.{group}") };
    let is_allowed = answer.map(|review: SelfSubjectAccessReview| review.status.is_some_and(|status| status.allowed));
    Permission { what, is_allowed: is_allowed.map_err(|error| explain(&error)) }
}

/// A pod that asks for the mesh, has it added by whoever is to add it, and is not made.
async fn trial(client: &Client, namespace: &str) -> Fetched<Pod> {
    let security = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
    });
    let resources = json!({ "requests": { "cpu": "1m", "memory": "1Mi" }, "limits": { "cpu": "1m", "memory": "1Mi" } });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "generateName": "wasmesh-check-", "labels": { "wasmesh.io/inject": "enabled" } },
        "spec": { "containers": [{
            "name": "check", "image": "wasmesh-check", "securityContext": security, "resources": resources,
        }]},
    });
    let pod: Pod = serde_json::from_value(pod).map_err(|error| error.to_string())?;
    let parameters = PostParams { dry_run: true, ..Default::default() };
    let made = Api::namespaced(client.clone(), namespace).create(&parameters, &pod).await;
    made.map_err(|error| format!("a pod cannot be tried in the namespace {namespace}: {}", explain(&error)))
}

/// Where Calico keeps its configuration depends on its version, and on whether it has an API server of its own; all say the same.
async fn felix(client: &Client) -> Fetched<Vec<DynamicObject>> {
    for (group, version) in [("crd.projectcalico.org", "v1"), ("projectcalico.org", "v3")] {
        let kind = GroupVersionKind::gvk(group, version, "FelixConfiguration");
        let api = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        if let Some(found) = known(list(api).await)? {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

async fn get<K>(api: Api<K>, name: &str) -> Fetched<Option<K>>
where
    K: Clone + Debug + DeserializeOwned,
{
    api.get_opt(name).await.map_err(|error| explain(&error))
}

/// All of them, however many there are.
async fn list<K>(api: Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut parameters = ListParams::default().limit(PAGE);
    let mut all = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(all),
        }
    }
}

async fn of_namespaces<K>(client: &Client, namespaces: &[&str]) -> Fetched<Vec<K>>
where
    K: Clone + Debug + DeserializeOwned + Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    let mut all = Vec::new();
    for namespace in namespaces {
        let found = list(Api::<K>::namespaced(client.clone(), namespace)).await;
        all.extend(found.map_err(|error| explain(&error))?);
    }
    Ok(all)
}

/// An API server without such objects knows none, which is an answer too.
fn known<T>(listed: Result<T, kube::Error>) -> Fetched<Option<T>> {
    match listed {
        Ok(listed) => Ok(Some(listed)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(explain(&error)),
    }
}
