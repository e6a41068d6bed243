//! What the mesh has installed.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Container},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde_json::Value;
use wasmesh_injection::Resources;

use super::{
    super::{facts::Fetched, finding::Finding},
    some,
    version::{is_close, tag},
};

/// The version of policies that sidecars and control plane know.
const VERSION: &str = "v1alpha1";

const LOGS: &str =
    "look at `kubectl -n wasmesh-system get pods` and `kubectl -n wasmesh-system logs deploy/wasmesh-control-plane`";

/// The definition of policies; `known` is the one of this program, `install` is what brings it.
pub(super) fn definition(crd: &Fetched<Option<CustomResourceDefinition>>, known: &Value, install: &str) -> Finding {
    const ABOUT: &str = "policies";
    let crd = match crd {
        Err(why) => return Finding::unknown(ABOUT, why),
        Ok(None) => return Finding::error(ABOUT, "loadbalancingpolicies.wasmesh.io is not defined", install),
        Ok(Some(crd)) => crd,
    };
    let Some(version) = crd.spec.versions.iter().find(|version| version.name == VERSION && version.served) else {
        return Finding::error(ABOUT, format!("LoadBalancingPolicy is not served as {VERSION}"), install);
    };
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    let refused = conditions.into_iter().flatten().find(|it| it.type_ == "Established" && it.status == "False");
    if let Some(refused) = refused {
        let why = refused.message.as_deref().unwrap_or("it does not say why");
        return Finding::error(ABOUT, format!("the definition is not in effect: {why}"), install);
    }
    let theirs = serde_json::to_value(&version.schema).unwrap_or_default();
    let mut missing = Vec::new();
    let ours = known.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    for ours in ours.filter(|ours| ours["name"] == VERSION) {
        absent(&ours["schema"]["openAPIV3Schema"], &theirs["openAPIV3Schema"], "", &mut missing);
    }
    if missing.is_empty() {
        return Finding::good(ABOUT, format!("LoadBalancingPolicy is served as {VERSION}"));
    }
    let names = some(missing.iter().map(String::as_str));
    Finding::warning(ABOUT, format!("the definition is older than this program: it lacks {names}"), install)
}

/// The fields that `ours` has and `theirs` has not.
fn absent(ours: &Value, theirs: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, field) in ours["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match theirs["properties"].get(name) {
            Some(there) => absent(field, there, &path, missing),
            None => missing.push(path),
        }
    }
    if !ours["items"].is_null() {
        absent(&ours["items"], &theirs["items"], &format!("{path}[]"), missing);
    }
}

/// The control plane; `install` is what brings it.
pub(super) fn deployment(deployment: &Fetched<Option<Deployment>>, install: &str) -> Finding {
    const ABOUT: &str = "control plane";
    let found = match deployment {
        Err(why) => return Finding::unknown(ABOUT, why),
        Ok(None) => return Finding::error(ABOUT, "is not installed in the namespace wasmesh-system", install),
        Ok(Some(deployment)) => deployment,
    };
    let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let available = found.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    let of_all = format!("{available} of {wanted} replicas are available");
    let version = version(deployment);
    let mine = env!("CARGO_PKG_VERSION");
    match version {
        _ if wanted > 0 && available == 0 => Finding::error(
            ABOUT,
            format!("{of_all}: running sidecars go on with what they know, new pods are not meshed"),
            LOGS,
        ),
        _ if available < wanted => Finding::warning(ABOUT, of_all, LOGS),
        _ if wanted == 0 => Finding::error(
            ABOUT,
            "is scaled to 0",
            "kubectl -n wasmesh-system scale --replicas=2 deploy/wasmesh-control-plane",
        ),
        Some(version) if is_close(mine, version) == Some(false) => Finding::warning(
            ABOUT,
            format!("is of version {version}, this program is of {mine}: what is said here may be wrong"),
            format!("use the wasmesh of version {version}"),
        ),
        Some(version) => Finding::good(ABOUT, format!("{of_all}, version {version}")),
        None => Finding::good(ABOUT, of_all),
    }
}

/// The version that the image of the control plane has.
pub(super) fn version(deployment: &Fetched<Option<Deployment>>) -> Option<&str> {
    image(deployment).and_then(tag)
}

