//! `wasmesh install`: the manifests of the mesh, for `kubectl apply -f -`.

mod modules;

use std::process::ExitCode;

use serde_json::{Value, json};

use super::print;
use crate::{deploy, options};

const COMMENT: &str = "Wasmesh: wasmesh install | kubectl apply --server-side -f -
To mesh the pods of a namespace: kubectl label namespace NAMESPACE wasmesh.io/inject=enabled";

/// Prints the manifests.
pub(crate) fn install(options: &options::Install) -> anyhow::Result<ExitCode> {
    let mut objects = deploy::objects()?;
    objects.iter_mut().for_each(|object| fit(object, options));
    modules::fit(&mut objects, &options.modules)?;
    print(&deploy::text(COMMENT, &objects)?)
}

/// Makes an object as the options have it.
fn fit(object: &mut Value, options: &options::Install) {
    match object.get("kind").and_then(Value::as_str) {
        Some("Deployment") => fit_deployment(object, options),
        Some("MutatingWebhookConfiguration") => {
            let webhooks = object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten();
            webhooks.for_each(|webhook| webhook["failurePolicy"] = json!(options.failure_policy.name()));
        }
        _ => {}
    }
}

fn fit_deployment(deployment: &mut Value, options: &options::Install) {
    deployment["spec"]["replicas"] = json!(options.replicas);
    let containers = deployment.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        container["image"] = json!(options.images.of("wasmesh-control-plane"));
        let Some(arguments) = container.get_mut("args").and_then(Value::as_array_mut) else { continue };
        set(arguments, "proxy-image", &options.images.of("wasmesh-proxy"));
        set(arguments, "cluster-domain", &options.cluster_domain);
        arguments.extend(options.sidecar_resources.iter().map(|list| json!(format!("--sidecar-resources={list}"))));
        arguments.extend(options.service_cidr.iter().map(|range| json!(format!("--service-cidr={range}"))));
    }
}

/// Gives an option that is there another value.
fn set(arguments: &mut [Value], option: &str, value: &str) {
    let start = format!("--{option}=");
    let is_it = |argument: &&mut Value| argument.as_str().is_some_and(|text| text.starts_with(&start));
    if let Some(argument) = arguments.iter_mut().find(is_it) {
        *argument = json!(format!("{start}{value}"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::{fit, modules};
    use crate::{
        deploy,
        options::{Cli, Command, Install},
    };

    fn options(args: &[&str]) -> Install {
        match Cli::parse_from([&["wasmesh", "install"], args].concat()).command {
            Some(Command::Install(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    fn fitted(args: &[&str]) -> Vec<Value> {
        let (mut objects, options) = (deploy::objects().unwrap(), options(args));
        objects.iter_mut().for_each(|object| fit(object, &options));
        modules::fit(&mut objects, &options.modules).unwrap();
        objects
    }

    fn find<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
        objects.iter().find(|object| object["kind"] == kind).unwrap()
    }

    #[test]
    fn without_options_it_is_the_base() {
        assert_eq!(fitted(&[]), deploy::objects().unwrap());
    }

    #[test]
    fn options_change_what_they_are_for_and_nothing_else() {
        let objects = fitted(&[
            "--registry=registry.example:5000/mesh",
            "--image-tag=dev",
            "--replicas=3",
            "--failure-policy=Fail",
            "--service-cidr=10.96.0.0/12,fd00::/112",
            "--cluster-domain=corp.example",
            "--sidecar-resources=proxy-cpu-limit=1,capture-cpu-limit=100m",
        ]);
        let deployment = find(&objects, "Deployment");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(deployment["spec"]["replicas"], 3);
        assert_eq!(container["image"], "registry.example:5000/mesh/wasmesh-control-plane:dev");
        let arguments = container["args"].as_array().unwrap();
        for expected in [
            "--proxy-image=registry.example:5000/mesh/wasmesh-proxy:dev",
            "--cluster-domain=corp.example",
            "--service-cidr=10.96.0.0/12",
            "--service-cidr=fd00::/112",
            "--sidecar-resources=proxy-cpu-limit=1,capture-cpu-limit=100m",
        ] {
            assert!(arguments.contains(&json!(expected)), "{arguments:?} lacks {expected}");
        }
        let webhooks = find(&objects, "MutatingWebhookConfiguration")["webhooks"].as_array().unwrap();
        assert!(webhooks.iter().all(|webhook| webhook["failurePolicy"] == "Fail"));
        let same = |object: &&Value| {
            !["Deployment", "MutatingWebhookConfiguration"].contains(&object["kind"].as_str().unwrap())
        };
        let base = deploy::objects().unwrap();
        assert!(objects.iter().filter(same).eq(base.iter().filter(same)));
    }

    #[test]
    fn modules_from_afar_need_flags_a_role_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let ca = format!("--module-ca={}", file("ca.pem", "authority"));
        let key = format!("--module-cosign-key={}", file("cosign.pub", "key"));
        let redirects = "--allow-module-redirects=https://blobs.example/*";
        let all = ["--allow-modules=oci://r.example/team/*", redirects, "--module-pull-secrets", &ca, &key];
        let objects = fitted(&all);
        let pod = &find(&objects, "Deployment")["spec"]["template"];
        let arguments = pod["spec"]["containers"][0]["args"].as_array().unwrap();
        for expected in [
            "--allow-modules=oci://r.example/team/*",
            redirects,
            "--module-pull-secrets",
            "--module-ca=/etc/wasmesh/modules/ca.crt",
            "--module-cosign-key=/etc/wasmesh/modules/cosign.pub",
        ] {
            assert!(arguments.contains(&json!(expected)), "{arguments:?} lacks {expected}");
        }
        assert_eq!(find(&objects, "ConfigMap")["data"], json!({ "ca.crt": "authority", "cosign.pub": "key" }));
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], "/etc/wasmesh/modules");
        assert_eq!(pod["spec"]["volumes"][0]["configMap"]["name"], "wasmesh-modules");
        let mut roles = objects.iter().filter(|object| object["kind"] == "ClusterRole");
        assert!(roles.any(|role| role["metadata"]["name"] == "wasmesh-pull-secrets"));

        // Another file is another pod.
        file("ca.pem", "another authority");
        let next = fitted(&all);
        assert_ne!(find(&next, "Deployment")["spec"]["template"]["metadata"], pod["metadata"]);
        assert!(Cli::try_parse_from(["wasmesh", "install", "--allow-modules=oci://*/x"]).is_err());
    }
}
