//! A namespace in the mesh, with a `web` that answers with its pod's name and a `client` that asks it for ever.

use std::{
    collections::BTreeMap,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use wasmesh_tests::kube::{Cluster, Image, VERSION};

/// Things of a cluster take seconds, and looking at them by kubectl costs what they need themselves.
const PATIENCE: Duration = Duration::from_secs(120);
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What became of a client's requests, as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) by: BTreeMap<String, u64>,
    pub(crate) reason: String,
}

pub(crate) struct Town<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
}

/// Installs the mesh as users do, and waits until pods are meshed.
pub(crate) fn install(cluster: &Cluster) {
    cluster.import(Image::proxy(VERSION));
    cluster.import(Image::control_plane(VERSION));
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    cluster.kubectl(&["apply", "--kustomize", &base.display().to_string()], "");
    cluster.wait(&["--namespace=wasmesh-system", "--for=condition=Available", "deployment", "wasmesh-control-plane"]);
    let bundle = "--output=jsonpath={.webhooks[*].clientConfig.caBundle}";
    patiently("the API server knows whom to trust", || {
        let bundles = cluster.kubectl(&["get", "mutatingwebhookconfiguration", "wasmesh-injector", bundle], "");
        (!bundles.is_empty()).then_some(())
    });
}

/// Looks until there is something to see, and returns it.
#[track_caller]
pub(crate) fn patiently<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        sleep(BETWEEN_LOOKS);
    }
}

impl<'a> Town<'a> {
    pub(crate) fn new(cluster: &'a Cluster, name: &str) -> Self {
        let namespace = cluster.namespace(name);
        cluster.kubectl(&["label", "namespace", &namespace, "wasmesh.io/inject=enabled"], "");
        let town = Self { cluster, namespace };
        // The API server hears of the webhook, of its certificates and of the namespace's label one after the other, and makes
        // pods as they are meanwhile: that is what failurePolicy Ignore means.
        patiently("pods of the namespace are meshed", || {
            let trial = [
                "run",
                "trial",
                "--image=none",
                "--dry-run=server",
                "--output=jsonpath={.spec.initContainers[*].name}",
            ];
            town.kubectl(&trial).contains("wasmesh-proxy").then_some(())
        });
        town
    }

    pub(crate) fn apply(&self, manifest: &str) {
        self.cluster.apply(&manifest.replace("NAMESPACE", &self.namespace));
    }

    /// `kubectl` in this namespace.
    #[track_caller]
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(&[&["--namespace", &self.namespace][..], args].concat(), "")
    }

    /// Waits until a Deployment has as many ready pods as it wants, all of its newest template, and no others.
    #[track_caller]
    pub(crate) fn settled(&self, deployment: &str) {
        self.kubectl(&["rollout", "status", "--timeout=180s", &format!("deployment/{deployment}")]);
    }

    /// The names of the ready pods of a Deployment that are not going, in order.
    pub(crate) fn pods(&self, app: &str) -> Vec<String> {
        let pods = self.kubectl(&["get", "pods", "--selector", &format!("app={app}"), "--output=json"]);
        let pods: Value = serde_json::from_str(&pods).unwrap();
        let going = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        let mut names: Vec<_> = pods["items"].as_array().unwrap().iter().filter(going).map(name).collect();
        names.sort();
        names
    }

    /// What the client has said last.
    #[track_caller]
    pub(crate) fn totals(&self) -> Totals {
        patiently("the client says something", || {
            let said = self.kubectl(&["logs", "deployment/client", "--container=client", "--tail=1"]);
            let said: Value = serde_json::from_str(said.trim()).ok()?;
            let by = said["by"].as_object()?.iter().map(|(pod, count)| (pod.clone(), count.as_u64().unwrap()));
            Some(Totals {
                answered: said["answered"].as_u64()?,
                failed: said["failed"].as_u64()?,
                by: by.collect(),
                reason: said["reason"].as_str()?.to_owned(),
            })
        })
    }

    /// Waits until this many more requests have been answered, and returns how many each pod has answered of these and of
    /// those just before.
    #[track_caller]
    pub(crate) fn answers(&self, count: u64) -> BTreeMap<String, u64> {
        let before = self.totals();
        let after = patiently("the client is answered", || {
            let after = self.totals();
            (after.answered >= before.answered + count).then_some(after)
        });
        let difference = |(pod, count): (String, u64)| {
            let answered = count - before.by.get(&pod).copied().unwrap_or_default();
            (answered > 0).then_some((pod, answered))
        };
        after.by.into_iter().filter_map(difference).collect()
    }

    /// Waits until the client is answered by exactly these pods, whatever it was before.
    #[track_caller]
    pub(crate) fn answered_by(&self, pods: &[String]) {
        patiently("the client is answered by these pods", || {
            self.answers(100).into_keys().eq(pods.iter().cloned()).then_some(())
        });
    }

    /// The sum of a metric of the client's sidecar over all series that have these labels.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let ip = self.kubectl(&["get", "pods", "--selector=app=client", "--output=jsonpath={.items[0].status.podIP}"]);
        let window = self.cluster.window(format!("{ip}:19020").parse().unwrap());
        wasmesh_tests::Admin(window).metric(name, labels)
    }

    #[track_caller]
    pub(crate) fn nothing_failed(&self, so_far: &str) {
        let totals = self.totals();
        assert_eq!(totals.failed, 0, "{so_far}: {totals:?}\n{}", self.cluster.state());
    }
}
