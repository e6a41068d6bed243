//! `wasmesh inject`: what the webhook does, before manifests are applied.
//!
//! Documents without pods, and those whose pods are left alone, are printed as they were written.

use std::{fs, io::Read, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use serde_json::Value;
use wasmesh_injection::{Decision, Facts, PodSecurity, Settings, inject as decide, names};

use super::print;
use crate::{
    kubernetes::{Cluster, SYSTEM, trust},
    options, yaml,
};

/// Reads manifests and prints them with their pods meshed.
pub(crate) fn inject(options: &options::Inject) -> anyhow::Result<ExitCode> {
    let control_plane = options.control_plane.clone();
    let settings = Settings {
        image: options.images.of("wasmesh-proxy"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        control_plane: control_plane.unwrap_or_else(|| names::control_plane(SYSTEM, &options.cluster_domain)),
        ca_bundle: ca_bundle(options)?,
        service_cidrs: options.service_cidr.clone(),
        cluster_domain: options.cluster_domain.clone(),
        resources: options.sidecar_resources.clone(),
    };
    let text = read(&options.filename)?;
    let mut meshed = String::new();
    for (index, document) in yaml::documents(&text).into_iter().enumerate() {
        let place = format!("document {} of {}", index + 1, options.filename.display());
        if index > 0 {
            meshed += "---\n";
        }
        match inject_document(document, &settings).context(place)? {
            Some(written) => meshed += &written,
            None => {
                meshed += document;
                meshed += if document.ends_with('\n') { "" } else { "\n" };
            }
        }
    }
    print(&meshed)
}

/// What sidecars are to trust: what was given, or else what the cluster's own webhook is trusted by.
fn ca_bundle(options: &options::Inject) -> anyhow::Result<String> {
    let Some(file) = &options.ca_bundle else {
        const ADVICE: &str = "nothing says which certificate sidecars are to trust: give --ca-bundle FILE, or ask a cluster that \
                              has the mesh";
        let cluster = Cluster::connect(options.context.as_deref()).context(ADVICE)?;
        return cluster.ca_bundle().context(ADVICE);
    };
    let bundle = fs::read_to_string(file).with_context(|| format!("cannot read {} (--ca-bundle)", file.display()))?;
    if !trust::is_certificate(&bundle) {
        bail!("{} holds no certificate (--ca-bundle): expected PEM", file.display());
    }
    Ok(bundle)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
        return Ok(text);
    }
    fs::read_to_string(file).with_context(|| format!("cannot read {} (--filename)", file.display()))
}

/// The document with its pods meshed; nothing if there are none.
fn inject_document(document: &str, settings: &Settings) -> anyhow::Result<Option<String>> {
    let mut object = yaml::read(document)?;
    if inject_object(&mut object, settings)? { yaml::write(&object).map(Some) } else { Ok(None) }
}

/// Whether something has been changed.
fn inject_object(object: &mut Value, settings: &Settings) -> anyhow::Result<bool> {
    if object["kind"] == "List" && object["apiVersion"] == "v1" {
        let mut changed = false;
        for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            changed |= inject_object(item, settings)?;
        }
        return Ok(changed);
    }
    let Some(path) = pod_of(object) else { return Ok(false) };
    let name = name(object);
    let Some(pod) = object.pointer_mut(path) else { return Ok(false) };
    // Whoever asks by hand asks for everything; what the namespace forbids is not known here.
    match decide(pod, &Facts { opted_in: true, pod_security: PodSecurity::Allows }, settings) {
        Decision::Inject(injection) => {
            *pod = injection.pod;
            warn(&name, &injection.warnings);
            Ok(true)
        }
        Decision::Leave(leave, warnings) => {
            warn(&name, &warnings);
            if leave.is_surprising() {
                warn(&name, &[format!("left as it is: {leave}")]);
            }
            Ok(false)
        }
        Decision::Refuse(refuse) => bail!("{name}: {refuse}"),
    }
}

