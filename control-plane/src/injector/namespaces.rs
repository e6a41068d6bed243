//! What namespaces demand of their pods: their metadata, followed.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, core::PartialObjectMeta, runtime::watcher};
use tokio::{
    sync::watch::{self, Receiver},
    time::{Duration, Instant, timeout},
};
use wasmesh_injection::{
    Facts, PodSecurity,
    names::{ENABLED, INJECT_LABEL, POD_SECURITY_LABEL},
};

use super::{
    events,
    lookups::{Lookups, Next},
};
use crate::kubernetes::{
    Outage, explain,
    follow::{Event, follow},
};

/// How long a pod waits for what is not known of its namespace.
const PATIENCE: Duration = Duration::from_secs(1);

/// The namespaces of the cluster.
pub struct Namespaces {
    known: RwLock<HashMap<String, Facts>>,
    lookups: Mutex<Lookups>,
    outage: Outage,
    api: Api<Namespace>,
    started: Instant,
    settled: watch::Sender<bool>,
}

impl Namespaces {
    /// Nothing is known before [`Self::follow`] is run.
    pub fn new(client: Client) -> Self {
        Self {
            known: RwLock::default(),
            lookups: Mutex::new(Lookups::default()),
            outage: Outage::default(),
            api: Api::all(client),
            started: Instant::now(),
            settled: watch::channel(false).0,
        }
    }

    /// Turns true when they have been read once, or cannot be.
    pub fn settled(&self) -> Receiver<bool> {
        self.settled.subscribe()
    }

    /// Follows them for ever.
    pub fn follow(&self, client: Client) -> impl Future<Output = ()> {
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let mut events = follow(watcher::Config::default(), move |config| watcher(api.clone(), config));
        async move {
            let outage = Outage::default();
            let mut listed = HashMap::new();
            while let Some(event) = events.next().await {
                outage.watch("namespaces", "those that are new are asked for one by one", &event);
                match event {
                    Event::ListBegins => listed.clear(),
                    Event::Listed(namespace) => listed.extend(entry(namespace)),
                    Event::ListEnds => {
                        *self.known.write().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut listed);
                        self.settled.send_replace(true);
                    }
                    Event::Applied(namespace) => {
                        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(entry(namespace));
                    }
                    Event::Deleted(namespace) => {
                        let name = namespace.metadata.name.unwrap_or_default();
                        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
                    }
                    Event::Failed { is_final: true, .. } => drop(self.settled.send_replace(true)),
                    Event::Failed { .. } | Event::Works => {}
                }
            }
        }
    }

    /// What is to be known of a namespace about its pods. One that has just been made is asked for.
    pub async fn facts(&self, name: &str) -> Facts {
        if let Some(facts) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return facts.clone();
        }
        let next = self.lookups().next(name, self.started.elapsed());
        let answer = match next {
            Next::Answered(answer) => answer,
            Next::NotNow => {
                events::namespace_not_asked();
                None
            }
            Next::Ask => self.ask(name).await,
        };
        answer.unwrap_or(Facts { opted_in: false, pod_security: PodSecurity::Unknown })
    }

    async fn ask(&self, name: &str) -> Option<Facts> {
        let answer = match timeout(PATIENCE, self.api.get_metadata_opt(name)).await {
            Ok(Ok(found)) => found.map(|found| of_labels(found.metadata.labels.as_ref())),
            Ok(Err(error)) => return self.unknown(&explain(&error)),
            Err(_) => return self.unknown("the API server does not answer"),
        };
        if self.outage.ends() {
            events::namespaces_known();
        }
        self.lookups().note(name, answer.clone(), self.started.elapsed());
        answer
    }

    fn unknown(&self, why: &str) -> Option<Facts> {
        events::namespaces_unknown(why, self.outage.begins());
        None
    }

    fn lookups(&self) -> MutexGuard<'_, Lookups> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(namespace: PartialObjectMeta<Namespace>) -> Option<(String, Facts)> {
    let facts = of_labels(namespace.metadata.labels.as_ref());
    Some((namespace.metadata.name?, facts))
}

fn of_labels(labels: Option<&BTreeMap<String, String>>) -> Facts {
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
    Facts {
        opted_in: label(INJECT_LABEL) == Some(ENABLED),
        pod_security: PodSecurity::of_label(label(POD_SECURITY_LABEL)),
    }
}
