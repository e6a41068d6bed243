//! What namespaces demand of their pods: their metadata, followed.

use std::{collections::BTreeMap, future::Future, pin::pin, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::time::timeout;
use wasmesh_injection::{
    Facts, PodSecurity,
    names::{ENABLED, INJECT_LABEL, POD_SECURITY_LABEL},
};

use super::events;
use crate::kubernetes::explain;

/// How long a pod waits for what is not known of its namespace.
const PATIENCE: Duration = Duration::from_secs(1);

/// The namespaces of the cluster.
pub struct Namespaces {
    known: Store<PartialObjectMeta<Namespace>>,
    api: Api<Namespace>,
}

impl Namespaces {
    /// What is known, and what is to be run so that it stays known.
    pub fn follow(client: Client) -> (Self, impl Future<Output = ()>) {
        let (known, mut writer) = reflector::store();
        let metadata: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let follow = async move {
            let mut changes = pin!(watcher(metadata, watcher::Config::default()).default_backoff());
            while let Some(change) = changes.next().await {
                match change {
                    Ok(change) => writer.apply_watcher_event(&change),
                    Err(error) => events::namespaces_unknown(&explain(&error)),
                }
            }
        };
        (Self { known, api: Api::all(client) }, follow)
    }

    /// What is to be known of a namespace about its pods. One that has just been made is asked for.
    pub async fn facts(&self, name: &str) -> Facts {
        if let Some(known) = self.known.get(&ObjectRef::new(name)) {
            return of_labels(known.metadata.labels.as_ref());
        }
        match timeout(PATIENCE, self.api.get_metadata(name)).await {
            Ok(Ok(found)) => return of_labels(found.metadata.labels.as_ref()),
            Ok(Err(error)) => events::namespaces_unknown(&explain(&error)),
            Err(_) => events::namespaces_unknown("the API server does not answer"),
        }
        Facts { opted_in: false, pod_security: PodSecurity::Unknown }
    }
}

fn of_labels(labels: Option<&BTreeMap<String, String>>) -> Facts {
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
    Facts {
        opted_in: label(INJECT_LABEL) == Some(ENABLED),
        pod_security: PodSecurity::of_label(label(POD_SECURITY_LABEL)),
    }
}
