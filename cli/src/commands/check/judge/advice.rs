//! What is advised: commands that leave the rest of an installation as it is.

use k8s_openapi::api::{admissionregistration::v1::MutatingWebhookConfiguration, apps::v1::Deployment};

use super::{
    super::facts::ClusterFacts,
    installation, name,
    version::{minor, tag},
};
use crate::kubernetes::trust::WEBHOOK;

/// What `wasmesh install` is without options.
const REGISTRY: &str = "ghcr.io/wasmesh";
const REPLICAS: i32 = 2;

/// The control plane's arguments that it has in every installation.
const WRITTEN: &[&str] =
    &["--source", "--name", "--namespace", "--discovery-listen", "--admin-listen", "--webhook-listen", "--proxy-image"];

/// Those that `wasmesh install` has options of the same name for.
const KEPT: &[&str] = &[
    "--service-cidr",
    "--sidecar-resources",
    "--cluster-domain",
    "--allow-modules",
    "--allow-module-redirects",
    "--module-pull-secrets",
];

/// Those that it has options of the same name for, with a file of whoever installs; and the file's key in the ConfigMap.
const FILES: &[(&str, &str)] = &[("--module-ca", "ca.crt"), ("--module-cosign-key", "cosign.pub")];

/// How to install, with the options that the installation has now.
pub(super) fn install(facts: &ClusterFacts) -> String {
    install_with(facts, &[])
}

/// How to install with these options, and with all others that the installation has now.
pub(super) fn install_with(facts: &ClusterFacts, options: &[String]) -> String {
    let is_given = |option: &String| options.iter().any(|given| name_of(given) == name_of(option));
    let kept = present(facts).into_iter().filter(|option| !is_given(option));
    let options: String = kept.chain(options.iter().cloned()).map(|option| format!(" {}", quoted(&option))).collect();
    let lost = lost(facts);
    let files: Vec<_> = FILES.iter().filter(|(option, _)| options.contains(option)).map(|(_, key)| *key).collect();
    let beforehand = match files.as_slice() {
        [] => String::new(),
        files => format!("  # where ConfigMap wasmesh-modules has {}", files.join(" and ")),
    };
    let afterwards = match lost.as_slice() {
        [] => String::new(),
        lost => format!(
            "  # then give Deployment wasmesh-control-plane these arguments again, which install has no option for: {}",
            lost.join(" ")
        ),
    };
    format!("wasmesh install{options} | kubectl apply --server-side -f -{beforehand}{afterwards}")
}

/// As a shell takes it.
fn quoted(option: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:,@%+".contains(&byte);
    if option.bytes().all(is_plain) { option.to_owned() } else { format!("'{}'", option.replace('\'', r"'\''")) }
}

/// What the control plane was told beside what `wasmesh install` writes and has options for. Arguments are one list: who applies it
/// anew takes these away.
fn lost(facts: &ClusterFacts) -> Vec<&str> {
    let arguments = installation::arguments(&facts.deployment);
    let has_option = |name: &str| KEPT.contains(&name) || key_of(name).is_some();
    arguments.filter(|argument| !WRITTEN.contains(&name_of(argument)) && !has_option(name_of(argument))).collect()
}

/// Under which key the file of an option is kept.
fn key_of(option: &str) -> Option<&'static str> {
    FILES.iter().find(|(name, _)| *name == option).map(|(_, key)| *key)
}

fn name_of(option: &str) -> &str {
    option.split('=').next().unwrap_or(option)
}

/// The options that the installation was made with, as far as they are not what they would be anyway.
fn present(facts: &ClusterFacts) -> Vec<String> {
    let mut options = Vec::new();
    if let Some((registry, tag)) = images(facts) {
        if registry != REGISTRY {
            options.push(format!("--registry={registry}"));
        }
        // A version is that of the program which has installed it, and this one brings its own.
        if minor(tag).is_none() {
            options.push(format!("--image-tag={tag}"));
        }
    }
    if let Some(replicas) =
        deployment(facts).and_then(|it| it.spec.as_ref()?.replicas).filter(|it| ![0, REPLICAS].contains(it))
    {
        options.push(format!("--replicas={replicas}"));
    }
    if facts.webhooks.iter().flatten().any(|webhook| name(&webhook.metadata) == WEBHOOK && fails(webhook)) {
        options.push("--failure-policy=Fail".to_owned());
    }
    let kept = installation::arguments(&facts.deployment)
        .filter(|argument| KEPT.contains(&name_of(argument)) && *argument != "--cluster-domain=cluster.local");
    options.extend(kept.map(str::to_owned));
    let files = installation::arguments(&facts.deployment).map(name_of);
    options.extend(files.filter_map(|name| Some(format!("{name}={}", key_of(name)?))));
    options
}

