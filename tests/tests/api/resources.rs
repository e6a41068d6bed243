//! What sidecars ask for, in namespaces that demand something of every container.

use serde_json::{Value, json};
use wasmesh_tests::eventually;

use crate::{
    check::Checked,
    injection::{create, hooked, meshed, pod},
};

/// A pod whose container may use no more than it is promised.
fn whole(annotations: &Value) -> Value {
    let amounts = json!({ "cpu": "2", "memory": "128Mi" });
    pod(json!({
        "metadata": { "generateName": "app-", "name": null, "annotations": annotations },
        "spec": { "containers": [{ "name": "app", "image": "none", "resources": { "limits": amounts, "requests": amounts } }] },
    }))
}

/// One that asks for as little as is allowed.
fn modest(annotations: &Value) -> Value {
    let mut pod = whole(annotations);
    pod["spec"]["containers"][0]["resources"] =
        json!({ "requests": { "cpu": "20m", "memory": "20Mi" }, "limits": { "cpu": "40m", "memory": "40Mi" } });
    pod
}

fn resources<'a>(pod: &'a Value, sidecar: &str) -> &'a Value {
    let sidecars = pod["spec"]["initContainers"].as_array().expect("sidecars");
    &sidecars.iter().find(|it| it["name"] == sidecar).expect("the sidecar")["resources"]
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let server = hooked().installation.server;
    let namespace = meshed(server, "guaranteed");
    let make = |pod: &Value| {
        let output = create(server, &namespace, pod, &[]);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let made = make(&whole(&json!({})));
    assert_eq!(made["status"]["qosClass"], "Guaranteed", "{made:#}");
    let amounts = json!({ "cpu": "200m", "memory": "256Mi" });
    assert_eq!(resources(&made, "wasmesh-proxy"), &json!({ "limits": amounts, "requests": amounts }));
    assert_eq!(make(&modest(&json!({})))["status"]["qosClass"], "Burstable");
}

#[test]
fn a_namespace_that_refuses_sidecars_is_found_and_its_fix_helps() {
    let server = hooked().installation.server;
    for (name, demands) in [
        (
            "range",
            json!({ "kind": "LimitRange", "spec": { "limits": [{
            "type": "Container",
            "max": { "cpu": "3", "memory": "160Mi" }, "min": { "cpu": "5m", "memory": "16Mi" },
            "maxLimitRequestRatio": { "cpu": "100" },
        }] } }),
        ),
        (
            "quota",
            json!({ "kind": "ResourceQuota", "spec": { "hard": { "limits.cpu": "100", "limits.memory": "100Gi" } } }),
        ),
    ] {
        let namespace = meshed(server, name);
        let mut demands = demands;
        demands["apiVersion"] = json!("v1");
        demands["metadata"] = json!({ "name": "demands", "namespace": namespace });
        server.apply(&demands.to_string());
        // The API server itself hears of it a moment later.
        let refused = eventually("the pod is refused", || {
            let output = create(server, &namespace, &modest(&json!({})), &["--dry-run=server"]);
            (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
        });
        assert!(refused.contains("forbidden"), "{refused}");

        let checked = Checked::of(server.kubeconfig(), &[]);
        let finding = checked.findings.iter().find(|finding| {
            finding["about"] == "resources" && finding["says"].as_str().unwrap().starts_with(&namespace)
        });
        let finding = finding.unwrap_or_else(|| panic!("{name}: {:#?}", checked.findings));
        let fix = finding["fix"].as_str().unwrap();
        let advised =
            fix.strip_prefix("annotate its pods with ").and_then(|it| it.split_once("; or")).expect("advice").0;
        let annotations: Value = advised
            .split(", ")
            .map(|annotation| {
                let (key, value) = annotation.split_once(": ").unwrap();
                (key.to_owned(), json!(value.trim_matches('"')))
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        // A quota is counted by a controller that may not have come to it yet.
        let made = eventually("the pod is made", || {
            let output = create(server, &namespace, &modest(&annotations), &[]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || said.contains("status unknown for quota"), "{said}: {annotations:#}");
            serde_json::from_slice::<Value>(&output.stdout).ok()
        });
        assert!(resources(&made, "wasmesh-proxy")["limits"]["cpu"].is_string(), "{made:#}");
    }
}