/// The image of the control plane.
pub(super) fn image(deployment: &Fetched<Option<Deployment>>) -> Option<&str> {
    container(deployment)?.image.as_deref()
}

/// What sidecars ask for, if the control plane was told and it can be read.
pub(super) fn sidecar_resources(deployment: &Fetched<Option<Deployment>>) -> Option<Resources> {
    sidecar_resources_text(deployment)?.parse().ok()
}

/// What the control plane was told about that.
pub(super) fn sidecar_resources_text(deployment: &Fetched<Option<Deployment>>) -> Option<&str> {
    let mut given = arguments(deployment).filter_map(|argument| argument.strip_prefix("--sidecar-resources="));
    given.next().filter(|text| !text.is_empty())
}

/// What its pods are labelled.
pub(super) fn pod_labels(deployment: &Fetched<Option<Deployment>>) -> Option<BTreeMap<String, String>> {
    deployment.as_ref().ok()?.as_ref()?.spec.as_ref()?.template.metadata.as_ref()?.labels.clone()
}

/// What the control plane was told on its command line.
pub(super) fn arguments(deployment: &Fetched<Option<Deployment>>) -> impl Iterator<Item = &str> {
    let arguments = container(deployment).and_then(|container| container.args.as_ref());
    arguments.into_iter().flatten().map(String::as_str)
}

fn container(deployment: &Fetched<Option<Deployment>>) -> Option<&Container> {
    let template = &deployment.as_ref().ok()?.as_ref()?.spec.as_ref()?.template;
    template.spec.as_ref()?.containers.iter().find(|container| container.name == "control-plane")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::super::finding::Level, super::tests::object, *};

    fn crd(served: bool, established: &str, fields: &[&str]) -> CustomResourceDefinition {
        let fields: Value = fields.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
        let spec = json!({ "type": "object", "properties": fields });
        let schema = json!({ "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } });
        object(json!({
            "spec": {
                "group": "wasmesh.io", "scope": "Namespaced",
                "names": { "kind": "LoadBalancingPolicy", "plural": "loadbalancingpolicies" },
                "versions": [{ "name": "v1alpha1", "served": served, "storage": true, "schema": schema }],
            },
            "status": { "conditions": [{ "type": "Established", "status": established, "message": "names clash" }] },
        }))
    }

    #[test]
    fn the_definition_is_there_in_effect_and_knows_every_field() {
        let known = serde_json::to_value(crd(true, "True", &["type", "wasm"])).unwrap();
        let check = |crd, level, text: &str| {
            let finding = definition(&crd, &known, "install");
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.says.contains(text), "{finding:?}");
        };
        check(Ok(Some(crd(true, "True", &["type", "wasm", "newer"]))), Level::Good, "v1alpha1");
        check(Ok(Some(crd(true, "True", &["type"]))), Level::Warning, ".spec.wasm");
        check(Ok(Some(crd(false, "True", &["type", "wasm"]))), Level::Error, "not served");
        check(Ok(Some(crd(true, "False", &["type", "wasm"]))), Level::Error, "names clash");
        check(Ok(None), Level::Error, "not defined");
        check(Err("forbidden".to_owned()), Level::Note, "forbidden");
    }

    #[test]
    fn a_control_plane_is_as_good_as_its_replicas() {
        let of = |replicas: i32, available: i32, tag: &str| {
            let image = format!("ghcr.io/wasmesh/wasmesh-control-plane:{tag}");
            let template = json!({ "spec": { "containers": [{ "name": "control-plane", "image": image }] } });
            let found = object(json!({
                "spec": { "replicas": replicas, "selector": {}, "template": template },
                "status": { "availableReplicas": available },
            }));
            deployment(&Ok(Some(found)), "install").level
        };
        let mine = env!("CARGO_PKG_VERSION");
        assert_eq!(of(2, 2, mine), Level::Good);
        assert_eq!(of(2, 1, mine), Level::Warning);
        assert_eq!(of(2, 0, mine), Level::Error);
        assert_eq!(of(0, 0, mine), Level::Error);
        assert_eq!(of(2, 2, "9.9.9"), Level::Warning);
        assert_eq!(of(2, 2, "latest"), Level::Good);
        assert_eq!(deployment(&Ok(None), "install").level, Level::Error);
    }
}