/// Whether pods that ask for the mesh are not made while nobody answers.
pub(super) fn fails(webhook: &MutatingWebhookConfiguration) -> bool {
    webhook.webhooks.iter().flatten().any(|webhook| webhook.failure_policy.as_deref() == Some("Fail"))
}

/// Where the control plane's image is from, and its tag.
fn images(facts: &ClusterFacts) -> Option<(&str, &str)> {
    let image = installation::image(&facts.deployment)?;
    let (registry, _) = image.rsplit_once('/')?;
    Some((registry, tag(image)?))
}

fn deployment(facts: &ClusterFacts) -> Option<&Deployment> {
    facts.deployment.as_ref().ok()?.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::tests::{cluster, object, objects},
        *,
    };

    fn installed(image: &str, replicas: i32, arguments: &[&str], failure_policy: &str) -> ClusterFacts {
        let container = json!({ "name": "control-plane", "image": image, "args": arguments });
        let template = json!({ "spec": { "containers": [container] } });
        let deployment = object(json!({ "spec": { "selector": {}, "replicas": replicas, "template": template } }));
        let webhook = json!({
            "name": "pod.injector.wasmesh.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {}, "failurePolicy": failure_policy,
        });
        let webhooks = objects(&[json!({ "metadata": { "name": "wasmesh-injector" }, "webhooks": [webhook] })]);
        ClusterFacts { deployment: Ok(Some(deployment)), webhooks: Ok(webhooks), ..cluster() }
    }

    #[test]
    fn advice_keeps_what_the_installation_has() {
        let plain = "wasmesh install | kubectl apply --server-side -f -";
        assert_eq!(install(&cluster()), plain);
        let image = "ghcr.io/wasmesh/wasmesh-control-plane:0.0.9";
        let arguments =
            ["--source=kube", "--cluster-domain=cluster.local", "--proxy-image=ghcr.io/wasmesh/wasmesh-proxy:0.0.9"];
        assert_eq!(install(&installed(image, 2, &arguments, "Ignore")), plain);

        let image = "registry.example:5000/mesh/wasmesh-control-plane:dev";
        let arguments =
            ["--cluster-domain=corp.example", "--sidecar-resources=proxy-cpu-limit=1", "--service-cidr=fd00::/112"];
        let facts = installed(image, 3, &arguments, "Fail");
        assert_eq!(
            install(&facts),
            "wasmesh install --registry=registry.example:5000/mesh --image-tag=dev --replicas=3 --failure-policy=Fail \
             --cluster-domain=corp.example --sidecar-resources=proxy-cpu-limit=1 --service-cidr=fd00::/112 \
             | kubectl apply --server-side -f -"
        );
        let more = ["--source=kube", "--webhook-client-ca=/clients/ca.crt", "--max-connections=20000"];
        let advice = install(&installed(image, 2, &more, "Ignore"));
        assert!(advice.ends_with(": --webhook-client-ca=/clients/ca.crt --max-connections=20000"), "{advice}");
        let afar =
            ["--allow-modules=oci://r.example/*", "--module-pull-secrets", "--module-ca=/etc/wasmesh/modules/ca.crt"];
        assert_eq!(
            install(&installed("ghcr.io/wasmesh/wasmesh-control-plane:0.0.9", 2, &afar, "Ignore")),
            "wasmesh install '--allow-modules=oci://r.example/*' --module-pull-secrets --module-ca=ca.crt \
             | kubectl apply --server-side -f -  # where ConfigMap wasmesh-modules has ca.crt"
        );
        for (option, expected) in [
            ("--allow-modules=https://a/b;c$(d)", "'--allow-modules=https://a/b;c$(d)'"),
            ("--name=a'b", r"'--name=a'\''b'"),
            ("--registry=r.example:5000/mesh", "--registry=r.example:5000/mesh"),
        ] {
            assert_eq!(quoted(option), expected);
        }
        let other = install_with(&facts, &["--failure-policy=Ignore".to_owned()]);
        assert!(other.contains("--failure-policy=Ignore |") && !other.contains("Fail"), "{other}");
    }
}