/// Where the pod is in an object of this kind.
fn pod_of(object: &Value) -> Option<&'static str> {
    match (object["apiVersion"].as_str()?, object["kind"].as_str()?) {
        ("v1", "Pod") => Some(""),
        ("v1", "ReplicationController")
        | ("apps/v1", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch/v1", "Job") => Some("/spec/template"),
        ("batch/v1", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let metadata = &object["metadata"];
    let name = metadata.get("name").or_else(|| metadata.get("generateName")).map_or_else(|| "?".to_owned(), text);
    match metadata.get("namespace").and_then(Value::as_str) {
        Some(namespace) => format!("{} {namespace}/{name}", text(&object["kind"])),
        None => format!("{} {name}", text(&object["kind"])),
    }
}

fn warn(name: &str, warnings: &[String]) {
    for warning in warnings {
        eprintln!("wasmesh: {name}: {warning}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use wasmesh_injection::{Resources, Settings};

    use super::inject_document;
    use crate::yaml;

    fn settings() -> Settings {
        Settings {
            image: "proxy:1".to_owned(),
            version: "1".to_owned(),
            control_plane: "https://control-plane:19010".to_owned(),
            ca_bundle: "-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n".to_owned(),
            service_cidrs: vec!["10.96.0.0/12".parse().unwrap()],
            cluster_domain: "cluster.local".to_owned(),
            resources: Resources::default(),
        }
    }

    /// The object that comes out, if it is another one.
    fn inject(document: &str) -> Option<Value> {
        inject_document(document, &settings()).unwrap().map(|written| yaml::read(&written).unwrap())
    }

    #[track_caller]
    fn check(kind: &str, version: &str, nesting: &str, at: &str) {
        let pod = "{spec: {containers: [{name: app}]}}";
        let spec = nesting.replace("POD", pod);
        let object =
            inject(&format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: web}}, spec: {spec}}}")).unwrap();
        assert_eq!(object.pointer(&format!("{at}/initContainers/0/name")).unwrap(), "wasmesh-proxy", "{object:#}");
    }

    #[test]
    fn whatever_makes_pods_makes_meshed_ones() {
        check("Pod", "v1", "{containers: [{name: app}]}", "/spec");
        for (kind, version) in
            [("Deployment", "apps/v1"), ("StatefulSet", "apps/v1"), ("DaemonSet", "apps/v1"), ("Job", "batch/v1")]
        {
            check(kind, version, "{template: POD}", "/spec/template/spec");
        }
        check("CronJob", "batch/v1", "{jobTemplate: {spec: {template: POD}}}", "/spec/jobTemplate/spec/template/spec");
    }

    #[test]
    fn lists_are_gone_through() {
        let list = inject(
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Secret}, {apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}]}",
        );
        let items = &list.unwrap()["items"];
        assert_eq!(items[0], yaml::read("{apiVersion: v1, kind: Secret}").unwrap());
        assert_eq!(items[1]["spec"]["initContainers"][1]["name"], "wasmesh-capture");
    }

    #[test]
    fn everything_else_stays_as_it_was_written() {
        for document in [
            "{apiVersion: v1, kind: Service, spec: {}}",
            "{apiVersion: example.org/v1, kind: Job, spec: {template: {spec: {containers: [{name: a}]}}}}",
            "{apiVersion: v1, kind: Pod, spec: {hostNetwork: true, containers: [{name: a}]}}",
            "{apiVersion: apps/v1, kind: Deployment}",
            "[1]",
            "text",
        ] {
            assert_eq!(inject(document), None, "{document}");
        }
        let again =
            yaml::write(&inject("{apiVersion: v1, kind: Pod, spec: {containers: [{name: a}]}}").unwrap()).unwrap();
        assert_eq!(inject(&again), None);
    }

    #[test]
    fn what_is_refused_is_named() {
        let pod = "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web}, spec: {containers: [{name: wasmesh-proxy}]}}";
        let error = inject_document(pod, &settings()).unwrap_err().to_string();
        assert!(error.starts_with("Pod shop/web: its container \"wasmesh-proxy\""), "{error}");
        assert!(inject_document("a: [", &settings()).is_err());
    }
}
